//! Replies that have been given, for the same question from somebody else: byte for byte the same, but for its number and
//! the spelling of its name. Of them, most questions for services that run are answered.

use std::collections::HashMap;

use crate::directory::Moment;
use crate::dns::encode::HEADER;
use crate::dns::limits::Kind;
use crate::summoner::{ServiceId, Warm};

/// Most replies that are kept. When there would be more, all are forgotten: they are soon there again.
const MOST: usize = 1024;
/// Longest one.
const LONGEST: usize = 512;

/// Longest question: a name, type and class, and an OPT record without options (RFC 6891, section 6.1.2).
const LONGEST_QUESTION: usize = HEADER + 255 + 4 + OPT;
const OPT: usize = 11;

/// By question, without its number and in lower case.
#[derive(Debug, Default)]
pub struct Known {
    replies: HashMap<Box<[u8]>, Reply>,
}

#[derive(Debug)]
struct Reply {
    bytes: Box<[u8]>,
    kind: Kind,
    /// Whose address it tells.
    services: Box<[ServiceId]>,
    /// It is good up to then,
    until: Moment,
    /// and as long as this is so.
    generation: u64,
}

/// A question in the form in which it is looked for.
pub struct Key {
    bytes: [u8; LONGEST_QUESTION],
    length: usize,
    /// Where its name ends in the message.
    name_end: usize,
}

impl Key {
    /// Of a message that can be a question without more than is usual.
    pub fn of(message: &[u8]) -> Option<Self> {
        let mut end = HEADER;
        if message.len() > LONGEST_QUESTION {
            return None;
        }
        loop {
            let length = usize::from(*message.get(end)?);
            end += 1 + length;
            if length == 0 {
                break;
            }
            // Pointers are not usual.
            if length > 63 {
                return None;
            }
        }
        // Type and class, and then nothing or an OPT record.
        let beyond = message.len().checked_sub(end + 4)?;
        if beyond != 0 && beyond != OPT {
            return None;
        }
        let mut bytes = [0; LONGEST_QUESTION];
        let length = message.len() - 2;
        bytes[..length].copy_from_slice(&message[2..]);
        bytes[HEADER - 2..end - 2].make_ascii_lowercase();
        Some(Key { bytes, length, name_end: end })
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Known {
    /// The reply to this question, if it is known, as it is for the name in lower case: [`Key::adapt`] makes it the reply
    /// to the message. Counts as an answer for the services that it tells of.
    pub fn find(&self, key: &Key, now: Moment, warm: &Warm) -> Option<(&[u8], Kind)> {
        let reply = self.replies.get(key.bytes())?;
        if reply.generation != warm.generation() || now > reply.until {
            return None;
        }
        reply.services.iter().for_each(|service| warm.tell(*service, now));
        Some((&reply.bytes, reply.kind))
    }

    /// Keeps a reply that tells of these services.
    pub fn keep(&mut self, key: &Key, bytes: &[u8], kind: Kind, services: Box<[ServiceId]>, warm: &Warm) {
        // Another one of the same question takes its place.
        if bytes.len() > LONGEST || bytes.len() < key.name_end {
            return;
        }
        if self.replies.len() >= MOST {
            self.replies.clear();
        }
        let until = services.iter().map(|service| warm.until(*service)).min().unwrap_or(Moment(u64::MAX));
        let reply = Reply { bytes: bytes.into(), kind, services, until, generation: warm.generation() };
        self.replies.insert(key.bytes().into(), reply);
    }
}

impl Key {
    /// Gives a reply the message's number, and its name's spelling. All other names in it are pointers to that, or are
    /// the same for every spelling.
    pub fn adapt(&self, reply: &mut [u8], message: &[u8]) {
        reply[..2].copy_from_slice(&message[..2]);
        reply[HEADER..self.name_end].copy_from_slice(&message[HEADER..self.name_end]);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::dns::limits::Limits;
    use crate::summoner::Temperature;

    fn question(number: u16, name: &str, kind: u16, opt: bool) -> Vec<u8> {
        let mut message = [&number.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(opt)]].concat();
        for label in name.split('.') {
            message.push(label.len() as u8);
            message.extend_from_slice(label.as_bytes());
        }
        message.extend_from_slice(&[0]);
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&[0, 1]);
        if opt {
            message.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        }
        message
    }

    fn kind() -> Kind {
        let loaded = crate::config::loaded("[node]\naddress = \"10.0.2.15/24\"");
        Limits::new(&loaded.config.node, [0; 16], Arc::default()).kind(&[0; 12])
    }

    fn warm() -> Warm {
        let warm = Warm::default();
        warm.begin([Ipv4Addr::new(10, 0, 0, 1)].into_iter());
        warm.set(ServiceId(0), Temperature::Warm { ttl: Duration::from_secs(60), until: Moment(100) });
        warm
    }

    #[test]
    fn a_reply_is_for_everybody_who_asks_the_same() {
        let (mut known, warm) = (Known::default(), warm());
        let asked = question(1, "www.jitsu.test", 1, false);
        let key = Key::of(&asked).unwrap();
        assert_eq!(known.find(&key, Moment(1), &warm), None);
        let reply = [&asked[..], b"the rest"].concat();
        known.keep(&key, &reply, kind(), [ServiceId(0)].into(), &warm);

        let again = question(0x1234, "wWw.jiTsu.test", 1, false);
        let key = Key::of(&again).unwrap();
        let (found, _) = known.find(&key, Moment(100), &warm).unwrap();
        let mut found = found.to_vec();
        key.adapt(&mut found, &again);
        assert_eq!(found, [&again[..], b"the rest"].concat());
        let told: Vec<_> = warm.take().collect();
        assert_eq!((told.len(), told[0].count, told[0].last), (1, 1, Moment(100)));

        // Another question: by name, type, EDNS, a flag.
        let mut recursive = asked.clone();
        recursive[2] = 0;
        for other in [
            question(1, "www.jitsu.tesu", 1, false),
            question(1, "www.jitsu.test", 28, false),
            question(1, "www.jitsu.test", 1, true),
            recursive,
        ] {
            assert_eq!(known.find(&Key::of(&other).unwrap(), Moment(1), &warm), None, "{other:02x?}");
        }
        assert_eq!(known.find(&key, Moment(101), &warm), None, "its time is over");
    }

    #[test]
    fn types_that_are_letters_keep_their_case() {
        let (mut known, warm) = (Known::default(), warm());
        let https = question(1, "www.jitsu.test", 65, false);
        known.keep(&Key::of(&https).unwrap(), &https, kind(), Box::default(), &warm);
        assert_eq!(
            known.find(&Key::of(&question(1, "www.jitsu.test", 97, false)).unwrap(), Moment(1), &warm),
            None
        );
    }

    #[test]
    fn nothing_outlives_a_change() {
        let (mut known, warm) = (Known::default(), warm());
        let asked = question(1, "www.jitsu.test", 1, false);
        let key = Key::of(&asked).unwrap();
        known.keep(&key, &asked, kind(), [ServiceId(0)].into(), &warm);
        assert!(known.find(&key, Moment(1), &warm).is_some());
        warm.set(ServiceId(0), Temperature::Tepid);
        assert_eq!(known.find(&key, Moment(1), &warm), None);
        known.keep(&key, &asked, kind(), Box::default(), &warm);
        assert!(known.find(&key, Moment(1), &warm).is_some());
        warm.bind(ServiceId(0), "www.jitsu.test");
        assert_eq!(known.find(&key, Moment(1), &warm), None);
    }

    #[test]
    fn what_is_not_usual_has_no_key_and_there_are_only_so_many() {
        let good = question(1, "www.jitsu.test", 1, true);
        for end in 0..good.len() {
            assert_eq!(Key::of(&good[..end]).is_some(), end == good.len() - 11, "{end}");
        }
        let pointer = [&good[..12], &[0xc0, 12, 0, 1, 0, 1]].concat();
        assert!(Key::of(&pointer).is_none() && Key::of(&[&good[..], &[0; 300]].concat()).is_none());
        let (mut known, warm) = (Known::default(), warm());
        for number in 0..3000 {
            let asked = question(1, &format!("n{number}.jitsu.test"), 1, false);
            known.keep(&Key::of(&asked).unwrap(), &asked, kind(), Box::default(), &warm);
            assert!(known.replies.len() <= MOST);
            assert!(known.find(&Key::of(&asked).unwrap(), Moment(1), &warm).is_some());
        }
    }
}
