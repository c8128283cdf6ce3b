//! DNS messages that are good, bad and worse, from a seed.

/// SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// Names that lead somewhere, and some that do not.
const NAMES: [&str; 12] = [
    "www.jitsu.test",
    "node.jitsu.test",
    "jitsu.test",
    "slow.jitsu.test",
    "fails.jitsu.test",
    "a.users.jitsu.test",
    "b.users.jitsu.test",
    "nope.jitsu.test",
    "20.2.0.10.in-addr.arpa",
    "example.org",
    "www.example.com",
    "",
];

/// Types: those that are known, and numbers at the edges.
const TYPES: [u16; 20] =
    [1, 28, 2, 5, 6, 12, 15, 16, 33, 41, 64, 65, 250, 251, 252, 255, 0, 257, 4711, 65535];
const CLASSES: [u16; 6] = [1, 1, 1, 3, 254, 255];
/// OPT (RFC 6891).
const OPT: u16 = 41;

/// Longest datagram that is made.
const LONGEST: usize = 5000;

/// A message of any kind, not longer than a datagram may be.
pub fn message(random: &mut Random) -> Vec<u8> {
    let mut message = match random.below(10) {
        0..3 => question(random),
        3..6 => mutated(random),
        6 => {
            let length = random.below(600);
            random.bytes(length)
        }
        7 => loops(random),
        8 => long_names(random),
        _ => options(random),
    };
    message.truncate(LONGEST);
    message
}

fn header(random: &mut Random, counts: [u16; 4]) -> Vec<u8> {
    let mut header = random.bytes(2);
    // Mostly a plain question; any flags now and then.
    header.extend(if random.below(8) > 0 { [1, 0] } else { [random.next() as u8, random.next() as u8] });
    header.extend(counts.map(u16::to_be_bytes).as_flattened());
    header
}

fn name(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut wire: Vec<u8> =
        labels.flat_map(|label| std::iter::once(label.len() as u8).chain(label.bytes())).collect();
    wire.push(0);
    wire
}

fn type_and_class(random: &mut Random) -> Vec<u8> {
    [random.one_of(&TYPES), random.one_of(&CLASSES)].map(u16::to_be_bytes).as_flattened().to_vec()
}

/// An OPT record with these options.
fn opt(random: &mut Random, options: &[u8]) -> Vec<u8> {
    let size = random.one_of(&[0, 511, 512, 1232, 4096, 65535_u16]);
    let version = random.one_of(&[0, 0, 0, 1, 255_u8]);
    let mut record = vec![0];
    record.extend(OPT.to_be_bytes());
    record.extend(size.to_be_bytes());
    record.extend([0, version, random.one_of(&[0, 0x80, 0xff]), 0]);
    record.extend((options.len() as u16).to_be_bytes());
    record.extend_from_slice(options);
    record
}

/// A question as a client asks it.
fn question(random: &mut Random) -> Vec<u8> {
    let with_opt = random.below(2) == 0;
    let mut message = header(random, [1, 0, 0, u16::from(with_opt)]);
    let mut asked = name(random.one_of(&NAMES));
    let spelling = random.next();
    for (index, byte) in asked.iter_mut().enumerate() {
        if spelling >> (index % 64) & 1 == 1 {
            byte.make_ascii_uppercase();
        }
    }
    if random.below(4) == 0 {
        let label = random.below(1 << 20).to_string();
        asked = [&[label.len() as u8], label.as_bytes(), &asked].concat();
    }
    message.extend(asked);
    message.extend(type_and_class(random));
    if with_opt {
        message.extend(opt(random, &[]));
    }
    message
}

/// A good one with damage: bytes changed, left out, repeated, added.
fn mutated(random: &mut Random) -> Vec<u8> {
    let mut message = question(random);
    for _ in 0..=random.below(4) {
        let at = random.below(message.len().max(1));
        match random.below(6) {
            0 if !message.is_empty() => message[at] = random.next() as u8,
            1 if !message.is_empty() => message[at] ^= 1 << random.below(8),
            2 => message.truncate(at),
            3 => {
                let piece = message[at..].to_vec();
                message.extend(piece);
            }
            4 => {
                let count = random.below(40);
                message.extend(random.bytes(count));
            }
            // The counts of records.
            5 if message.len() > 12 => message[4 + random.below(8)] = random.one_of(&[0, 1, 2, 255]),
            _ => {}
        }
    }
    message
}

/// Names that point to themselves, to each other, forward, into the header.
fn loops(random: &mut Random) -> Vec<u8> {
    let mut message = header(random, [1, 0, 0, 1]);
    for _ in 0..=random.below(3) {
        if random.below(2) == 0 {
            message.extend([1, b'a']);
        }
        let target = random.one_of(&[0, 4, 12, 13, 14, message.len(), message.len() + 2, 0x3fff]);
        message.extend((0xc000 | target as u16).to_be_bytes());
        message.extend(type_and_class(random));
    }
    let count = random.below(30);
    message.extend(random.bytes(count));
    message
}

/// Names that are as long as names may be, and longer; labels of all lengths.
fn long_names(random: &mut Random) -> Vec<u8> {
    let mut message = header(random, [1, 0, 0, 0]);
    for _ in 0..random.below(140) {
        let length = random.one_of(&[1, 1, 2, 31, 62, 63, 64, 127, 191]);
        message.push(length);
        message.extend((0..length).map(|_| b'a'));
    }
    if random.below(2) == 0 {
        message.extend(name("jitsu.test"));
    } else {
        message.push(0);
    }
    message.extend(type_and_class(random));
    message
}

/// EDNS: options of all kinds and lengths, wrong lengths, several OPT records, in the wrong places.
fn options(random: &mut Random) -> Vec<u8> {
    let (answers, additional) = (random.one_of(&[0, 0, 0, 1]), random.one_of(&[1, 1, 1, 2, 3]));
    let mut message = header(random, [1, answers, 0, additional]);
    message.extend(name(random.one_of(&NAMES)));
    message.extend(type_and_class(random));
    for _ in 0..answers + additional {
        let mut options = Vec::new();
        for _ in 0..random.below(6) {
            let length = random.one_of(&[0, 1, 8, 16, 40, 300]);
            options.extend(random.one_of(&[3, 8, 9, 10, 11, 12, 15, 65001_u16]).to_be_bytes());
            let told = if random.below(5) == 0 { random.next() as u16 } else { length as u16 };
            options.extend(told.to_be_bytes());
            options.extend(random.bytes(length));
        }
        let mut record = opt(random, &options);
        if random.below(6) == 0 {
            // Its own length.
            record[9] = random.next() as u8;
        }
        message.extend(record);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_messages_and_all_kinds_of_them() {
        let make = |seed| {
            let mut random = Random::new(seed);
            (0..2000).map(|_| message(&mut random)).collect::<Vec<_>>()
        };
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
        let messages = make(1);
        let has =
            |what: &dyn Fn(&Vec<u8>) -> bool| messages.iter().filter(|message| what(message)).count() > 20;
        assert!(has(&|message| message.len() < 12) && has(&|message| message.len() > 512));
        assert!(has(&|message| message.len() > 12 && message[2] & 0x80 != 0), "replies");
        assert!(has(&|message| message.len() > 14 && message[12] >= 0xc0), "pointers");
        assert!(has(&|message| message.get(2..6) == Some(&[1, 0, 0, 1])), "good ones");
    }
}
