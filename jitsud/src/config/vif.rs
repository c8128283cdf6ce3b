//! `[[service.vif]]`: a service's network interfaces beyond the first, which is the one that its address is for.

use super::mac::Mac;
use super::node;
use super::reader::{Field, Line, Reader};
use super::{Draft, Problem, Service};

pub(super) const KEYS: [&str; 2] = ["bridge", "mac"];

const EXAMPLE: &str = "[[service.vif]]";

/// Most interfaces beside the first: a guest with more is likely a mistake, and each costs dom0 a MiB.
const MAX_VIFS: usize = 7;

/// A network interface beside the first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vif {
    /// The guest's address on the link.
    pub mac: Mac,
    /// The bridge it is a port of; `None` for the node's own.
    pub bridge: Option<String>,
}

/// A table, before every address on the link is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VifDraft {
    /// The address on the link, if the file gives one.
    pub mac: Option<Mac>,
    /// See [`Vif::bridge`].
    pub bridge: Option<String>,
    /// Where the address stands, or else the table.
    pub line: Line,
}

/// Reads all of a service's.
pub fn read(reader: &mut Reader<'_, '_>) -> Vec<VifDraft> {
    let tables = reader.tables("vif", EXAMPLE);
    if tables.len() > MAX_VIFS {
        let what = format!("{} more interfaces, more than {MAX_VIFS}", tables.len());
        reader.problem(reader.line_of("vif"), what, "remove some");
    }
    let each = |(line, table)| {
        reader.within(line, table, |reader| {
            reader.refuse_unknown(&KEYS, EXAMPLE);
            let bridge = reader.string("bridge", "bridge = \"br1\"").and_then(|bridge| {
                if node::is_interface_name(bridge.value) {
                    return Some(bridge.value.to_owned());
                }
                let what = format!("bridge {:?} is not an interface name", bridge.value);
                reader.problem(bridge.line, what, "write for example bridge = \"br1\"");
                None
            });
            VifDraft { mac: mac(reader), bridge, line: reader.line_of("mac") }
        })
    };
    tables.into_iter().map(each).collect()
}

fn mac(reader: &mut Reader<'_, '_>) -> Option<Mac> {
    const EXAMPLE: &str = "mac = \"00:16:3e:01:02:03\"";
    let Field { value, line } = reader.string("mac", EXAMPLE)?;
    let fault = match Mac::parse(value) {
        None => "is not an Ethernet address",
        Some(mac) if mac.is_group() || mac.0 == [0; 6] => "cannot be an interface's",
        Some(mac) => return Some(mac),
    };
    reader.problem(line, format!("mac {value:?} {fault}"), format!("write for example {EXAMPLE}"));
    None
}

/// Gives every interface its address on the link: what the file says, or one made of the service's. `Err` for a service
/// that wants one which an earlier service, or the first interface of any, has; with the line that says so.
pub fn assign(services: &[Service], drafts: &[Vec<VifDraft>]) -> Vec<Result<Vec<Vif>, (Mac, Line)>> {
    let mut taken: Vec<Mac> = services.iter().map(|service| service.mac).collect();
    // What is written goes before what can be chosen.
    let mut claim = |vifs: &Vec<VifDraft>| {
        for (mac, line) in vifs.iter().filter_map(|vif| Some((vif.mac?, vif.line))) {
            if taken.contains(&mac) {
                return Err((mac, line));
            }
            taken.push(mac);
        }
        Ok(())
    };
    let claimed: Vec<_> = drafts.iter().map(&mut claim).collect();
    let mut complete = |service: &Service, vifs: &[VifDraft]| {
        let mut complete = Vec::new();
        for (number, vif) in (1..).zip(vifs) {
            let chosen = || Mac::of_name(service.mac, &format!("vif{number}"), &taken);
            let mac = vif.mac.unwrap_or_else(chosen);
            taken.push(mac);
            complete.push(Vif { mac, bridge: vif.bridge.clone() });
        }
        complete
    };
    let both = services.iter().zip(drafts);
    both.zip(claimed).map(|((service, vifs), claimed)| claimed.map(|()| complete(service, vifs))).collect()
}

impl Draft {
    /// The bridges that guests' interfaces are ports of, beside the node's own; each once.
    pub fn other_bridges(&self) -> Vec<String> {
        let settings = self.services.iter().filter_map(|service| service.settings.as_ref());
        let named = settings.flat_map(|settings| &settings.vifs).filter_map(|vif| vif.bridge.clone());
        let mut bridges: Vec<String> = named.filter(|bridge| *bridge != self.node.bridge).collect();
        bridges.sort();
        bridges.dedup();
        bridges
    }

    /// Leaves out the services that want to be ports of what is no bridge: `is_taken` says of which names that is
    /// known. Returns a problem for each.
    pub(super) fn without_bridges(&mut self, is_taken: impl Fn(&str) -> bool) -> Vec<Problem> {
        let mut problems = Vec::new();
        for service in &mut self.services {
            let vifs = service.settings.iter().flat_map(|settings| &settings.vifs);
            let named = vifs.filter_map(|vif| Some((vif.bridge.as_deref()?, vif.line)));
            let Some((bridge, line)) = named.into_iter().find(|(bridge, _)| is_taken(bridge)) else {
                continue;
            };
            problems.push(Problem {
                file: self.file.clone(),
                line: line.0,
                service: service.name.clone(),
                what: format!("bridge {bridge:?} is the name of an interface that is no bridge"),
                fix: "write a new name, or none for the node's own bridge".to_owned(),
            });
            service.settings = None;
        }
        problems
    }
}
