//! Names in the node's zone: whose each one is, and which are a service's.

use std::collections::HashMap;

use super::reader::{Field, Line, Reader};
use super::{NodeDraft, names};

/// The names that are taken, and by whom.
pub struct Claims(HashMap<String, Owner>);

/// Whose a name is.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Owner {
    Node,
    /// Services, which are all started and answered; each may have it once.
    Services(Vec<String>),
    /// A service whose instances are bound to host names.
    Instances(String),
    /// An alias, on this line.
    Alias(Line),
    /// Addresses that are nobody's here; the first is on this line.
    Addresses(Line),
}

/// What a record of the configuration is, for who else may be at its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An A or AAAA record.
    Address,
    /// A CNAME record, which is alone at its name (RFC 1034, section 3.6.2).
    Alias,
    /// Any other.
    Other,
}

impl Claims {
    /// What the node itself takes.
    pub fn of(node: &NodeDraft) -> Self {
        Claims(HashMap::from([(format!("{}.{}", node.name, node.domain), Owner::Node)]))
    }

    /// Gives a name to a service, or says whose it is. `by_host` if its instances are bound to host names.
    fn claim(&mut self, name: &str, service: &str, by_host: bool) -> Result<(), String> {
        match self.0.get_mut(name) {
            None if by_host => _ = self.0.insert(name.to_owned(), Owner::Instances(service.to_owned())),
            None => _ = self.0.insert(name.to_owned(), Owner::Services(vec![service.to_owned()])),
            Some(Owner::Services(services)) if !by_host && !services.iter().any(|other| other == service) => {
                services.push(service.to_owned());
            }
            Some(owner) => return Err(owner.to_string()),
        }
        Ok(())
    }

    /// Whether a record may be at a name, or who has it to himself. All services have claimed theirs before.
    pub fn admit(&mut self, name: &str, kind: Kind, line: Line) -> Result<(), String> {
        match (self.0.get(name), kind) {
            (Some(Owner::Alias(_)), _) => {}
            (Some(Owner::Addresses(_)), Kind::Address) | (None | Some(_), Kind::Other) => return Ok(()),
            (None, Kind::Address) => {
                self.0.insert(name.to_owned(), Owner::Addresses(line));
                return Ok(());
            }
            (None, Kind::Alias) => {
                self.0.insert(name.to_owned(), Owner::Alias(line));
                return Ok(());
            }
            (Some(_), _) => {}
        }
        Err(self.0.get(name).map(ToString::to_string).unwrap_or_default())
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Owner::Node => f.write_str("the node"),
            Owner::Services(services) => f.write_str(&services.join(", ")),
            Owner::Instances(service) => write!(f, "the instances of {service}"),
            Owner::Alias(line) => write!(f, "the alias on line {}", line.0),
            Owner::Addresses(line) => write!(f, "the address on line {}", line.0),
        }
    }
}

/// Reads a service's `dns`. Without one it has its own name or, if it has instances, all names below that.
pub fn read(
    reader: &mut Reader<'_, '_>,
    name: Option<&str>,
    node: &NodeDraft,
    claims: &mut Claims,
    by_host: bool,
) -> Option<Vec<String>> {
    let below = if by_host { "*." } else { "" };
    let example = format!("dns = [\"{below}{}.{}\"]", name.unwrap_or("www"), node.domain);
    let mut claim = |reader: &mut Reader<'_, '_>, name: String, line: Line| {
        if !names::is_within(&name, &node.domain) {
            let what = format!("DNS name {name:?} is outside the node's zone {:?}", node.domain);
            reader.problem(line, what, format!("end it in .{}, or change [node] domain", node.domain));
            return None;
        }
        let owner =
            reader.service.clone().unwrap_or_else(|| format!("the service on line {}", reader.line.0));
        if let Err(owner) = claims.claim(&name, &owner, by_host) {
            let what = format!("DNS name {name:?} already belongs to {owner}");
            reader.problem(line, what, "give each service names of its own");
            return None;
        }
        Some(name)
    };
    if !reader.has("dns") {
        let default = format!("{below}{}.{}", name?, node.domain);
        let line = reader.line;
        return claim(reader, default, line).map(|name| vec![name]);
    }
    let listed = reader.strings("dns", &example)?;
    if listed.value.is_empty() {
        reader.problem(listed.line, "dns is empty", "remove it for the default, or list a name");
        return None;
    }
    let claimed = listed.value.into_iter().map(|Field { value, line }| match names::wildcard_name(value) {
        Ok(name) => claim(reader, name, line),
        Err(fault) => {
            reader.problem(line, format!("DNS name {value:?} {fault}"), format!("write {example}"));
            None
        }
    });
    // Every name is looked at, so that every mistake is told.
    claimed.collect::<Vec<_>>().into_iter().collect()
}
