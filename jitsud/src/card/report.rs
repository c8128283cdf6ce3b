//! `problems.txt` on the card: what is wrong, for somebody who has the card in a PC and no network to the node.
//!
//! The card is written only when the text is another one than the file holds. Writing needs the partition to be
//! mounted writable for a moment; a cut of the power in it can cost this file, and leaves the system's files as
//! they were: they are not written, and FAT keeps each file's data apart.

use std::fs;
use std::io;
use std::path::Path;

use super::file::replace;
use super::mount;
use crate::config::Problem;
use crate::text::printable;

const NAME: &str = "problems.txt";

/// The file's text; `None` when there is nothing to say. Lines end as Windows wants them, and long ones are left
/// to the editor to break.
pub fn text(problems: &[Problem]) -> Option<String> {
    if problems.is_empty() {
        return None;
    }
    let mut text = "The node found these problems when it was started with this card.\r\n\
                    It removes this file when it finds none.\r\n"
        .to_owned();
    for problem in problems {
        let mut problem = problem.clone();
        // On a PC the partition is the card, and has another place.
        if let Some(file) = problem.file.strip_prefix("/boot/") {
            problem.file = file.to_owned();
        }
        // It quotes what it is about, which can be anything.
        text += &format!("\r\n{}\r\n", printable(&problem.to_string()));
    }
    Some(text)
}

/// Brings the file on the mounted partition in line with the problems. Returns whether it had to be written.
pub fn write(problems: &[Problem]) -> io::Result<bool> {
    bring_in_line(Path::new(mount::BOOT.point), text(problems).as_deref(), |work| mount::writable(work))
}

fn bring_in_line(
    folder: &Path,
    text: Option<&str>,
    writable: impl FnOnce(&mut dyn FnMut() -> io::Result<()>) -> io::Result<()>,
) -> io::Result<bool> {
    let file = folder.join(NAME);
    let there = match fs::read(&file) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        // Cannot be read, so it is not what it should be; writing says what is wrong with it.
        Err(_) => Some(Vec::new()),
    };
    if there.as_deref() == text.map(str::as_bytes) {
        return Ok(false);
    }
    writable(&mut || match text {
        None => fs::remove_file(&file),
        Some(text) => replace(&file, text.as_bytes()),
    })?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: u32, what: &str) -> Problem {
        Problem { file: "jitsu.toml".into(), line, service: None, what: what.into(), fix: "write 64".into() }
    }

    #[test]
    fn the_text_is_for_any_editor() {
        assert_eq!(text(&[]), None);
        let text = text(&[problem(3, "memory \"a\nb\u{7}\" is no number"), problem(0, "gone")]).unwrap();
        assert!(text.contains("\r\njitsu.toml:3: memory \"a b \" is no number; write 64\r\n"), "{text:?}");
        assert!(text.contains("\r\njitsu.toml: gone; write 64\r\n"), "{text:?}");
        assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    }

    #[test]
    fn the_card_is_written_only_when_the_text_changes() {
        let folder = std::env::temp_dir().join(format!("jitsud-report-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut writes = 0;
        let mut report = |text: Option<&str>| {
            let changed = bring_in_line(&folder, text, |work| {
                writes += 1;
                work()
            });
            (changed.unwrap(), fs::read_to_string(folder.join(NAME)).ok())
        };
        assert_eq!(report(None), (false, None));
        assert_eq!(report(Some("one\r\n")), (true, Some("one\r\n".into())));
        assert_eq!(report(Some("one\r\n")), (false, Some("one\r\n".into())));
        assert_eq!(report(Some("two\r\n")), (true, Some("two\r\n".into())));
        assert_eq!(report(None), (true, None));
        assert_eq!(report(None), (false, None));
        assert_eq!(writes, 3);
        // Nothing else is left on the card.
        fs::remove_dir(&folder).unwrap();
    }

    #[test]
    fn a_card_that_cannot_be_written_is_an_error_and_no_more() {
        let folder = Path::new("/nonexistent");
        let refused = bring_in_line(folder, Some("x"), |_| Err(io::ErrorKind::ReadOnlyFilesystem.into()));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
    }
}
