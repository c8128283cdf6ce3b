//! What a start costs of XenStore, by how many there are at once.

use super::super::paper;
use super::super::report::{StartRun, Starts};
use super::{
    Area, FINE_GRID, GRID, INK, OURS, OURS_TOO, PAPER, THEIRS, beside_names, failed, ms, plain, text,
};
use anyhow::Result;
use plotters::prelude::*;

/// Ranges: starts, and milliseconds for each.
const STARTS: std::ops::Range<f64> = 0.85..300.0;
const TIME: std::ops::Range<f64> = 0.1..20_000.0;

pub fn draw(area: &Area<'_>, starts: &Starts) -> Result<()> {
    let counts: Vec<f64> = starts.ours.iter().map(|run| f64::from(run.starts)).collect();
    let lines: [(&str, RGBColor, u32, &[StartRun]); 3] = [
        ("C xenstored (arrow: at least)", THEIRS, 2, &starts.xenstored),
        ("ours, by socket", OURS_TOO, 2, &starts.ours),
        ("ours, in process, as jitsud", OURS, 3, &starts.in_process),
    ];
    let names = lines.map(|(name, colour, width, _)| (name.to_owned(), colour.stroke_width(width)));
    let mut chart = ChartBuilder::on(&beside_names(area, &names)?)
        .caption("What a start costs of XenStore, beside others", text(20, INK))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(66)
        .build_cartesian_2d(STARTS.log_scale().with_key_points(counts), TIME.log_scale())
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc("starts at once")
        .y_desc("milliseconds per start")
        .x_label_formatter(&plain)
        .y_label_formatter(&plain)
        .label_style(text(13, INK))
        .axis_desc_style(text(14, INK))
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(FINE_GRID)
        .draw()
        .map_err(failed)?;

    for (_, colour, width, runs) in lines {
        let style = colour.stroke_width(width);
        let done = runs.iter().filter(|run| run.finished == run.starts).map(point);
        chart.draw_series(LineSeries::new(done.clone(), style)).map_err(failed)?;
        chart.draw_series(done.map(|at| Circle::new(at, width + 2, colour.filled()))).map_err(failed)?;
        let given_up = runs.iter().filter(|run| run.finished < run.starts).map(point);
        let arrow = |(x, y): (f64, f64)| {
            EmptyElement::at((x, y))
                + Circle::new((0, 0), 4, style)
                + PathElement::new([(0, -4), (0, -26)], style)
                + Polygon::new([(0, -34), (-5, -24), (5, -24)], colour.filled())
        };
        chart.draw_series(given_up.map(arrow)).map_err(failed)?;
    }
    let theirs = paper::STARTS.map(|(seconds, name)| {
        let x = f64::from(paper::STARTS_AT_ONCE);
        let y = f64::from(seconds) * 1000.0 / x;
        EmptyElement::at((x, y))
            + TriangleMarker::new((0, 0), 6, PAPER.filled())
            + Text::new(format!("paper: {name}"), (-12, -19), anchored(text(12, PAPER)))
    });
    chart.draw_series(theirs).map_err(failed)?;
    Ok(())
}

fn point(run: &StartRun) -> (f64, f64) {
    (f64::from(run.starts), ms(run.ns) / f64::from(run.starts.max(1)))
}

/// Text that ends where it is put.
fn anchored(style: TextStyle<'_>) -> TextStyle<'_> {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    style.pos(Pos::new(HPos::Right, VPos::Top))
}
