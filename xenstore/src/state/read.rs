//! A store's state, read back. Nothing of the image is believed: a damaged one is an error that says
//! what is wrong, and never a store that breaks later.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use xen_sys::io::xs_wire::XENSTORE_ABS_PATH_MAX;
use xen_sys::{DomId, EvtchnPort};

use super::format::{ImportError, Kind, Read, Reader};
use crate::connection::{ConnId, ConnKind, Connection, Outbox};
use crate::domain::{Domain, Domains, DriverRequest, FEATURES};
use crate::event::Event;
use crate::pace::{Pace, Paces};
use crate::path::Path;
use crate::perms::{Access, Perm, Perms};
use crate::quota::Limits;
use crate::store::Store;
use crate::transaction::{Kind as ChangeKind, Mark, Transaction};
use crate::tree::{Node, Tree, number};
use crate::watch::{Owner, Subscription, Watch};
use crate::wire::Inbox;

/// Points of conflict credit that a guest can owe in an image.
const DEBT_MAX: u32 = 1 << 16;

impl Store {
    /// The store that was [exported](Store::export). Connections have the same [`ConnId`]s as before;
    /// the driver finds theirs in [`connections`](Store::connections), serves them on, and disconnects
    /// those that are gone; of [`subscriptions`](Store::subscriptions) it ends those that it has no use
    /// for.
    ///
    /// # Errors
    /// The bytes are no such image, or of another version, or damaged; the error names what and where.
    pub fn import(image: &[u8]) -> Result<Store, ImportError> {
        let mut records = Reader::new(image)?;
        let mut import = Import::new();
        let mut last = Kind::End;
        loop {
            let (kind, mut body) = records.record()?;
            if kind == Kind::End {
                body.end()?;
                records.end()?;
                break;
            }
            let once = matches!(kind, Kind::Globals | Kind::Pace | Kind::Tree);
            body.rule(kind > last || (kind == last && !once), "out of order")?;
            body.rule(last != Kind::End || kind == Kind::Globals, "before the globals")?;
            last = kind;
            import.record(kind, &mut body)?;
            body.end()?;
        }
        records.rule(import.has_tree, "no tree in it")?;
        import.finish(&records)
    }
}

struct Import {
    store: Store,
    nodes: Vec<Pooled>,
    /// The trees made so far, by their root's number.
    trees: HashMap<u32, Tree>,
    perms: HashMap<Vec<u8>, Perms>,
    has_tree: bool,
    /// What the connections say that they watch, and no watch has been seen for.
    unmatched: BTreeSet<(ConnId, Path, Box<[u8]>)>,
}

/// A node of the pool.
struct Pooled {
    node: Arc<Node>,
    /// Nodes in the tree below it and itself.
    size: usize,
    /// Bytes in the longest path from it downwards, its own name included.
    depth: usize,
}

impl Import {
    fn new() -> Import {
        Import {
            store: Store::new(Limits::default()),
            nodes: Vec::new(),
            trees: HashMap::new(),
            perms: HashMap::new(),
            has_tree: false,
            unmatched: BTreeSet::new(),
        }
    }

    fn record(&mut self, kind: Kind, body: &mut Reader<'_>) -> Read<()> {
        match kind {
            Kind::End => Ok(()),
            Kind::Globals => self.globals(body),
            Kind::Domain => self.domain(body),
            Kind::Pace => {
                self.store.paces = paces(body)?;
                Ok(())
            }
            Kind::Node => self.node(body),
            Kind::Tree => {
                self.store.tree = self.tree(body)?;
                self.has_tree = true;
                Ok(())
            }
            Kind::Connection => self.connection(body),
            Kind::Transaction => self.transaction(body),
            Kind::Watch => self.watch(body),
            Kind::Subscription => self.subscription(body),
            Kind::Event => {
                let subscription = Subscription(body.u64()?);
                let path = body.text()?.to_owned();
                self.store.events.push(Event { subscription, path });
                Ok(())
            }
            Kind::Request => {
                self.store.requests.push(request(body)?);
                Ok(())
            }
        }
    }

    fn globals(&mut self, body: &mut Reader<'_>) -> Read<()> {
        let store = &mut self.store;
        store.limits = limits(body)?;
        store.changes = body.u64()?;
        body.rule(store.changes < 1 << 47, "more changes than can be counted")?;
        store.connections.last = body.u64()?;
        store.last_subscription = body.u64()?;
        body.rule(
            store.connections.last < 1 << 63 && store.last_subscription < 1 << 63,
            "more connections than can be counted",
        )?;
        let introduce_perms = perms(&mut self.perms, body)?;
        let release_perms = perms(&mut self.perms, body)?;
        store.domains = Domains { known: BTreeMap::new(), introduce_perms, release_perms };
        store.oldest_transaction = body.option(Reader::time)?;
        store.connections.announced = body.list(|body| Ok(ConnId(body.u64()?)))?;
        Ok(())
    }

    fn domain(&mut self, body: &mut Reader<'_>) -> Read<()> {
        let domid = domid(body)?;
        let domain = Domain {
            introduced: body.flag()?,
            stopped: body.flag()?,
            target: body.option(self::domid)?,
            features: body.u32()?,
            limits: body.option(limits)?.map(Box::new),
        };
        body.rule(domain.features & !FEATURES == 0, "features that nobody knows")?;
        body.rule(self.store.domains.known.insert(domid, domain).is_none(), "a second time")
    }

    fn node(&mut self, body: &mut Reader<'_>) -> Read<()> {
        let name = body.text()?;
        let value = body.bytes()?;
        let perms = perms(&mut self.perms, body)?;
        let (changed, listed) = (body.u64()?, body.u64()?);
        let newest = self.store.changes;
        body.rule(number(changed) <= newest && number(listed) <= newest, "changed in the future")?;
        let (mut size, mut depth) = (1_usize, 0);
        let nodes = &self.nodes;
        let children = body.list(|body| {
            let child = nodes.get(body.u32()? as usize).ok_or_else(|| body.wrong("a child unknown"))?;
            size = size.saturating_add(child.size);
            depth = child.depth.max(depth);
            Ok(child.node.clone())
        })?;
        let in_order = children.windows(2).all(|pair| pair[0].name() < pair[1].name());
        body.rule(in_order, "children that are not in order")?;
        body.rule(children.iter().all(|child| !child.name().is_empty()), "a child without a name")?;
        // A root has no name; any other's must be one that a path can have.
        let as_path = Path::absolute(format!("/{name}").as_bytes());
        body.rule(as_path.is_ok() && !name.contains('/'), "a name that is none")?;
        let depth = depth + name.len() + 1;
        body.rule(depth <= XENSTORE_ABS_PATH_MAX + 1, "a path that is too long")?;
        let node = Arc::new(Node::restored(name, value, perms, children, changed, listed));
        self.nodes.push(Pooled { node, size, depth });
        Ok(())
    }

    /// The tree whose root's number stands next.
    fn tree(&mut self, body: &mut Reader<'_>) -> Read<Tree> {
        let number = body.u32()?;
        if let Some(tree) = self.trees.get(&number) {
            return Ok(tree.clone());
        }
        let root = self.nodes.get(number as usize).ok_or_else(|| body.wrong("no such root"))?;
        body.rule(root.node.name().is_empty(), "a root with a name")?;
        // A node may be part of many trees, but of each only once.
        body.rule(root.size <= self.nodes.len(), "a node in two places of a tree")?;
        let tree = Tree::restored(root.node.clone());
        self.trees.insert(number, tree.clone());
        Ok(tree)
    }

    fn connection(&mut self, body: &mut Reader<'_>) -> Read<()> {
        let id = ConnId(body.u64()?);
        let known = id.0 <= self.store.connections.last;
        body.rule(known && self.store.connections.get(id).is_none(), "a number used twice")?;
        let domid = domid(body)?;
        let kind = if body.flag()? { ConnKind::Socket } else { ConnKind::Ring };
        body.rule(kind == ConnKind::Ring || domid == DomId::DOM0, "a socket of a guest")?;
        let mut connection = Connection::new(domid, kind);
        connection.received = body.u64()?;
        body.rule(connection.received < 1 << 63, "more input than there can be")?;
        let input = body.bytes()?;
        let mut inbox = Inbox::default();
        inbox.push(input).map_err(|_| body.wrong("requests that are none"))?;
        connection.inbox = inbox;
        connection.outbox = outbox(body)?;
        connection.next_transaction = body.u32()?;
        connection.owes_events = body.flag()?;
        connection.announced = body.flag()?;
        connection.resumed = body.flag()?;
        let watches = body.list(|body| Ok((watched_path(body)?, token(body)?)))?;
        for (path, token) in watches {
            connection.add_watch(path.clone(), &token);
            body.rule(self.unmatched.insert((id, path, token)), "the same watch twice")?;
        }
        self.store.connections.by_id.insert(id.0, connection);
        Ok(())
    }

    fn transaction(&mut self, body: &mut Reader<'_>) -> Read<()> {
        let conn = ConnId(body.u64()?);
        let id = body.u32()?;
        let transaction = body.option(|body| self.open_transaction(body))?;
        let connection = self.store.connections.get_mut(conn);
        let connection = connection.ok_or_else(|| body.wrong("of no connection"))?;
        body.rule(id != 0 && connection.transactions.insert(id, transaction).is_none(), "a second time")
    }

    fn open_transaction(&mut self, body: &mut Reader<'_>) -> Read<Transaction> {
        let (base, view) = (self.tree(body)?, self.tree(body)?);
        let started = body.time()?;
        let transaction = Transaction::new(base, body.size()?, started);
        let mut marks = BTreeMap::new();
        body.list(|body| {
            let path = node_path(body)?;
            let [same_parent, content, children, subtree] =
                [body.flag()?, body.flag()?, body.flag()?, body.flag()?];
            marks.insert(path, Mark { same_parent, content, children, subtree, change: None });
            Ok(())
        })?;
        body.list(|body| {
            let mark = marks.get_mut(&node_path(body)?);
            let mark = mark.ok_or_else(|| body.wrong("a change that relies on nothing"))?;
            mark.change = Some(match body.u8()? {
                0 => ChangeKind::Parent,
                1 => ChangeKind::Content,
                2 => ChangeKind::Subtree,
                _ => return Err(body.wrong("a change of no known kind")),
            });
            Ok(())
        })?;
        let order = body.list(node_path)?;
        Ok(transaction.restored(view, marks, order))
    }

    fn watch(&mut self, body: &mut Reader<'_>) -> Read<()> {
        let local = body.flag()?;
        let owner = body.u64()?;
        let owner = if local { Owner::Local(Subscription(owner)) } else { Owner::Conn(ConnId(owner)) };
        let path = watched_path(body)?;
        let token = token(body)?;
        let home = body.size()?;
        body.rule(path.as_str().is_char_boundary(home), "relative to more than it is")?;
        let depth = body.option(Reader::u32)?;
        let mut watch = Watch::new(owner, path.clone(), &token, home, depth);
        watch.last = body.option(Reader::u64)?;
        watch.owed = body.flag()?;
        match owner {
            Owner::Conn(conn) => {
                body.rule(self.unmatched.remove(&(conn, path, token)), "its connection does not know it")?;
            }
            // The subscriptions' records, which come later, say that they know theirs.
            Owner::Local(_) => {
                let known = self.store.watches.get(&path, owner, &token).is_some();
                body.rule(!known, "the same watch twice")?;
            }
        }
        self.store.watches.add(watch);
        Ok(())
    }

    fn subscription(&mut self, body: &mut Reader<'_>) -> Read<()> {
        let subscription = Subscription(body.u64()?);
        let path = watched_path(body)?;
        let watches = &self.store.watches;
        body.rule(watches.get(&path, Owner::Local(subscription), &[]).is_some(), "without a watch")?;
        body.rule(subscription.0 <= self.store.last_subscription, "a number of the future")?;
        body.rule(self.store.subscriptions.insert(subscription, path).is_none(), "a second time")
    }

    fn finish(self, end: &Reader<'_>) -> Read<Store> {
        end.rule(self.unmatched.is_empty(), "a connection's watch is missing")?;
        let connections = self.store.connections.by_id.values();
        let watches: usize = connections.map(|connection| connection.watches().len()).sum();
        let all = watches + self.store.subscriptions.len();
        end.rule(self.store.watches.len() == all, "a watch that nobody owns")?;
        end.rule(self.store.domains.is_introduced(DomId::DOM0), "the control domain is missing")?;
        Ok(self.store)
    }
}

fn outbox(body: &mut Reader<'_>) -> Read<Outbox> {
    let bytes = body.bytes()?.to_vec();
    let consumed = body.u64()?;
    let end = consumed.checked_add(bytes.len() as u64).filter(|end| *end < 1 << 63);
    let end = end.ok_or_else(|| body.wrong("more output than there can be"))?;
    let replies = VecDeque::from(body.list(Reader::u64)?);
    let in_order = replies.iter().zip(replies.iter().skip(1)).all(|(one, next)| one < next);
    let within = replies.iter().all(|reply| (consumed + 1..=end).contains(reply));
    body.rule(in_order && within, "replies that are not in the output")?;
    Ok(Outbox::restored(bytes, consumed, replies))
}

fn paces(body: &mut Reader<'_>) -> Read<Paces> {
    let now = body.time()?;
    let guests = body.list(|body| {
        let domid = domid(body)?;
        let pace = Pace { even: body.time()?, resting: body.flag()?, debt: body.u32()? };
        body.rule(pace.debt <= DEBT_MAX, "more debt than there can be")?;
        Ok((domid, pace))
    })?;
    let (paused, indebted) = (body.list(domid)?, body.list(domid)?);
    let next_point = body.option(Reader::time)?;
    Ok(Paces {
        now,
        guests: guests.into_iter().collect(),
        paused: paused.into(),
        indebted: indebted.into(),
        next_point,
    })
}

fn request(body: &mut Reader<'_>) -> Read<DriverRequest> {
    Ok(match body.u8()? {
        0 => DriverRequest::Introduce {
            domid: domid(body)?,
            gfn: body.u64()?.cast_signed(),
            port: EvtchnPort(body.u32()?),
        },
        1 => DriverRequest::Release { domid: domid(body)? },
        2 => DriverRequest::Log { on: body.flag()? },
        3 => DriverRequest::Print { text: body.text()?.to_owned() },
        _ => return Err(body.wrong("of no known kind")),
    })
}

pub(super) fn domid(body: &mut Reader<'_>) -> Read<DomId> {
    let domid = DomId(body.u16()?);
    body.rule(domid < DomId::FIRST_RESERVED, "no domain's number")?;
    Ok(domid)
}

fn node_path(body: &mut Reader<'_>) -> Read<Path> {
    let text = body.bytes()?;
    Path::absolute(text).map_err(|_| body.wrong("a path that is none"))
}

fn watched_path(body: &mut Reader<'_>) -> Read<Path> {
    let text = body.bytes()?;
    let absolute = matches!(text.first(), Some(b'/' | b'@'));
    let named = Path::to_watch(text, DomId::DOM0).ok().filter(|_| absolute);
    named.map(|named| named.path).ok_or_else(|| body.wrong("a path that is none"))
}

fn token(body: &mut Reader<'_>) -> Read<Box<[u8]>> {
    let token = body.bytes()?;
    body.rule(!token.contains(&0), "a token with a nul in it")?;
    Ok(token.into())
}

/// Permissions; those that are the same share their memory, as they did.
pub(super) fn perms(known: &mut HashMap<Vec<u8>, Perms>, body: &mut Reader<'_>) -> Read<Perms> {
    let mut key = Vec::new();
    let entries = body.list(|body| {
        let (letter, number) = (body.u8()?, body.u16()?);
        key.extend([letter, number as u8, (number >> 8) as u8]);
        let access = Access::from_letter(letter).ok_or_else(|| body.wrong("no such access"))?;
        let domid = DomId(number);
        body.rule(domid < DomId::FIRST_RESERVED || domid == DomId::ANY, "no domain's number")?;
        Ok(Perm { domid, access })
    })?;
    if let Some(perms) = known.get(&key) {
        return Ok(perms.clone());
    }
    let perms = Perms::from_entries(entries).ok_or_else(|| body.wrong("permissions without an owner"))?;
    body.rule(perms.owner() != DomId::ANY, "owned by nobody in particular")?;
    known.insert(key, perms.clone());
    Ok(perms)
}

pub(super) fn limits(body: &mut Reader<'_>) -> Read<Limits> {
    Ok(Limits {
        nodes: body.size()?,
        node_size: body.size()?,
        permissions: body.size()?,
        path: body.size()?,
        watches: body.size()?,
        transactions: body.size()?,
        transaction_nodes: body.size()?,
        outstanding: body.size()?,
        memory: body.size()?,
        output: body.size()?,
        socket_output: body.size()?,
        writes_per_second: body.u32()?,
        write_burst: body.u32()?,
        conflict_burst: body.u32()?,
        conflict_interval: body.time()?,
        transaction_age: body.time()?,
    })
}
