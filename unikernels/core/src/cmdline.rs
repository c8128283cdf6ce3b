//! The kernel command line: words between white space, each a flag or `key=value`.

/// A command line. Where a key comes twice the last one counts, as in Linux.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandLine<'a>(&'a str);

impl<'a> CommandLine<'a> {
    /// Takes the line as it stands in the device tree's `/chosen/bootargs`.
    pub const fn new(line: &'a str) -> Self {
        CommandLine(line)
    }

    /// The value of `key=value`; empty for `key=`, `None` without an equals sign.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.0
            .split_ascii_whitespace()
            .filter_map(|word| word.split_once('='))
            .filter(|(name, _)| *name == key)
            .map(|(_, value)| value)
            .next_back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_whole_words_and_the_last_counts() {
        let line = CommandLine::new("ip=10.0.0.2 token=a  quiet token=b=c xtoken=d empty=\n");
        assert_eq!(line.get("token"), Some("b=c"));
        assert_eq!(line.get("ip"), Some("10.0.0.2"));
        assert_eq!(line.get("empty"), Some(""));
        assert_eq!(line.get("quiet"), None);
        assert_eq!(line.get("toke"), None);
    }
}
