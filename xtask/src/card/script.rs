//! The boot script: one template for all cards, in which a board's facts stand for words like `@LED@`, and the
//! checksums that it compares the system's files with.

use crate::board::{Board, Card};
use crate::fail::{Class, Fail};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The facts that a script may use, by word.
pub fn facts(board: &Board, card: &Card) -> Result<BTreeMap<&'static str, String>> {
    let load = &board.load;
    let needed = |key: &str, address: Option<u64>| {
        let message =
            format!("board {}: [load] has no {key}; the boot script loads something there", board.name);
        address.ok_or_else(|| Fail::new(Class::Input, message))
    };
    // U-Boot takes numbers for hexadecimal.
    let hex = |address: u64| format!("{address:x}");
    let facts = BTreeMap::from([
        ("BOARD", board.name.clone()),
        ("TITLE", format!("{} ({})", board.title, card.soc)),
        ("LED", card.led.clone()),
        ("XEN_ARGS", board.xen_args()),
        ("DOM0_ARGS", board.dom0.args.clone()),
        ("XEN_ADDRESS", hex(needed("xen", load.xen)?)),
        ("DTB_ADDRESS", hex(load.device_tree)),
        ("KERNEL_ADDRESS", hex(load.kernel)),
        ("INITRAMFS_ADDRESS", hex(load.initramfs)),
        ("SCRATCH_ADDRESS", hex(needed("scratch", load.scratch)?)),
    ]);
    for (word, value) in &facts {
        if let Some(bad) = value.chars().find(|c| "\"'$\\;`\n".contains(*c)) {
            let message =
                format!("board {}: {word} = {value:?}: {bad:?} means something in a script", board.name);
            return Err(Fail::new(Class::Input, message));
        }
    }
    Ok(facts)
}

/// Puts the facts in place of the words between at signs. A word that is no fact is an error, and so is a fact
/// that the template does not use: one of them is misspelt.
pub fn fill(template: &str, facts: &BTreeMap<&str, String>) -> Result<String> {
    let (mut out, mut rest, mut used) = (String::new(), template, BTreeSet::new());
    while let Some(at) = rest.find('@') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        // Other at signs are the script's own, as in the names of nodes.
        let Some(word) = rest.split_once('@').map(|(word, _)| word).filter(|word| is_word(word)) else {
            out.push('@');
            continue;
        };
        let (&known, value) = facts.get_key_value(word).ok_or_else(|| {
            let all = facts.keys().copied().collect::<Vec<_>>().join(", ");
            Fail::new(Class::Input, format!("@{word}@ is no fact of a board; there is: {all}"))
        })?;
        out.push_str(value);
        used.insert(known);
        rest = &rest[word.len() + 1..];
    }
    out.push_str(rest);
    match facts.keys().find(|word| !used.contains(*word)) {
        None => Ok(out),
        Some(word) => Err(Fail::new(Class::Input, format!("@{word}@ is not used"))),
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
}

/// The text of `sums.env`: sizes and CRC-32 of the files that the script loads, as lines for U-Boot's
/// `env import -t`: eight hexadecimal digits each.
pub fn sums(files: &[(&str, &[u8])]) -> String {
    let mut text = String::new();
    for (name, content) in files {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name}_size={:08x}", content.len());
        let _ = writeln!(text, "{name}_crc={:08x}", crc32fast::hash(content));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_replaced_and_other_at_signs_stay() {
        let facts = BTreeMap::from([("LED", "blue".to_owned()), ("A_1", "4".to_owned())]);
        let text = fill("led=@LED@ module@${a} x@@A_1@ @LED@", &facts).expect("filled");
        assert_eq!(text, "led=blue module@${a} x@4 blue");
    }

    #[test]
    fn unknown_and_unused_words_are_errors() {
        let facts = BTreeMap::from([("LED", String::new())]);
        let error = |template| fill(template, &facts).expect_err("refused").to_string();
        assert!(error("@LED@ @LEED@").starts_with("@LEED@ is no fact"));
        assert_eq!(error("nothing"), "@LED@ is not used");
    }

    #[test]
    fn sums_are_what_u_boot_computes() {
        // The check value of CRC-32.
        assert_eq!(sums(&[("xen", b"123456789")]), "xen_size=00000009\nxen_crc=cbf43926\n");
    }

    #[test]
    fn facts_cannot_leave_their_quotes() {
        let mut board = Board::read("cubietruck").expect("board");
        let card = board.card.clone().expect("card");
        assert!(facts(&board, &card).is_ok());
        board.dom0.args.push_str("\"; reset");
        assert!(facts(&board, &card).is_err());
    }
}
