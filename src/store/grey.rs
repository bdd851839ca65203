//! Greylisting: who has to come back, who did, and to whom our users write. In memory, and in files under
//! `spool/greylist/`, so that a restart or a kill makes nobody wait once more.
//!
//! A line of a file is one change: `w` and the second of a first attempt, or `k` and that of the last one that
//! counted, then 32 hexadecimal digits that stand for who it is. No address is kept. Of several lines about one
//! the newest holds, in whichever file it stands; so a line that is torn, or twice there, does no harm. A file
//! that has grown is followed by one with all that holds, and removed.
//!
//! A change is appended by the thread that makes it, before its client is answered, and never synced: a power
//! cut may take the last ones, and then some have to come back once more. The lock is held to look and to
//! note, never while a file is written.

use super::disk::{Disk, DiskFile, Doing, StoreError};
use super::locked;
use super::maildir::make_with_parents;
use crate::limits::gates::{
    GREY_BACK, GREY_FILE_MAX, GREY_FILES_MAX, GREY_MAX, GREY_RENEW, GREY_SLACK,
};
use crate::mail::address::{Mailbox, ReversePath, masked};
use crate::mail::proof::name::Name;
use aws_lc_rs::digest::{SHA256, digest};
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// By whom mail comes, as greylisting tells one from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GreySource<'a> {
    /// The domain that SPF passed.
    Domain(&'a Name),
    /// The /24 of this client, or its /64.
    Network(IpAddr),
}

/// As the log tells it.
impl fmt::Display for GreySource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GreySource::Domain(name) => name.fmt(f),
            GreySource::Network(client) => {
                let client = client.to_canonical();
                let bits = if client.is_ipv4() { 24 } else { 64 };
                write!(f, "{}/{bits}", masked(client, bits))
            }
        }
    }
}

/// What stands for one in memory and in the file: so they are bounded, however long addresses are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GreyKey([u8; GREY_KEY]);

/// Octets of a key.
const GREY_KEY: usize = 16;

/// Octets of a line: kind, second, key.
const LINE: usize = 2 + 20 + 1 + 2 * GREY_KEY + 1;

/// Octets of lines that are written at once.
const AT_ONCE: usize = 64 * 1024;

impl GreyKey {
    /// Who comes by that source in the name of that sender.
    pub fn of(source: &GreySource<'_>, from: &ReversePath) -> GreyKey {
        let source = match source {
            GreySource::Domain(name) => format!("d {name}"),
            network @ GreySource::Network(_) => format!("n {network}"),
        };
        GreyKey::hash(&format!("{source}\0{}", from.to_string().to_ascii_lowercase()))
    }

    /// An address to which a user of ours has written, whoever comes in its name.
    pub fn correspondent(mailbox: &Mailbox) -> GreyKey {
        GreyKey::hash(&format!("a\0{}", mailbox.to_string().to_ascii_lowercase()))
    }

    fn hash(text: &str) -> GreyKey {
        let mut key = [0; GREY_KEY];
        key.copy_from_slice(&digest(&SHA256, text.as_bytes()).as_ref()[..GREY_KEY]);
        GreyKey(key)
    }

    fn parse(text: &str) -> Option<GreyKey> {
        let mut key = [0; GREY_KEY];
        if text.len() != 2 * GREY_KEY || !text.bytes().all(|octet| octet.is_ascii_hexdigit()) {
            return None;
        }
        for (octet, pair) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *octet = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(GreyKey(key))
    }
}

/// `greylist.delay` and `greylist.expire`.
#[derive(Clone, Copy, Debug)]
pub struct GreyRules {
    pub delay: Duration,
    pub expire: Duration,
}

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GreyAnswer {
    Passes,
    /// It is to come back after this.
    Waits(Duration),
}

/// What is kept of one; moments are seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum GreyEntry {
    /// Since its first attempt.
    Waiting(u64),
    /// Since it was last here.
    Known(u64),
}

impl GreyEntry {
    fn moment(self) -> u64 {
        let (GreyEntry::Waiting(moment) | GreyEntry::Known(moment)) = self;
        moment
    }

    /// Whether this holds, where both stand in files.
    fn is_after(self, other: GreyEntry) -> bool {
        (self.moment(), self) > (other.moment(), other)
    }
}

/// All that are kept: no more than [`GREY_MAX`]. Where there is no room, the oldest goes.
#[derive(Default)]
struct GreyTable {
    entries: HashMap<GreyKey, GreyEntry>,
    waiting: BTreeSet<(u64, GreyKey)>,
    known: BTreeSet<(u64, GreyKey)>,
}

impl GreyTable {
    fn attempt(&mut self, key: GreyKey, rules: GreyRules, now: u64) -> (GreyAnswer, bool) {
        let waits = |seconds| GreyAnswer::Waits(Duration::from_secs(seconds));
        let (delay, back) = (rules.delay.as_secs(), GREY_BACK.as_secs());
        match self.entries.get(&key) {
            Some(&GreyEntry::Known(last)) if is_known(last, rules, now) => {
                let is_due = now.saturating_sub(last) >= renewed_after(rules);
                if is_due {
                    self.put(key, GreyEntry::Known(now));
                }
                (GreyAnswer::Passes, is_due)
            }
            // A clock that was set back does not make it wait longer.
            Some(&GreyEntry::Waiting(first)) if first <= now && now - first <= back => {
                match (now - first).checked_sub(delay) {
                    Some(_) => {
                        self.put(key, GreyEntry::Known(now));
                        (GreyAnswer::Passes, true)
                    }
                    None => (waits(first + delay - now), false),
                }
            }
            _ => {
                self.put(key, GreyEntry::Waiting(now));
                (waits(delay), true)
            }
        }
    }

    fn put(&mut self, key: GreyKey, entry: GreyEntry) {
        self.remove(key);
        if self.entries.len() >= GREY_MAX
            && let Some((_, oldest)) = self.oldest()
        {
            self.remove(oldest);
        }
        self.entries.insert(key, entry);
        self.order(entry).insert((entry.moment(), key));
    }

    /// Who goes where there is no room. A flood of those that never come back pushes out its like, and not
    /// those that did.
    fn oldest(&self) -> Option<(u64, GreyKey)> {
        let are_many = self.waiting.len() * 2 >= GREY_MAX;
        let order = if are_many { &self.waiting } else { &self.known };
        order.first().copied()
    }

    fn remove(&mut self, key: GreyKey) {
        if let Some(entry) = self.entries.remove(&key) {
            self.order(entry).remove(&(entry.moment(), key));
        }
    }

    fn order(&mut self, entry: GreyEntry) -> &mut BTreeSet<(u64, GreyKey)> {
        match entry {
            GreyEntry::Waiting(_) => &mut self.waiting,
            GreyEntry::Known(_) => &mut self.known,
        }
    }

    /// Takes in a line of a file.
    fn merge(&mut self, line: &str, now: u64) {
        let mut words = line.split(' ');
        let (Some(kind), Some(moment), Some(key), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return;
        };
        let (Ok(moment), Some(key)) = (moment.parse::<u64>(), GreyKey::parse(key)) else { return };
        // No clock of ours has written this.
        if moment > now.saturating_add(GREY_SLACK.as_secs()) {
            return;
        }
        let entry = match kind {
            "w" => GreyEntry::Waiting(moment),
            "k" => GreyEntry::Known(moment),
            _ => return,
        };
        let is_newer = self.entries.get(&key).is_none_or(|held| entry.is_after(*held));
        let is_full = self.entries.len() >= GREY_MAX && !self.entries.contains_key(&key);
        if is_newer && !(is_full && self.oldest().is_some_and(|(oldest, _)| oldest > moment)) {
            self.put(key, entry);
        }
    }

    /// Forgets those whose time is over.
    fn sweep(&mut self, rules: GreyRules, now: u64) {
        let waiting = now.saturating_sub(GREY_BACK.as_secs());
        let known = now.saturating_sub(rules.expire.as_secs());
        let old = |order: &BTreeSet<(u64, GreyKey)>, before: u64| {
            let old = order.iter().take_while(|(moment, _)| *moment < before);
            old.map(|(_, key)| *key).collect::<Vec<_>>()
        };
        let old = [old(&self.waiting, waiting), old(&self.known, known)].concat();
        old.into_iter().for_each(|key| self.remove(key));
    }
}

fn is_known(last: u64, rules: GreyRules, now: u64) -> bool {
    now.saturating_sub(last) <= rules.expire.as_secs()
}

/// How long one has to be away for its next visit to be noted.
fn renewed_after(rules: GreyRules) -> u64 {
    (rules.expire / 4).min(GREY_RENEW).as_secs()
}

fn push_line(lines: &mut String, key: GreyKey, entry: GreyEntry) {
    let (kind, moment) = match entry {
        GreyEntry::Waiting(moment) => ('w', moment),
        GreyEntry::Known(moment) => ('k', moment),
    };
    // Writing to a String cannot fail.
    let _ = write!(lines, "{kind} {moment} ");
    for octet in key.0 {
        let _ = write!(lines, "{octet:02x}");
    }
    lines.push('\n');
}

/// The table and its file.
pub struct GreyStore {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    inner: Mutex<GreyInner>,
}

#[derive(Default)]
struct GreyInner {
    table: GreyTable,
    /// Where changes are appended; none while no file could be made.
    file: Option<(Arc<dyn DiskFile>, PathBuf)>,
    /// Octets in that file.
    size: usize,
    /// Whether a change is in no file.
    is_behind: bool,
}

impl GreyStore {
    /// Reads what is in the spool, and begins a new file. Without a file it works as well, until a restart;
    /// the error says why there is none.
    pub fn open(
        disk: Arc<dyn Disk>,
        spool: &Path,
        rules: GreyRules,
        now: u64,
    ) -> (GreyStore, Result<(), StoreError>) {
        let (dir, inner) = (spool.join("greylist"), Mutex::default());
        let store = GreyStore { disk, dir, inner };
        let read = store.read(now);
        // What could not be read stays for the next start.
        let begun = read.and_then(|()| store.compact(rules, now));
        (store, begun)
    }

    /// How one fares that comes now. An early attempt changes nothing.
    pub fn attempt(
        &self,
        key: GreyKey,
        rules: GreyRules,
        now: u64,
    ) -> (GreyAnswer, Result<(), StoreError>) {
        let (answer, changes, file) = {
            let mut inner = locked(&self.inner);
            let (answer, has_changed) = inner.table.attempt(key, rules, now);
            let changes = if has_changed { inner.lines(&[key]) } else { String::new() };
            (answer, changes, inner.file.clone())
        };
        (answer, self.append(file, &changes))
    }

    /// Whether a user of ours has written to this address.
    pub fn is_known(&self, key: GreyKey, rules: GreyRules, now: u64) -> bool {
        match locked(&self.inner).table.entries.get(&key) {
            Some(GreyEntry::Known(last)) => is_known(*last, rules, now),
            Some(GreyEntry::Waiting(_)) | None => false,
        }
    }

    /// A user of ours writes to these addresses.
    pub fn know(&self, keys: &[GreyKey], rules: GreyRules, now: u64) -> Result<(), StoreError> {
        let (changes, file) = {
            let mut inner = locked(&self.inner);
            let table = &mut inner.table;
            let is_noted = |key: &&GreyKey| {
                let held = table.entries.get(key);
                let noted = |last: u64| now.saturating_sub(last) < renewed_after(rules);
                matches!(held, Some(GreyEntry::Known(last)) if noted(*last))
            };
            let new: Vec<GreyKey> = keys.iter().filter(|key| !is_noted(key)).copied().collect();
            new.iter().for_each(|key| table.put(*key, GreyEntry::Known(now)));
            (inner.lines(&new), inner.file.clone())
        };
        self.append(file, &changes)
    }

    /// Forgets those whose time is over, and begins a new file where the old one has grown. May take a moment:
    /// no session waits for it.
    pub fn tend(&self, rules: GreyRules, now: u64) -> Result<(), StoreError> {
        locked(&self.inner).table.sweep(rules, now);
        if self.is_long() { self.compact(rules, now) } else { Ok(()) }
    }

    fn is_long(&self) -> bool {
        let inner = locked(&self.inner);
        inner.is_behind || inner.size > (2 * inner.table.entries.len() * LINE).max(AT_ONCE)
    }

    /// Begins a new file with all that holds, and removes those before it.
    fn compact(&self, rules: GreyRules, now: u64) -> Result<(), StoreError> {
        make_with_parents(&*self.disk, &self.dir)?;
        let path = self.dir.join(crate::id::message());
        let file: Arc<dyn DiskFile> = self.disk.create(&path).doing("create", &path)?.into();
        let held: Vec<(GreyKey, GreyEntry)> = {
            let mut inner = locked(&self.inner);
            inner.table.sweep(rules, now);
            inner.file = Some((file.clone(), path.clone()));
            (inner.size, inner.is_behind) = (inner.table.entries.len() * LINE, false);
            inner.table.entries.iter().map(|(key, entry)| (*key, *entry)).collect()
        };
        // From here on changes go into the new file; until this has all of them the others stay.
        let written = self.write(&*file, &path, &held);
        if written.is_err() {
            locked(&self.inner).is_behind = true;
        }
        written?;
        for name in self.disk.list(&self.dir).doing("list", &self.dir)? {
            let other = self.dir.join(name);
            if other != path {
                self.disk.remove(&other).doing("remove", &other)?;
            }
        }
        Ok(())
    }

    fn write(
        &self,
        file: &dyn DiskFile,
        path: &Path,
        held: &[(GreyKey, GreyEntry)],
    ) -> Result<(), StoreError> {
        // Whole lines at once, as changes come in between.
        for some in held.chunks(AT_ONCE / LINE) {
            let mut lines = String::with_capacity(AT_ONCE);
            some.iter().for_each(|(key, entry)| push_line(&mut lines, *key, *entry));
            file.append(lines.as_bytes()).doing("write", path)?;
        }
        file.sync().doing("sync", path)?;
        self.disk.sync_dir(&self.dir).doing("sync", &self.dir)
    }

    /// Takes in all files of the spool.
    fn read(&self, now: u64) -> Result<(), StoreError> {
        let names = match self.disk.list_some(&self.dir, GREY_FILES_MAX, &|_| true) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            names => names.doing("list", &self.dir)?,
        };
        // Their names grow with time.
        let names: BTreeSet<OsString> = names.into_iter().collect();
        for name in names {
            let path = self.dir.join(name);
            let file = self.disk.open(&path).doing("open", &path)?;
            let (mut at, mut rest) = (0, Vec::new());
            while at < GREY_FILE_MAX {
                let octets = file.read_up_to(at, AT_ONCE).doing("read", &path)?;
                if octets.is_empty() {
                    break;
                }
                at += octets.len() as u64;
                rest.extend(octets);
                let whole = rest.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1);
                let mut inner = locked(&self.inner);
                for line in rest[..whole].split(|octet| *octet == b'\n') {
                    std::str::from_utf8(line).iter().for_each(|line| inner.table.merge(line, now));
                }
                rest.drain(..whole);
                // A line that is longer than any of ours is none.
                if rest.len() > LINE {
                    rest.clear();
                }
            }
        }
        Ok(())
    }

    fn append(
        &self,
        file: Option<(Arc<dyn DiskFile>, PathBuf)>,
        lines: &str,
    ) -> Result<(), StoreError> {
        if lines.is_empty() {
            return Ok(());
        }
        let Some((file, path)) = file else {
            locked(&self.inner).is_behind = true;
            return Ok(());
        };
        let appended = file.append(lines.as_bytes()).doing("write", &path);
        if appended.is_err() {
            locked(&self.inner).is_behind = true;
        }
        appended
    }
}

impl GreyInner {
    /// The lines that say how these are, counted as written.
    fn lines(&mut self, keys: &[GreyKey]) -> String {
        let mut lines = String::with_capacity(keys.len().min(AT_ONCE) * LINE);
        for key in keys {
            if let Some(entry) = self.table.entries.get(key) {
                push_line(&mut lines, *key, *entry);
            }
        }
        self.size += lines.len();
        lines
    }
}

#[cfg(test)]
mod tests;
