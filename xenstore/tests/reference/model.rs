//! A model of XenStore's tree that is too simple to be wrong: a map of paths, copied whole.

use std::collections::BTreeMap;

/// Reply or error's name.
pub type Answer = Result<Vec<u8>, &'static str>;

/// A permission: letter and domain; of a list, the owner's first.
pub type Perm = (u8, u16);

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    pub value: Vec<u8>,
    pub perms: Vec<Perm>,
}

/// What a client can ask.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    Read(String),
    Write(String, Vec<u8>),
    Mkdir(String),
    Rm(String),
    Directory(String),
    GetPerms(String),
    SetPerms(String, Vec<Perm>),
}

impl Request {
    pub fn path(&self) -> &str {
        use Request::*;
        match self {
            Read(path) | Write(path, _) | Mkdir(path) | Rm(path) => path,
            Directory(path) | GetPerms(path) | SetPerms(path, _) => path,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tree(pub BTreeMap<String, Node>);

impl Default for Tree {
    fn default() -> Tree {
        let root = Node { value: Vec::new(), perms: vec![(b'n', 0)] };
        Tree(BTreeMap::from([("/".to_owned(), root)]))
    }
}

pub fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

/// Whether `path` is `top` or below it.
pub fn within(path: &str, top: &str) -> bool {
    path == top || top == "/" || path.starts_with(&format!("{top}/"))
}

fn letter(perms: &[Perm], domid: u16) -> u8 {
    if domid == 0 || perms[0].1 == domid {
        return b'b';
    }
    perms[1..].iter().find(|perm| perm.1 == domid).unwrap_or(&perms[0]).0
}

impl Tree {
    /// The node, or the nearest one above it.
    fn nearest<'t>(&'t self, path: &'t str) -> (&'t str, &'t Node) {
        let mut at = path;
        loop {
            match self.0.get(at) {
                Some(node) => return (at, node),
                None => at = parent(at),
            }
        }
    }

    fn may(&self, path: &str, domid: u16, letters: &[u8]) -> Result<(), &'static str> {
        let (_, node) = self.nearest(path);
        if letters.contains(&letter(&node.perms, domid)) { Ok(()) } else { Err("EACCES") }
    }

    fn readable(&self, path: &str, domid: u16) -> Result<&Node, &'static str> {
        self.may(path, domid, b"rb")?;
        self.0.get(path).ok_or("ENOENT")
    }

    /// Creates a node and the parents that are missing.
    fn create(&mut self, path: &str, domid: u16) {
        if !self.0.contains_key(path) {
            self.create(parent(path), domid);
            let mut perms = self.0[parent(path)].perms.clone();
            if domid != 0 {
                perms[0].1 = domid;
            }
            self.0.insert(path.to_owned(), Node { value: Vec::new(), perms });
        }
    }

    pub fn remove(&mut self, path: &str) {
        self.0.retain(|known, _| known == "/" || !within(known, path));
    }

    /// Does as asked by a client of `domid`.
    pub fn ask(&mut self, domid: u16, request: &Request) -> Answer {
        match request {
            Request::Read(path) => Ok(self.readable(path, domid)?.value.clone()),
            Request::Directory(path) => {
                self.readable(path, domid)?;
                let children = self.0.keys().filter(|key| *key != "/" && parent(key) == path);
                let mut names: Vec<_> = children.map(|key| key.rsplit('/').next().unwrap()).collect();
                names.sort_unstable();
                Ok(names.iter().flat_map(|name| name.bytes().chain([0])).collect())
            }
            Request::GetPerms(path) => {
                let perms = &self.readable(path, domid)?.perms;
                let shown = perms.iter().map(|(letter, domid)| format!("{}{domid}\0", *letter as char));
                Ok(shown.collect::<String>().into_bytes())
            }
            Request::Write(path, value) => {
                self.may(path, domid, b"wb")?;
                self.create(path, domid);
                self.0.get_mut(path).unwrap().value = value.clone();
                Ok(b"OK\0".to_vec())
            }
            Request::Mkdir(path) => {
                self.may(path, domid, b"wb")?;
                self.create(path, domid);
                Ok(b"OK\0".to_vec())
            }
            Request::Rm(path) => {
                self.may(path, domid, b"wb")?;
                match path.as_str() {
                    "/" => return Err("EINVAL"),
                    path if !self.0.contains_key(parent(path)) => return Err("ENOENT"),
                    path => self.remove(path),
                }
                Ok(b"OK\0".to_vec())
            }
            Request::SetPerms(path, perms) => {
                let Some(node) = self.0.get_mut(path) else {
                    self.may(path, domid, b"wb")?;
                    return Err("ENOENT");
                };
                let owner = node.perms[0].1;
                if domid != 0 && domid != owner {
                    return Err("EACCES");
                }
                if domid != 0 && perms[0].1 != owner {
                    return Err("EPERM");
                }
                node.perms = perms.clone();
                Ok(b"OK\0".to_vec())
            }
        }
    }

    /// A domain is gone, with all that it owned, and all rights that it had.
    pub fn release(&mut self, domid: u16) {
        let owned = |tree: &Tree| {
            let found = tree.0.iter().find(|(path, node)| *path != "/" && node.perms[0].1 == domid);
            found.map(|(path, _)| path.clone())
        };
        while let Some(path) = owned(self) {
            self.remove(&path);
        }
        for node in self.0.values_mut() {
            if node.perms[0].1 == domid {
                node.perms[0].1 = 0;
            }
            let others = node.perms[1..].iter().copied().filter(|perm| perm.1 != domid);
            node.perms = [node.perms[0]].into_iter().chain(others.collect::<Vec<_>>()).collect();
        }
    }
}
