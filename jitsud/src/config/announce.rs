//! `announce`: as what a service is found by those who look for services on the link (RFC 6763).

use super::reader::{Field, Reader};

/// Most kinds for one service.
const MAX_OFFERS: usize = 8;

/// Longest name of a kind, without its underscore (RFC 6335, section 5.1).
const MAX_KIND: usize = 15;

const EXAMPLE: &str = "announce = [\"_http._tcp:80\"]";

/// A kind of service, and where it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// The kind, as in the registry of service names: `_http._tcp`.
    pub kind: String,
    /// The port.
    pub port: u16,
}

/// Reads the key.
pub fn read(reader: &mut Reader<'_, '_>) -> Vec<Offer> {
    let Some(listed) = reader.string_or_strings("announce", EXAMPLE) else { return Vec::new() };
    if listed.value.len() > MAX_OFFERS {
        let what = format!("announce lists {}, more than {MAX_OFFERS}", listed.value.len());
        reader.problem(listed.line, what, "remove some");
    }
    let mut offers: Vec<Offer> = Vec::new();
    for Field { value, line } in listed.value.into_iter().take(MAX_OFFERS) {
        match offer(value) {
            Some(offer) if offers.iter().any(|other| other.kind == offer.kind) => {
                let what = format!("{} is in announce twice", offer.kind);
                reader.problem(line, what, "leave one: a service is found once under each kind");
            }
            Some(offer) => offers.push(offer),
            None => {
                let what = format!("{value:?} in announce is no kind of service and its port");
                reader.problem(line, what, format!("write for example {EXAMPLE}"));
            }
        }
    }
    offers
}

fn offer(text: &str) -> Option<Offer> {
    let (kind, port) = text.split_once(':')?;
    let name = kind.strip_suffix("._tcp").or(kind.strip_suffix("._udp"))?.strip_prefix('_')?;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_name = (1..=MAX_KIND).contains(&name.len())
        && name.chars().all(allowed)
        && name.chars().any(|c| c.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    let port = port.parse().ok().filter(|port| *port != 0)?;
    is_name.then(|| Offer { kind: kind.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_names_with_a_protocol_and_a_port() {
        let expected = Offer { kind: "_http._tcp".to_owned(), port: 80 };
        assert_eq!(offer("_http._tcp:80"), Some(expected));
        assert!(offer("_a-2._udp:65535").is_some());
        for wrong in [
            "",
            "_http._tcp",
            "_http._tcp:",
            "_http._tcp:0",
            "_http._tcp:65536",
            "http._tcp:80",
            "_http._sctp:80",
            "_http:80",
            "_._tcp:80",
            "_HTTP._tcp:80",
            "_-a._tcp:80",
            "_a--b._tcp:80",
            "_12._tcp:80",
            "_sixteen-letters2._tcp:80",
            "_a.b._tcp:80",
        ] {
            assert_eq!(offer(wrong), None, "{wrong}");
        }
    }
}
