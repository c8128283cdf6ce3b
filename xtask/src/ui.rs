//! Progress on stderr: bars on a terminal, one plain line per step elsewhere (CI logs, pipes).

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::LazyLock;
use std::time::Duration;

static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

fn interactive() -> bool {
    std::io::stderr().is_terminal()
}

/// Says one line without tearing the bars that are being drawn.
pub fn say(line: impl AsRef<str>) {
    BARS.suspend(|| eprintln!("{}", line.as_ref()));
}

/// A running piece of work. It disappears from a terminal when dropped; plain output keeps its one line.
pub struct Task {
    bar: ProgressBar,
}

impl Task {
    /// Work of unknown length: a spinner, or the line `what` on plain output.
    pub fn start(what: impl Into<String>) -> Self {
        let what = what.into();
        if !interactive() {
            eprintln!("{what}");
            return Self { bar: ProgressBar::hidden() };
        }
        let bar = BARS.add(ProgressBar::new_spinner());
        bar.set_style(style("{spinner} {msg} {elapsed:.dim}"));
        bar.set_message(what);
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar }
    }

    /// A transfer of `total` bytes, `done` of which are here already.
    pub fn transfer(what: impl Into<String>, done: u64, total: Option<u64>) -> Self {
        let what = what.into();
        if !interactive() {
            let size = total.map_or(String::new(), |n| format!(" ({})", human_bytes(n)));
            eprintln!("fetching {what}{size}");
            return Self { bar: ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden()) };
        }
        let bar = BARS.add(total.map_or_else(ProgressBar::no_length, ProgressBar::new));
        bar.set_style(style("{spinner} {msg} {bytes}/{total_bytes} {bytes_per_sec} {wide_bar}"));
        bar.set_message(what);
        bar.set_position(done);
        Self { bar }
    }

    /// Work on `total` bytes that are here.
    pub fn steps(what: impl Into<String>, total: u64) -> Self {
        let what = what.into();
        if !interactive() {
            eprintln!("{what} ({})", human_bytes(total));
            return Self { bar: ProgressBar::hidden() };
        }
        let bar = BARS.add(ProgressBar::new(total));
        bar.set_style(style("{spinner} {msg} {bytes}/{total_bytes} {wide_bar}"));
        bar.set_message(what);
        Self { bar }
    }

    /// Another part of the work has begun. Plain output keeps to its one line.
    pub fn describe(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
    }

    /// `bytes` more have arrived, or are done.
    pub fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// A size as people read it, in powers of 1024: `512 B`, `41.5 MiB`.
pub fn human_bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}
