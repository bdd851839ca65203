//! A domain's users file: Dovecot's passwd-file, `user:{SCHEME}hash:uid:gid:gecos:home:shell:extra`.
//!
//! Only names and passwords are read here; the other fields are for Dovecot. A bad line is named and spoils
//! nothing else; names are compared without regard to ASCII case and kept as they are written.
//!
//! A user whose password cannot be used gets mail all the same, but cannot log in.

pub mod edit;

use super::disk::StoreError;
use super::password::Stored;
use super::table::{self, BadLine, without_mark};
use crate::mail::address::{Domain, LocalPart, is_file_name};
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// The users of one domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    /// By name in lower case.
    users: HashMap<String, User>,
    /// The name in the first good line, as written.
    first: Option<String>,
    /// The first password of the file.
    reference: Option<Arc<Stored>>,
    /// Some password is one with which SCRAM cannot be spoken.
    has_other_than_scram: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct User {
    /// As written.
    name: String,
    password: Option<Arc<Stored>>,
}

impl Users {
    /// Reads the file of a domain; gives its users and the lines that are none.
    pub fn read(file: &Path, domain: &Domain) -> Result<(Users, Vec<BadLine>), StoreError> {
        Ok(Users::parse(&table::read(file)?, file, domain))
    }

    /// Reads the octets of a file; its path `file` is only named in bad lines.
    pub fn parse(octets: &[u8], file: &Path, domain: &Domain) -> (Users, Vec<BadLine>) {
        let (mut users, mut bad) = (Users::default(), Vec::new());
        for UserEntry { number, line, .. } in entries(octets) {
            let added = name(line, domain).and_then(|name| {
                users.check(name)?;
                // The user counts even with a bad hash, for which no mail is refused.
                let password = password(line);
                let bad = password.as_ref().err().map(|what| unusable(name, what));
                users.add(name, password.ok().flatten());
                bad.map_or(Ok(()), Err)
            });
            if let Err(what) = added {
                bad.push(BadLine::new(file, number, &what));
            }
        }
        (users, bad)
    }

    /// The user's name as the file writes it.
    pub fn get(&self, local: &str) -> Option<&str> {
        self.find(local).map(|user| user.name.as_str())
    }

    /// The entry that a user's password is verified with; none where there is no such user, or no usable
    /// password.
    pub fn password(&self, local: &str) -> Option<&Arc<Stored>> {
        self.find(local)?.password.as_ref()
    }

    /// The first password of the file, with which the password of an unknown user is verified, so that it takes
    /// as long.
    pub fn reference(&self) -> Option<&Arc<Stored>> {
        self.reference.as_ref()
    }

    /// Whether SCRAM can be spoken with every password of the file.
    pub fn can_scram(&self) -> bool {
        !self.has_other_than_scram
    }

    /// The user of the first good line.
    pub fn first(&self) -> Option<&str> {
        self.first.as_deref()
    }

    /// All names as written, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.users.values().map(|user| user.name.as_str())
    }

    fn find(&self, local: &str) -> Option<&User> {
        self.users.get(&local.to_ascii_lowercase())
    }

    fn check(&self, name: &str) -> Result<(), String> {
        match self.find(name) {
            Some(_) => Err(format!("user {name} stands here twice; the first line counts")),
            None => Ok(()),
        }
    }

    fn add(&mut self, name: &str, password: Option<Stored>) {
        let password = password.map(Arc::new);
        self.first.get_or_insert_with(|| name.to_owned());
        self.has_other_than_scram |= password.as_ref().is_some_and(|stored| !stored.can_scram());
        self.reference = self.reference.take().or_else(|| password.clone());
        self.users.insert(name.to_ascii_lowercase(), User { name: name.to_owned(), password });
    }
}

/// A line that is meant for a user, whether it is good or not.
struct UserEntry<'a> {
    /// From 1.
    number: usize,
    /// The place of the line in the text, with its line end and without a byte order mark.
    range: Range<usize>,
    /// The line without its line end and the blanks around it.
    line: &'a [u8],
}

/// All users' lines of a file, in their order, both for reading a file and for changing it.
fn entries(text: &[u8]) -> impl Iterator<Item = UserEntry<'_>> {
    let body = without_mark(text);
    let mut at = text.len() - body.len();
    body.split_inclusive(|&octet| octet == b'\n').enumerate().filter_map(move |(index, whole)| {
        let range = at..at + whole.len();
        at = range.end;
        let line = whole.trim_ascii();
        let is_entry = !line.is_empty() && !line.starts_with(b"#");
        is_entry.then_some(UserEntry { number: index + 1, range, line })
    })
}

fn unusable(name: &str, what: &str) -> String {
    format!("user {name} gets mail but cannot log in: {what}")
}

/// Fields of a line: name, password, uid, gid, gecos, home, shell, and Dovecot's own.
const PASSWORD_FIELD: usize = 1;
const EXTRA_FIELD: usize = 7;

/// The password of one line; none where it is empty, or where Dovecot would not let the user log in either.
fn password(line: &[u8]) -> Result<Option<Stored>, String> {
    let line = String::from_utf8_lossy(line);
    let mut fields = line.split(':');
    let field = fields.nth(PASSWORD_FIELD).unwrap_or_default();
    let extra = fields.nth(EXTRA_FIELD - PASSWORD_FIELD - 1).unwrap_or_default();
    // Fields by which Dovecot forbids to log in, allows it from some networks only, or without a password.
    const LIMITS: [&str; 4] = ["nologin", "nopassword", "allow_nets", "allow_real_nets"];
    let limit = extra
        .split_ascii_whitespace()
        .find(|extra| LIMITS.contains(&extra.split_once('=').map_or(*extra, |(name, _)| name)));
    match (field, limit) {
        ("", _) | (_, Some("nologin")) => Ok(None),
        (_, Some(limit)) => Err(format!("{limit} is Dovecot's, and not known here")),
        (field, None) => Stored::parse(field).map(Some),
    }
}

/// The user's name of one line, or what is wrong with it.
fn name<'a>(line: &'a [u8], domain: &Domain) -> Result<&'a str, String> {
    let line = str::from_utf8(line).map_err(|_| "expected UTF-8".to_owned())?;
    let (name, _) = line.split_once(':').ok_or("expected user:{SCHEME}hash, found no colon")?;
    // Dovecot's files may have whole addresses.
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
    fn passwords() {
        let text = b"ann:{PLAIN}x:::::\nbob:\neve:{MD5}x\nzoe:{PLAIN}y:::::/bin/sh:nologin a=b\n\
                     cat:{PLAIN}z::::::userdb_x=1 allow_nets=10.0.0.0/8\ndan@mx.test:{PLAIN}d\r\n";
        let domain = Domain::parse("mx.test").unwrap();
        let (users, bad) = Users::parse(text, Path::new("u"), &domain);
        let has = |name| users.password(name).is_some();
        assert_eq!(
            ["ann", "ANN", "bob", "eve", "zoe", "cat", "dan"].map(has),
            [true, true, false, false, false, false, true]
        );
        assert_eq!(users.names().count(), 6);
        assert_eq!(users.password("dan").unwrap().verify("d"), Ok(true));
        assert_eq!(users.reference(), users.password("ann"));
        assert!(users.can_scram());
        let bad: Vec<_> = bad.iter().map(ToString::to_string).collect();
        assert_eq!(bad.len(), 2, "{bad:?}");
        assert!(bad[0].starts_with("u:3: user eve gets mail but cannot log in: {MD5}"), "{bad:?}");
        assert!(bad[1].starts_with("u:5: user cat gets mail") && bad[1].contains("allow_nets"));
    }

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
