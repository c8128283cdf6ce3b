//! Many names in one word.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Most names in a series.
const MAX_NAMES: u32 = 1000;

/// The names that `a{1..3}b` stands for, `a1b`, `a2b` and `a3b`, or `a*3`, which is three times `a`; `None` for a name
/// that stands for itself.
///
/// # Errors
/// When what is in the braces is no range of numbers, or what is behind the asterisk no count.
pub fn of(name: &str) -> Result<Option<Vec<String>>> {
    if let Some((name, count)) = name.split_once('*') {
        let count = count.parse().ok().filter(|count| (1..=MAX_NAMES).contains(count));
        let count = count.with_context(|| format!("NAME {name:?}: 1 to {MAX_NAMES} times"))?;
        return Ok(Some(vec![name.to_owned(); count as usize]));
    }
    let Some((before, rest)) = name.split_once('{') else { return Ok(None) };
    let range = || {
        let (range, after) = rest.split_once('}')?;
        let (first, last) = range.split_once("..")?;
        Some((first.parse::<u32>().ok()?, last.parse::<u32>().ok()?, after))
    };
    let (first, last, after) =
        range().with_context(|| format!("NAME {name:?} has no {{FIRST..LAST}} in it"))?;
    ensure!(
        last.checked_sub(first).is_some_and(|more| more < MAX_NAMES),
        "NAME {name:?}: 1 to {MAX_NAMES} names"
    );
    Ok(Some((first..=last).map(|number| format!("{before}{number}{after}")).collect()))
}

/// The node's status without what takes up most of it when there are many services: a console is slow.
pub fn without_long_texts(mut status: Value) -> Value {
    if let Some(status) = status.as_object_mut() {
        status.remove("events");
        let services = status.get_mut("services").and_then(Value::as_array_mut);
        for service in services.into_iter().flatten().filter_map(Value::as_object_mut) {
            service.remove("console");
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_in_braces_are_counted_up() {
        assert_eq!(of("www.test").unwrap(), None);
        assert_eq!(of("d{9..11}.test").unwrap().unwrap(), ["d9.test", "d10.test", "d11.test"]);
        assert_eq!(of("www.test*2").unwrap().unwrap(), ["www.test", "www.test"]);
        for bad in ["d{", "d{1}", "d{1..x}", "d{2..1}", "d{0..1000}", "d*", "d*0", "d*1001"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_short_stays() {
        let status = json!({"xen": {}, "events": [1], "services": [{"name": "a", "console": ["x"]}]});
        assert_eq!(without_long_texts(status), json!({"xen": {}, "services": [{"name": "a"}]}));
    }
}
