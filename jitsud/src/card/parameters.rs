//! What the boot script tells the daemon: the `jitsu.*` parameters of the kernel's command line.
//!
//! Linux hands parameters with a dot that belong to none of its modules to nobody, so they are safe to use, and
//! `/proc/cmdline` keeps them. All of them are optional: QEMU's generic board has no boot script.
//!
//! | parameter                           | meaning                                                          |
//! |-------------------------------------|------------------------------------------------------------------|
//! | `jitsu.board=cubietruck`            | the folder in `board/` that the image was made from              |
//! | `jitsu.card=6a697473-01`            | the FAT partition that it booted from, see [`PartUuid`]          |
//! | `jitsu.slot=a`                      | which copy of the system runs, `a` or `b`                        |
//! | `jitsu.fallback=a/kernel:damaged`   | why it is not the first copy; several are separated by commas    |
//! | `jitsu.led=NAME`                    | the LED of `/sys/class/leds` that shows how the node is          |

use std::fmt;
use std::fs;

use super::partition::PartUuid;

/// Longest value that is taken; the names behind them are a tenth of that.
const MAX_VALUE: usize = 256;

/// What the boot script said. What it did not say is `None`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Parameters {
    /// The board's name.
    pub board: Option<String>,
    /// The FAT partition of the card; `None` for a node without a card.
    pub card: Option<PartUuid>,
    /// The copy of the system that runs.
    pub slot: Option<Slot>,
    /// What was wrong with the copy that does not run; empty when the first one runs.
    pub fallback: Vec<Fallback>,
    /// The LED's name in `/sys/class/leds`.
    pub led: Option<String>,
}

/// One of the two copies of the system on a card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slot {
    /// The copy that is tried first, in the folder `a`.
    A,
    /// The other one, in the folder `b`.
    B,
}

/// A file of a copy of the system that kept it from being booted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fallback {
    /// Its path on the FAT partition, for example `a/kernel`.
    pub file: String,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a file of the system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is not there.
    Missing,
    /// Its size or checksum is not that of `sums.env`.
    Damaged,
}

impl Parameters {
    /// Reads the running kernel's command line, and logs what of it is not understood. Without `/proc` there
    /// are no parameters.
    pub fn of_this_boot() -> Self {
        let line = fs::read("/proc/cmdline").unwrap_or_default();
        let (parameters, strange) = Self::parse(&String::from_utf8_lossy(&line));
        for word in strange {
            tracing::warn!("the kernel's command line has {word:?}, which this version does not understand");
        }
        parameters
    }

    /// Takes a command line apart. The second result are the words beginning with `jitsu.` that are not
    /// understood. Of a parameter that is given twice the last one counts, as Linux has it.
    pub fn parse(line: &str) -> (Self, Vec<String>) {
        let (mut parameters, mut strange) = (Self::default(), Vec::new());
        for word in line.split_ascii_whitespace() {
            // What follows is for init, as far as Linux is concerned.
            if word == "--" {
                break;
            }
            let Some(parameter) = word.strip_prefix("jitsu.") else { continue };
            if parameters.take(parameter).is_none() {
                strange.push(word.chars().take(MAX_VALUE).collect());
            }
        }
        (parameters, strange)
    }

    /// Takes `KEY=VALUE`; `None` when the key is not known or the value makes no sense.
    fn take(&mut self, parameter: &str) -> Option<()> {
        let (key, value) = parameter.split_once('=')?;
        if value.is_empty() || value.len() > MAX_VALUE {
            return None;
        }
        match key {
            "board" => self.board = Some(value.to_owned()),
            "card" => self.card = Some(value.parse().ok()?),
            "slot" => self.slot = Some(Slot::parse(value)?),
            "fallback" => self.fallback = value.split(',').map(Fallback::parse).collect::<Option<_>>()?,
            "led" => self.led = Some(led_name(value)?.to_owned()),
            _ => return None,
        }
        Some(())
    }
}

/// A name of `/sys/class/leds` becomes part of a path: it must not lead elsewhere.
fn led_name(name: &str) -> Option<&str> {
    (!name.contains('/') && name != "." && name != "..").then_some(name)
}

impl Slot {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "a" => Some(Slot::A),
            "b" => Some(Slot::B),
            _ => None,
        }
    }

    /// The folder's name on the FAT partition.
    pub fn as_str(self) -> &'static str {
        match self {
            Slot::A => "a",
            Slot::B => "b",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Fallback {
    fn parse(text: &str) -> Option<Self> {
        let (file, fault) = text.rsplit_once(':')?;
        let fault = match fault {
            "missing" => Fault::Missing,
            "damaged" => Fault::Damaged,
            _ => return None,
        };
        (!file.is_empty()).then(|| Fallback { file: file.to_owned(), fault })
    }
}

impl Fault {
    /// As the boot script writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Missing => "missing",
            Fault::Damaged => "damaged",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_boot_script_says() {
        let line = "console=hvc0 quiet jitsu.board=cubietruck jitsu.card=6a697473-01 jitsu.slot=b \
                    jitsu.fallback=a/kernel:damaged,a/dtb:missing jitsu.led=cubietruck:blue:usr panic=5\n";
        let expected = Parameters {
            board: Some("cubietruck".into()),
            card: Some("6a697473-01".parse().unwrap()),
            slot: Some(Slot::B),
            fallback: vec![
                Fallback { file: "a/kernel".into(), fault: Fault::Damaged },
                Fallback { file: "a/dtb".into(), fault: Fault::Missing },
            ],
            led: Some("cubietruck:blue:usr".into()),
        };
        assert_eq!(Parameters::parse(line), (expected, vec![]));
    }

    #[test]
    fn a_board_without_a_boot_script() {
        assert_eq!(Parameters::parse("console=hvc0 -- jitsu.slot=a"), (Parameters::default(), vec![]));
        assert_eq!(Parameters::parse(""), (Parameters::default(), vec![]));
    }

    #[test]
    fn what_is_not_understood_is_named_and_costs_nothing_else() {
        for strange in [
            "jitsu.future=1",
            "jitsu.slot=c",
            "jitsu.slot",
            "jitsu.slot=",
            "jitsu.card=mmcblk0p1",
            "jitsu.fallback=a/kernel",
            "jitsu.fallback=a/kernel:late",
            "jitsu.fallback=a/kernel:damaged,,",
            "jitsu.fallback=:missing",
            "jitsu.led=../../block/mmcblk0",
            "jitsu.led=..",
            "jitsu.",
        ] {
            let (parameters, words) = Parameters::parse(&format!("jitsu.board=x {strange} quiet"));
            assert_eq!(words, [strange]);
            assert_eq!(parameters, Parameters { board: Some("x".into()), ..Parameters::default() });
        }
        let long = format!("jitsu.board={}", "x".repeat(MAX_VALUE + 1));
        let (parameters, words) = Parameters::parse(&long);
        assert_eq!((parameters.board, words.len(), words[0].len()), (None, 1, MAX_VALUE));
    }

    #[test]
    fn the_last_of_two_counts() {
        let (parameters, _) = Parameters::parse("jitsu.slot=a jitsu.slot=b");
        assert_eq!(parameters.slot, Some(Slot::B));
    }
}
