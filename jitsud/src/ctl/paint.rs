//! Colours, where they can be seen.

use std::io::IsTerminal as _;

use super::When;

/// Whether there are colours.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    on: bool,
}

/// What a colour says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tone {
    Good,
    Busy,
    Bad,
    Quiet,
    Heading,
}

impl Paint {
    /// As was asked for; by default where standard output is a terminal that knows them, and nobody objects
    /// (<https://no-color.org>).
    pub fn new(when: When) -> Self {
        let wanted = || {
            let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
            let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
            std::io::stdout().is_terminal() && !is_set("NO_COLOR") && !dumb
        };
        let on = match when {
            When::Always => true,
            When::Never => false,
            When::Auto => wanted(),
        };
        Paint { on }
    }

    /// The text in a colour, if there are any.
    pub fn tone(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Busy => "33",
            Tone::Bad => "31",
            Tone::Quiet => "2",
            Tone::Heading => "1",
        };
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A state of a service.
    pub fn state(self, state: &str, text: &str) -> String {
        let tone = match state {
            "ready" => Tone::Good,
            "failed" => Tone::Bad,
            "off" => Tone::Quiet,
            _ => Tone::Busy,
        };
        self.tone(tone, text)
    }
}
