//! The board's LED: how the node is, for somebody who stands in front of it.
//!
//! | the LED                                  | the node                                                       |
//! |------------------------------------------|----------------------------------------------------------------|
//! | off, or as the boot loader left it       | has not come as far as the daemon                              |
//! | blinks fast, five times a second         | is starting                                                    |
//! | beats like a heart, twice and a pause    | answers DNS; the beat is the faster, the more dom0 has to do   |
//! | is on without a break                    | cannot run; the console and `problems.txt` say why             |
//!
//! Linux does the blinking (`drivers/leds/trigger`), so that an LED that stands still says something too: dom0 has
//! died.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Half of a blink, in milliseconds.
const FAST: &str = "100";

/// What the LED says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// The node is coming up.
    Starting,
    /// DNS answers.
    Ready,
    /// Nothing can run.
    Failed,
}

/// The LED, if the board has one.
#[derive(Debug)]
pub struct Led {
    folder: Option<PathBuf>,
}

impl Led {
    /// The LED of that name in `/sys/class/leds`; `None` is a board without.
    pub fn new(name: Option<&str>) -> Self {
        Led { folder: name.map(|name| Path::new("/sys/class/leds").join(name)) }
    }

    /// Shows something from now on. An LED that does not take it is logged, once, and left alone.
    pub fn show(&mut self, signal: Signal) {
        let Some(folder) = &self.folder else { return };
        if let Err(error) = show(folder, signal) {
            tracing::warn!(led = %folder.display(), %error, "the LED does not show how the node is");
            self.folder = None;
        }
    }
}

fn show(led: &Path, signal: Signal) -> io::Result<()> {
    let write = |file: &str, value: &str| fs::write(led.join(file), value);
    match signal {
        Signal::Starting => {
            write("trigger", "timer")?;
            // The trigger makes these two files.
            write("delay_on", FAST)?;
            write("delay_off", FAST)
        }
        Signal::Ready => write("trigger", "heartbeat"),
        Signal::Failed => {
            write("trigger", "none")?;
            let brightest = fs::read_to_string(led.join("max_brightness"))?;
            write("brightness", brightest.trim())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_for_each_signal() {
        let led = std::env::temp_dir().join(format!("jitsud-led-{}", std::process::id()));
        fs::create_dir_all(&led).unwrap();
        fs::write(led.join("max_brightness"), "255\n").unwrap();
        let read = |file: &str| fs::read_to_string(led.join(file)).unwrap();
        show(&led, Signal::Starting).unwrap();
        assert_eq!(
            (read("trigger"), read("delay_on"), read("delay_off")),
            ("timer".into(), "100".into(), "100".into())
        );
        show(&led, Signal::Ready).unwrap();
        assert_eq!(read("trigger"), "heartbeat");
        show(&led, Signal::Failed).unwrap();
        assert_eq!((read("trigger"), read("brightness")), ("none".into(), "255".into()));
        fs::remove_dir_all(&led).unwrap();
    }

    #[test]
    fn a_missing_led_is_given_up() {
        let mut led = Led::new(Some("nonesuch"));
        led.show(Signal::Starting);
        assert_eq!(led.folder, None);
        Led::new(None).show(Signal::Failed);
    }
}
