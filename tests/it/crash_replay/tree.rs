//! A file system as a value: names, contents, hard links. What a power cut leaves is one of these, too.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// A file or a directory by its number; [`ROOT`] is always there.
pub type Node = usize;

pub const ROOT: Node = 0;

pub type Name = Arc<str>;

#[derive(Clone)]
pub enum Kind {
    Dir(BTreeMap<Name, Node>),
    File(Content),
}

/// Shared by all states that have it so, with its hash, which is taken once.
#[derive(Clone)]
pub struct Content {
    pub octets: Arc<Vec<u8>>,
    pub hash: u64,
}

#[derive(Clone)]
pub struct Tree {
    pub nodes: Vec<Kind>,
    /// When each was made or, of a directory, changed.
    pub modified: Vec<SystemTime>,
}

impl Content {
    pub fn new(octets: Vec<u8>) -> Content {
        let mut hasher = DefaultHasher::new();
        hasher.write(&octets);
        Content { hash: hasher.finish(), octets: Arc::new(octets) }
    }
}

impl Tree {
    pub fn new() -> Tree {
        Tree { nodes: vec![Kind::Dir(BTreeMap::new())], modified: vec![SystemTime::now()] }
    }

    /// A new file or directory that has no name yet.
    pub fn add(&mut self, kind: Kind) -> Node {
        self.nodes.push(kind);
        self.modified.push(SystemTime::now());
        self.nodes.len() - 1
    }

    pub fn find(&self, path: &Path) -> io::Result<Node> {
        let mut node = ROOT;
        for part in path.components() {
            if let Component::Normal(name) = part {
                let Kind::Dir(names) = &self.nodes[node] else {
                    return Err(ErrorKind::NotADirectory.into());
                };
                node = *names.get(text(name)).ok_or(ErrorKind::NotFound)?;
            }
        }
        Ok(node)
    }

    /// The directory of a path, and the path's name in it.
    pub fn place(&self, path: &Path) -> io::Result<(Node, Name)> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(ErrorKind::AlreadyExists.into());
        };
        Ok((self.find(dir)?, text(name).into()))
    }

    pub fn names(&self, dir: Node) -> io::Result<&BTreeMap<Name, Node>> {
        match &self.nodes[dir] {
            Kind::Dir(names) => Ok(names),
            Kind::File(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }

    pub fn set(&mut self, dir: Node, name: &Name, to: Option<Node>) {
        self.modified[dir] = SystemTime::now();
        let Kind::Dir(names) = &mut self.nodes[dir] else { return };
        match to {
            Some(node) => names.insert(name.clone(), node),
            None => names.remove(name),
        };
    }

    pub fn octets(&self, node: Node) -> io::Result<&Arc<Vec<u8>>> {
        match &self.nodes[node] {
            Kind::File(content) => Ok(&content.octets),
            Kind::Dir(_) => Err(ErrorKind::IsADirectory.into()),
        }
    }

    /// How many names a file has.
    pub fn links(&self, node: Node) -> usize {
        let dirs = self.nodes.iter().filter_map(|kind| match kind {
            Kind::Dir(names) => Some(names),
            Kind::File(_) => None,
        });
        dirs.flat_map(|names| names.values()).filter(|other| **other == node).count()
    }

    /// Calls `see` for every file and directory that can be reached, in the order of their paths.
    pub fn walk(&self, see: &mut dyn FnMut(&Path, Node)) {
        self.walk_from(ROOT, &mut PathBuf::from("/"), see);
    }

    fn walk_from(&self, node: Node, path: &mut PathBuf, see: &mut dyn FnMut(&Path, Node)) {
        let Kind::Dir(names) = &self.nodes[node] else { return };
        for (name, node) in names {
            path.push(&**name);
            see(path, *node);
            self.walk_from(*node, path, see);
            path.pop();
        }
    }

    /// Path and content of all files.
    pub fn files(&self) -> Vec<(PathBuf, Arc<Vec<u8>>)> {
        let mut files = Vec::new();
        self.walk(&mut |path, node| {
            if let Kind::File(content) = &self.nodes[node] {
                files.push((path.to_owned(), content.octets.clone()));
            }
        });
        files
    }

    /// The same for trees between which no restart can tell: what lies in a `tmp/` is never read.
    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash_from(ROOT, false, &mut hasher);
        hasher.finish()
    }

    fn hash_from(&self, node: Node, is_tmp: bool, hasher: &mut DefaultHasher) {
        match &self.nodes[node] {
            Kind::File(_) if is_tmp => hasher.write_u8(1),
            Kind::File(content) => hasher.write_u64(content.hash),
            Kind::Dir(names) => {
                hasher.write_usize(names.len());
                for (name, node) in names {
                    name.hash(hasher);
                    self.hash_from(*node, &**name == "tmp", hasher);
                }
            }
        }
    }
}

/// All names of these tests are text.
pub fn text(name: &std::ffi::OsStr) -> &str {
    name.to_str().unwrap_or_default()
}

/// Whether a path lies in a directory of that name.
pub fn is_in(path: &Path, dir: &str) -> bool {
    path.parent().and_then(Path::file_name).is_some_and(|name| text(name) == dir)
}
