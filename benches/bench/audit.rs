//! Whether the mail is there: a rate counts only when every message that was acknowledged lies in a mailbox
//! once, and nothing else does.

use crate::Outcome;
use crate::samples;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Looks at all mailboxes below `mail`, which have their messages in `folder`, and each has to hold all `parts`.
pub fn check(mail: &Path, folder: &str, acknowledged: &[u64], parts: &[&str]) -> Outcome<()> {
    let mut found = found(mail, folder, parts)?;
    for number in acknowledged {
        match found.remove(number) {
            Some(1) => {}
            None => return Err(format!("message {number} was acknowledged and is lost").into()),
            Some(times) => return Err(format!("message {number} came {times} times").into()),
        }
    }
    match found.first_key_value() {
        Some((number, _)) => Err(format!("message {number} is there, which nobody sent").into()),
        None => Ok(()),
    }
}

/// How often each number lies in the folder of any mailbox.
fn found(mail: &Path, folder: &str, parts: &[&str]) -> Outcome<BTreeMap<u64, usize>> {
    let mut found = BTreeMap::new();
    for mailbox in fs::read_dir(mail)? {
        for path in messages(&mailbox?.path().join(folder))? {
            let octets = fs::read(&path)?;
            let lacks = |part: &&&str| memchr::memmem::find(&octets, part.as_bytes()).is_none();
            if let Some(part) = parts.iter().find(lacks) {
                return Err(format!("{} does not say {part}", path.display()).into());
            }
            let number = samples::number(&octets);
            let number = number.ok_or_else(|| format!("{} is no mail of ours", path.display()))?;
            *found.entry(number).or_default() += 1;
        }
    }
    Ok(found)
}

/// What lies in a folder, but for Dovecot's notes beside it; nothing where there is no such folder.
pub fn messages(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let names = entries.map(|entry| Ok(entry?.path()));
    let is_note = |path: &Path| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"dovecot."))
    };
    names.filter(|path| !path.as_ref().is_ok_and(|path| is_note(path))).collect()
}
