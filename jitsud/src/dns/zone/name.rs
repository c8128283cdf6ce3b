//! Domain names as they are on the wire (RFC 1035, section 3.1): labels with their lengths in front, up to the root's,
//! which is 0. Here they are always whole, and in lower case where they are compared: a lookup is one of bytes.

use std::fmt::Write;

use hickory_server::proto::ProtoError;
use hickory_server::proto::rr::Name;

/// Longest name, with all lengths (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 255;

/// Longest label; what would be a greater length is a pointer (RFC 1035, section 4.1.4).
const MAX_LABEL: u8 = 63;

/// The name that a question is about, in lower case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    bytes: [u8; MAX_NAME],
    length: usize,
}

impl Asked {
    /// The name at the beginning of these bytes, if it stands there whole: in a question there is nothing before that a
    /// pointer could mean. In the reply it is repeated byte for byte, and must mean the same there.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut length = 0;
        loop {
            let label = *bytes.get(length)?;
            length += 1 + usize::from(label);
            if label > MAX_LABEL || length > MAX_NAME {
                return None;
            }
            if label == 0 {
                break;
            }
        }
        let mut name = Asked { bytes: [0; MAX_NAME], length };
        name.bytes[..length].copy_from_slice(bytes.get(..length)?);
        name.bytes.make_ascii_lowercase();
        Some(name)
    }

    /// Its bytes.
    pub fn wire(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// A name of the configuration: lower case, absolute.
pub fn wire(name: &Name) -> Box<[u8]> {
    let mut bytes = Vec::with_capacity(MAX_NAME);
    for label in name.iter() {
        // A `Name` has no longer ones.
        bytes.push(label.len() as u8);
        bytes.extend(label.to_ascii_lowercase());
    }
    bytes.push(0);
    bytes.into()
}

/// A name in text, with or without its final dot.
///
/// # Errors
/// It is none.
pub fn absolute(text: &str) -> Result<Name, ProtoError> {
    let mut name = Name::from_ascii(text)?;
    name.set_fqdn(true);
    Ok(name)
}

/// The name and those above it, up to the root.
pub fn suffixes(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(name), |name| above(name))
}

/// The name without its first label; `None` for the root.
pub fn above(name: &[u8]) -> Option<&[u8]> {
    let (&length, rest) = name.split_first()?;
    rest.get(usize::from(length)..).filter(|_| length > 0)
}

/// Whether the first label is an asterisk (RFC 4592, section 2.1.1).
pub fn is_wildcard(name: &[u8]) -> bool {
    name.starts_with(b"\x01*")
}

/// Whether the name is `zone` or lies below it.
pub fn is_within(name: &[u8], zone: &[u8]) -> bool {
    // The lengths tell which of the names above it that could be.
    suffixes(name).find(|suffix| suffix.len() <= zone.len()) == Some(zone)
}

/// As people write it (RFC 1035, section 5.1), without the final dot. What is no visible character is `\DDD`.
pub fn text(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for suffix in suffixes(name) {
        let label = suffix.get(1..=usize::from(suffix[0])).unwrap_or_default();
        if !text.is_empty() && !label.is_empty() {
            text.push('.');
        }
        for byte in label {
            match byte {
                b'.' | b'\\' => text.extend(['\\', char::from(*byte)]),
                b'!'..=b'~' => text.push(char::from(*byte)),
                // Writing to a string cannot fail.
                _ => _ = write!(text, "\\{byte:03}"),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_whole_or_not_at_all() {
        let good = b"\x03WwW\x05jitsu\x04test\0\0\x01\0\x01";
        let name = Asked::read(good).unwrap();
        assert_eq!(
            (name.wire(), text(name.wire()).as_str()),
            (&good.to_ascii_lowercase()[..16], "www.jitsu.test")
        );
        assert_eq!(*name.wire(), *wire(&absolute("www.jitsu.test").unwrap()));
        assert_eq!(Asked::read(b"\0").unwrap().wire(), b"\0");
        let longest =
            [&[b"\x3f".as_slice(), &[b'a'; 63]].concat().repeat(3)[..], b"\x3d", &[b'a'; 61], b"\0"].concat();
        assert_eq!((longest.len(), Asked::read(&longest).is_some()), (255, true));
        let longer = [b"\x01a", &longest[..]].concat();
        for bad in
            [&b""[..], b"\x03ww", b"\x03www", b"\xc0\x0c", b"\x01a\xc0\x02\0", b"\x40a", b"\x80", &longer]
        {
            assert_eq!(Asked::read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn within_is_a_matter_of_labels() {
        let zone = b"\x05jitsu\x04test\0";
        for (name, inside) in [
            (&b"\x05jitsu\x04test\0"[..], true),
            (b"\x03www\x05jitsu\x04test\0", true),
            (b"\x08notjitsu\x04test\0", false),
            // The zone's bytes, inside a label.
            (b"\x0c\x05jitsu\x04test\0\0", false),
            (b"\x04test\0", false),
            (b"\0", false),
        ] {
            assert_eq!(is_within(name, zone), inside, "{name:?}");
        }
    }

    #[test]
    fn text_cannot_be_mistaken() {
        assert_eq!(text(b"\x05a.b\\c\x03\0 \xff\0"), "a\\.b\\\\c.\\000\\032\\255");
        assert_eq!(text(b"\0"), "");
    }
}
