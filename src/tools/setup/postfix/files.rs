//! The files that main.cf names: where they are, and their octets. Reads regular files of bounded size only, and
//! changes nothing.

use super::main_cf::CONFIG_DIRECTORY;
use crate::store::table;
use std::path::{Component, Path, PathBuf};

/// The directory of a Postfix, which may be a copy of another host's /etc/postfix.
pub struct PostfixFiles {
    directory: PathBuf,
}

impl PostfixFiles {
    pub fn of(directory: &Path) -> PostfixFiles {
        PostfixFiles { directory: directory.to_owned() }
    }

    /// Where a file is that main.cf names. One of /etc/postfix is looked for beside main.cf first, so that a copy of
    /// that directory can be read on another host.
    pub fn place(&self, named: &str) -> PathBuf {
        let path = self.directory.join(named);
        match path.strip_prefix(CONFIG_DIRECTORY) {
            Ok(rest) => {
                let beside = self.directory.join(rest);
                if beside.exists() || compiled(&beside).is_some() { beside } else { path }
            }
            Err(_) => path,
        }
    }

    /// Whether a file lies in the directory itself.
    pub fn is_beside(&self, named: &str) -> bool {
        let path = self.place(named);
        path.starts_with(&self.directory)
            && !path.components().any(|part| part == Component::ParentDir)
    }

    /// Its octets; the words of the error name the file.
    pub fn read(&self, named: &str) -> Result<Vec<u8>, String> {
        table::read(&self.place(named)).map_err(|error| error.to_string())
    }

    /// The first line of a file without blanks around it; none where there is no such file.
    pub fn first_line(&self, named: &str) -> Option<String> {
        let octets = self.read(named).ok()?;
        let text = String::from_utf8_lossy(&octets).into_owned();
        text.lines().map(|line| line.trim().to_owned()).find(|line| !line.is_empty())
    }
}

/// The compiled form of a lookup table, where it is there.
pub fn compiled(source: &Path) -> Option<PathBuf> {
    let with = |suffix: &str| {
        let mut name = source.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    [".db", ".lmdb", ".cdb", ".dir", ".pag"].map(with).into_iter().find(|path| path.exists())
}
