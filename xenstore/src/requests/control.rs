//! CONTROL: what `xenstore-control` asks for. Live update, log files and memory reports are left out:
//! they are about a process, and this is none.

use std::fmt::Write;

use super::Reply;
use crate::domain::DriverRequest;
use crate::error::Error;
use crate::quota::{Limits, NAMED, Named};
use crate::store::Store;
use crate::wire;

const HELP: &str = "\
check           \n\
help            \n\
log             on|off\n\
print           <string>\n\
quota           [set <name> <val>|<domid>]\n";

impl Store {
    pub(super) fn control(&mut self, payload: &[u8]) -> Result<Reply, Error> {
        let strings: Vec<_> = wire::strings(payload).collect();
        match strings[..] {
            [b"help"] => Ok(Reply::text(HELP)),
            [b"check"] if self.is_consistent() => Ok(Reply::Done),
            [b"check"] => Err(Error::Damaged),
            [b"log", b"on"] => Ok(self.ask_driver(DriverRequest::Log { on: true })),
            [b"log", b"off"] => Ok(self.ask_driver(DriverRequest::Log { on: false })),
            [b"print", text] => {
                let text = String::from_utf8_lossy(text).into_owned();
                Ok(self.ask_driver(DriverRequest::Print { text }))
            }
            [b"quota"] => Ok(Reply::text(shown(&self.limits))),
            [b"quota", b"set", name, value] => {
                let named = Named::find(name).ok_or(Error::UnknownControl)?;
                let value = wire::number(value).filter(|value| *value > 0);
                let value = value.ok_or(Error::Malformed("quota's value"))?;
                named.set(&mut self.limits, value as usize);
                Ok(Reply::Done)
            }
            [b"quota", domid] => self.usage(domid),
            _ => Err(Error::UnknownControl),
        }
    }

    fn ask_driver(&mut self, request: DriverRequest) -> Reply {
        self.requests.push(request);
        Reply::Done
    }

    /// What a domain has of that which is bounded.
    fn usage(&self, domid: &[u8]) -> Result<Reply, Error> {
        let domid = wire::domid(domid).ok_or(Error::Malformed("quota's domain"))?;
        if !self.domains.is_introduced(domid) {
            return Err(Error::NotIntroduced(domid));
        }
        let account = self.tree.account(domid);
        let (mut watches, mut transactions, mut outstanding, mut memory) = (0, 0, 0, account.bytes);
        for connection in self.connections.by_id.values().filter(|connection| connection.domid == domid) {
            watches += connection.watches().len();
            transactions += connection.transactions.len();
            outstanding += connection.outbox.outstanding();
            memory = connection.held().saturating_add(memory);
        }
        let mut text = format!("Domain {domid}:\n");
        let table = [
            ("nodes", account.nodes),
            ("watches", watches),
            ("outstanding", outstanding),
            ("memory", memory),
            ("transactions", transactions),
        ];
        for (name, value) in table {
            let _ = writeln!(text, "{name:<17}: {value:8}");
        }
        Ok(Reply::text(text))
    }

    /// Whether the store's books agree with what is there: nodes, watches.
    fn is_consistent(&self) -> bool {
        let of_clients = self.connections.by_id.values().map(|connection| connection.watches().len());
        let watches = of_clients.sum::<usize>() + self.subscriptions.len();
        self.tree.is_consistent() && self.watches.len() == watches
    }
}

fn shown(limits: &Limits) -> String {
    let mut text = "Quota settings:\n".to_owned();
    for named in &NAMED {
        let _ = writeln!(text, "{:<17}: {:8} {}", named.name, named.get(limits), named.about);
    }
    text
}
