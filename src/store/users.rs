//! A domain's users file: Dovecot's passwd-file, `user:{SCHEME}hash:uid:gid:gecos:home:shell:extra`.
//!
//! Only the names are read here. A bad line is named and spoils nothing else; names are compared
//! without regard to ASCII case and kept as they are written.

use super::disk::StoreError;
use super::table::{self, BadLine};
use crate::mail::address::{Domain, LocalPart, is_file_name};
use std::collections::HashMap;
use std::path::Path;

/// The users of one domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    /// In lower case → as written.
    names: HashMap<String, String>,
    /// As written, of the first good line.
    first: Option<String>,
}

impl Users {
    /// Reads the file of a domain; gives its users and the lines that are none.
    pub fn read(file: &Path, domain: &Domain) -> Result<(Users, Vec<BadLine>), StoreError> {
        Ok(Users::parse(&table::read(file)?, file, domain))
    }

    /// The same from octets; `file` is only named.
    pub fn parse(octets: &[u8], file: &Path, domain: &Domain) -> (Users, Vec<BadLine>) {
        let (mut users, mut bad) = (Users::default(), Vec::new());
        for (index, line) in octets.split(|&b| b == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let added = name(line, domain).and_then(|name| users.add(name));
            if let Err(what) = added {
                bad.push(BadLine::new(file, index + 1, &what));
            }
        }
        (users, bad)
    }

    /// The user's name as the file writes it.
    pub fn get(&self, local: &str) -> Option<&str> {
        self.names.get(&local.to_ascii_lowercase()).map(String::as_str)
    }

    /// The user of the first line.
    pub fn first(&self) -> Option<&str> {
        self.first.as_deref()
    }

    /// All names as written, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.values().map(String::as_str)
    }

    fn add(&mut self, name: &str) -> Result<(), String> {
        let key = name.to_ascii_lowercase();
        if self.names.contains_key(&key) {
            return Err(format!("user {name} stands here twice; the first line counts"));
        }
        self.first.get_or_insert_with(|| name.to_owned());
        self.names.insert(key, name.to_owned());
        Ok(())
    }
}

/// The user's name of one line, or what is wrong with it.
fn name<'a>(line: &'a [u8], domain: &Domain) -> Result<&'a str, String> {
    let line = str::from_utf8(line).map_err(|_| "expected UTF-8".to_owned())?;
    let (name, _) = line.split_once(':').ok_or("expected user:{SCHEME}hash, found no colon")?;
    // Dovecot's files may hold whole addresses.
    let local = match name.rsplit_once('@') {
        Some((local, host)) if Domain::parse(host).as_ref() == Ok(domain) => local,
        Some((_, host)) => return Err(format!("user {name}: {host} is not {domain}")),
        None => name,
    };
    match LocalPart::from_plain(local) {
        Err(why) => Err(format!("user {local:?}: {why}")),
        Ok(_) if !is_file_name(local) => {
            Err(format!("user {local:?}: a name cannot hold / or begin with a dot"))
        }
        Ok(_) => Ok(local),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let text = b"# people\n\nAnn:{PLAIN}x:::::\nbob@MX.test:\nann:\nnocolon\n:x\n../up:\n\
                     .dot:\neve@other.test:\n\xff:\na\x01b:\nlast:";
        let domain = Domain::parse("mx.test").unwrap();
        let (users, bad) = Users::parse(text, Path::new("u"), &domain);
        assert_eq!(
            (users.get("ANN"), users.get("bob"), users.get("last"), users.get("eve")),
            (Some("Ann"), Some("bob"), Some("last"), None)
        );
        assert_eq!((users.first(), users.names().count()), (Some("Ann"), 3));
        let lines: Vec<usize> = bad.iter().map(|bad| bad.line).collect();
        assert_eq!(lines, [5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(bad[1].to_string(), "u:6: expected user:{SCHEME}hash, found no colon");
    }
}
