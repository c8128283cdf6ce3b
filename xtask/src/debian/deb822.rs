//! Debian's control syntax (deb822): paragraphs of `Field: value` lines with indented continuations.
//! Used by package indexes, release files and apt's `.sources` files. Pure text, no I/O.

/// One paragraph, in file order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Paragraph<'a> {
    fields: Vec<(&'a str, Vec<&'a str>)>,
}

impl<'a> Paragraph<'a> {
    /// The value's first line; field names ignore case.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.lines(name)?.first().copied()
    }

    /// All lines of a value, trimmed; the first one is what stood behind the colon.
    pub fn lines(&self, name: &str) -> Option<&[&'a str]> {
        let (_, lines) = self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name))?;
        Some(lines)
    }

    /// A value's words, over all of its lines.
    pub fn words(&self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let lines = self.lines(name).unwrap_or_default().to_vec();
        lines.into_iter().flat_map(str::split_whitespace)
    }
}

/// Splits `text` into its paragraphs. Lines that start with `#` are comments. Lazy: a package index is
/// tens of megabytes, and hardly any of it is wanted.
pub fn paragraphs(text: &str) -> impl Iterator<Item = Paragraph<'_>> {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        let mut paragraph = Paragraph::default();
        for line in lines.by_ref() {
            if line.starts_with('#') {
                continue;
            }
            if line.trim().is_empty() {
                if paragraph.fields.is_empty() {
                    continue;
                }
                return Some(paragraph);
            }
            if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = paragraph.fields.last_mut() {
                    value.push(line.trim());
                }
            } else if let Some((name, value)) = line.split_once(':') {
                paragraph.fields.push((name.trim(), vec![value.trim()]));
            }
        }
        (!paragraph.fields.is_empty()).then_some(paragraph)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "\n# a comment\nPackage: a\nDepends: b,\n c\nSHA256:\n 11 2 x\n# inside\n 22 3 y\n\n\nPackage: z\n";

    #[test]
    fn splits_paragraphs_and_continuations() {
        let all: Vec<_> = paragraphs(TEXT).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].get("package"), Some("a"));
        assert_eq!(all[0].lines("Depends"), Some(&["b,", "c"][..]));
        assert_eq!(all[0].words("SHA256").collect::<Vec<_>>(), ["11", "2", "x", "22", "3", "y"]);
        assert_eq!(all[1].get("Package"), Some("z"));
        assert_eq!(all[1].get("Depends"), None);
    }

    #[test]
    fn junk_is_not_a_paragraph() {
        assert_eq!(paragraphs("no colon here\n\n \n").count(), 0);
        assert_eq!(paragraphs(" continuation of nothing\n").count(), 0);
    }
}
