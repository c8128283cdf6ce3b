//! A page as text, for a terminal.

/// The text of an HTML page: no tags, no style sheets, no empty lines.
pub fn text(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        if tag.starts_with("dd") {
            text.push_str(": ");
        }
        let end = if tag.starts_with("style") { "</style>" } else { ">" };
        rest = tag.split_once(end).map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_is_left() {
        let page = "<!doctype html>\n<title>t</title>\n<style>a{b:c}</style>\n<h1>Hello</h1>\n<dl>\n\
                    <dt>Token</dt><dd id=\"token\">abc</dd>\n</dl>";
        assert_eq!(text(page), "  t\n  Hello\n  Token: abc\n");
        assert_eq!(text("cut <off"), "  cut\n");
    }
}
