//! Whether the mail is there: a rate counts only when every message that was acknowledged lies in `new/`
//! once, and nothing else does.

use crate::Outcome;
use crate::samples;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Looks at all Maildirs below `mail`, each message of which has to hold `part`.
pub fn check(mail: &Path, acknowledged: &[u64], part: &str) -> Outcome<()> {
    let mut found = found(mail, part)?;
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

/// How often each number lies in any `new/`.
fn found(mail: &Path, part: &str) -> Outcome<BTreeMap<u64, usize>> {
    let mut found = BTreeMap::new();
    for maildir in fs::read_dir(mail)? {
        for entry in fs::read_dir(maildir?.path().join("new"))? {
            let path = entry?.path();
            let octets = fs::read(&path)?;
            if memchr::memmem::find(&octets, part.as_bytes()).is_none() {
                return Err(format!("{} does not say {part}", path.display()).into());
            }
            let number = samples::number(&octets);
            let number = number.ok_or_else(|| format!("{} is no mail of ours", path.display()))?;
            *found.entry(number).or_default() += 1;
        }
    }
    Ok(found)
}
