//! Host and domain names (RFC 1123, RFC 1035), and guesses at what a misspelt word was meant to be.

/// Longest label (RFC 1035, section 2.3.4).
const MAX_LABEL: usize = 63;

/// Longest domain name in text form without the final dot: 255 bytes on the wire, of which two are
/// the first label's length and the root.
pub const MAX_NAME: usize = 253;

/// Longest zone that leaves room for a label of any length in front.
pub const MAX_ZONE: usize = MAX_NAME - MAX_LABEL - 1;

/// Why the text is no RFC 1123 label in lower case; `None` when it is one.
pub fn label_fault(label: &str) -> Option<String> {
    if label.is_empty() {
        return Some("is empty".to_owned());
    }
    if label.len() > MAX_LABEL {
        return Some(format!("has {} characters, more than {MAX_LABEL}", label.len()));
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if let Some(c) = label.chars().find(|c| !allowed(*c)) {
        return Some(format!("contains {c:?}"));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Some("begins or ends with a hyphen".to_owned());
    }
    None
}

/// The domain name in lower case and without its final dot, or why it is none.
pub fn domain_name(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if name.len() > MAX_NAME {
        return Err(format!("has {} characters, more than {MAX_NAME}", name.len()));
    }
    match name.split('.').find_map(|label| label_fault(label).map(|fault| (label, fault))) {
        Some((_, fault)) if !name.contains('.') => Err(fault),
        Some((label, fault)) => Err(format!("has a label {label:?} that {fault}")),
        None => Ok(name),
    }
}

/// As [`domain_name`], but the first label may be an asterisk (RFC 4592).
pub fn wildcard_name(text: &str) -> Result<String, String> {
    match text.strip_prefix("*.") {
        Some(below) => domain_name(below).and_then(|name| bounded(format!("*.{name}"))),
        None => domain_name(text),
    }
}

/// As [`domain_name`], but labels may have underscores, as those of protocols do (RFC 8552), or be an asterisk.
pub fn owner_name(text: &str) -> Result<String, String> {
    let name = text.to_ascii_lowercase();
    let plain = |label: &str| if label == "*" { "u".to_owned() } else { label.replace('_', "u") };
    // What is wrong with a name is not changed by that.
    domain_name(&name.split('.').map(plain).collect::<Vec<_>>().join(".")).map(|_| name)
}

fn bounded(name: String) -> Result<String, String> {
    match name.len() {
        ..=MAX_NAME => Ok(name),
        length => Err(format!("has {length} characters, more than {MAX_NAME}")),
    }
}

/// Whether `name` is `zone` or lies below it. Both in the form that [`domain_name`] returns.
pub fn is_within(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The candidate that the word is most likely a misspelling of.
pub fn suggest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    // A third of the word may be wrong: "adress" and "memroy" are recognised, "foo" is not "ttl".
    let length = word.chars().count();
    let tolerated = (length / 3).max(1);
    candidates
        .iter()
        // At least that many edits are needed; to count them all in a word of any length takes long.
        .filter(|candidate| candidate.len().abs_diff(length) <= tolerated)
        .map(|candidate| (edits(word, candidate), *candidate))
        .filter(|(distance, _)| *distance <= tolerated)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other
/// (the "optimal string alignment" distance).
fn edits(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut before_last = vec![0; to.len() + 1];
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let mut best = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}
