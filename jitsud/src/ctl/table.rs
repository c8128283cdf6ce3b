//! Tables, and quantities as people read them.

use super::paint::{Paint, Tone};

/// Columns as wide as what is in them, two blanks between.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(heading: &[&str]) -> Self {
        Table { rows: vec![heading.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The lines; `state` is the column whose cells are states, and are coloured so.
    pub fn lines(&self, paint: Paint, state: usize) -> Vec<String> {
        let columns = self.rows[0].len();
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |(number, row): (usize, &Vec<String>)| {
            let cells = row.iter().enumerate().map(|(column, cell)| {
                let last = column + 1 == columns;
                let padded =
                    if last { cell.clone() } else { format!("{cell:width$}", width = widths[column]) };
                match (number, column) {
                    (0, _) => paint.tone(Tone::Heading, &padded),
                    (_, column) if column == state => paint.state(cell, &padded),
                    _ => padded,
                }
            });
            cells.collect::<Vec<_>>().join("  ")
        };
        self.rows.iter().enumerate().map(line).map(|line| line.trim_end().to_owned()).collect()
    }
}

/// A length of time in nanoseconds, with two figures that matter.
pub fn duration(ns: u64) -> String {
    let s = ns / 1_000_000_000;
    match s {
        0 if ns < 1_000_000 => format!("{} µs", ns / 1000),
        0 => format!("{:.1} ms", ns as f64 / 1e6),
        1..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

/// Bytes in MiB.
pub fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// When, since the node's kernel began, as in its own log.
pub fn uptime(ns: u64) -> String {
    format!("{:>12.6}", ns as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::super::When;
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(vec!["a-long-name".into(), "ready".into()]);
        table.row(vec!["b".into(), "off".into()]);
        let plain = table.lines(Paint::new(When::Never), 1);
        assert_eq!(plain, ["NAME         STATE", "a-long-name  ready", "b            off"]);
        let coloured = table.lines(Paint::new(When::Always), 1);
        assert_eq!(coloured[1], "a-long-name  \u{1b}[32mready\u{1b}[0m");
    }

    #[test]
    fn times_are_read_at_a_glance() {
        for (ns, text) in [
            (1_500, "1 µs"),
            (8_784_000, "8.8 ms"),
            (59_900_000_000, "59 s"),
            (61_000_000_000, "1 min 1 s"),
            (7_260_000_000_000, "2 h 1 min"),
            (90_000_000_000_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(ns), text);
        }
        assert_eq!(uptime(12_345_678_901), "   12.345679");
    }
}
