//! MTA-STS policies of others, in `spool/mta-sts/DOMAIN`: plain text, for people too. A policy holds as long as it
//! says (RFC 8461 §5.1), over restarts, whatever the network does meanwhile.
//!
//! ```text
//! domain example.net
//! id 20261201080000Z
//! fetched 2026-12-01T08:00:00Z
//! used 2026-12-01T09:00:00Z
//! policy version: STSv1
//! policy mode: enforce
//! policy mx: mx.example.net
//! policy max_age: 604800
//! end
//! ```
//!
//! A file is replaced whole. One that is torn, or another domain's, counts as none: its policy is fetched anew.

use super::disk::{Disk, Doing, StoreError};
use super::draft::PassingName;
use super::maildir::make_with_parents;
use crate::limits::policies::{
    STS_DOMAINS_MAX, STS_DRAFT_AGE, STS_FILE_MAX, STS_NAMES_MAX, STS_REFRESH, STS_SLACK, STS_USED,
};
use crate::mail::address::Domain;
use crate::mail::mta_sts::{StsId, StsPolicy};
use jiff::Timestamp;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A policy that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPolicy {
    pub policy: StsPolicy,
    /// What the record said when it was fetched.
    pub id: StsId,
    pub fetched: Timestamp,
    /// When mail was last on its way to the domain, as far as was written down.
    pub used: Timestamp,
}

impl KnownPolicy {
    /// The moment from which on it does not hold any more.
    pub fn until(&self) -> Timestamp {
        self.fetched.saturating_add(self.policy.max_age).unwrap_or(Timestamp::MAX)
    }

    pub fn holds(&self, now: Timestamp) -> bool {
        now < self.until()
    }

    /// When it is to be fetched anew, long before it ends; none while no mail needs it.
    pub fn renewed(&self) -> Option<Timestamp> {
        let after = STS_REFRESH.min(self.policy.max_age / 2);
        let at = self.fetched.saturating_add(after).unwrap_or(Timestamp::MAX);
        let wanted = self.used.saturating_add(STS_USED).unwrap_or(Timestamp::MAX);
        (at <= wanted).then_some(at)
    }

    /// Whether it is to be fetched anew now. A clock that was wrong when it was fetched must not make it last.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let ahead = self.fetched.duration_since(now);
        ahead.as_secs() > STS_SLACK.as_secs() as i64 || self.renewed().is_some_and(|at| at <= now)
    }

    /// The text of the file.
    fn text(&self, domain: &Domain) -> String {
        let KnownPolicy { policy, id, fetched, used } = self;
        let mut text = format!(
            "# The MTA-STS policy of {domain}, as its web server gave it (RFC 8461). Written by facteur.\n\
             domain {domain}\nid {id}\nfetched {fetched}\nused {used}\n"
        );
        for line in policy.lines() {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "policy {line}");
        }
        text.push_str("end\n");
        text
    }

    /// Reads the text of a file; none where it is not all that was written for this domain.
    fn parse(octets: &[u8], domain: &Domain) -> Option<KnownPolicy> {
        let text = str::from_utf8(octets).ok()?.strip_suffix("\nend\n")?;
        let (mut is_ours, mut id, mut fetched, mut used) = (false, None, None, None);
        let mut policy = Vec::new();
        for line in text.split('\n').filter(|line| !line.starts_with('#')) {
            let (word, rest) = line.split_once(' ')?;
            match word {
                "domain" => is_ours = rest == domain.as_str(),
                "id" => id = StsId::parse(rest),
                "fetched" => fetched = rest.parse().ok(),
                "used" => used = rest.parse().ok(),
                "policy" => policy.push(rest),
                _ => return None,
            }
        }
        let policy = StsPolicy::parse(policy.join("\n").as_bytes()).ok().filter(|_| is_ours)?;
        Some(KnownPolicy { policy, id: id?, fetched: fetched?, used: used? })
    }
}

/// The files.
pub struct PolicyStore {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl PolicyStore {
    pub fn new(disk: Arc<dyn Disk>, spool: &Path) -> PolicyStore {
        PolicyStore { disk, dir: spool.join("mta-sts") }
    }

    /// The policy of a domain; none where there is none that can be read.
    pub fn read(&self, domain: &Domain) -> Option<KnownPolicy> {
        parsed(&self.octets(domain).ok()?, domain)
    }

    /// Whether a file is there and says nothing that holds. One that cannot be read at this moment may.
    pub fn is_void(&self, domain: &Domain, now: Timestamp) -> bool {
        let is_void =
            |octets: Vec<u8>| parsed(&octets, domain).is_none_or(|known| !known.holds(now));
        self.octets(domain).is_ok_and(is_void)
    }

    /// The octets of a file, and one more than it may have where it has more.
    fn octets(&self, domain: &Domain) -> io::Result<Vec<u8>> {
        self.disk.open(&self.path(domain))?.read_up_to(0, STS_FILE_MAX + 1)
    }

    /// Writes a policy down, whole or not at all, durably. Where there are too many, the oldest goes.
    pub fn write(&self, domain: &Domain, policy: &KnownPolicy) -> Result<(), StoreError> {
        let (disk, path) = (&*self.disk, self.path(domain));
        make_with_parents(disk, &self.dir)?;
        if disk.stat(&path).is_err() {
            self.make_room()?;
        }
        // A name that no domain has.
        let draft = PassingName { disk, path: self.dir.join(format!(".{}", crate::id::message())) };
        let file = disk.create(&draft.path).doing("create", &draft.path)?;
        file.append(policy.text(domain).as_bytes()).doing("write", &draft.path)?;
        file.sync().doing("sync", &draft.path)?;
        disk.rename(&draft.path, &path).doing("rename", &path)?;
        disk.sync_dir(&self.dir).doing("sync", &self.dir)
    }

    /// Removes the policy of a domain. A failure is no harm: what does not hold is not used.
    pub fn remove(&self, domain: &Domain) {
        let _ = self.disk.remove(&self.path(domain));
    }

    /// The domains that have files, good or not.
    pub fn domains(&self) -> Result<Vec<Domain>, StoreError> {
        let is_domain = |name: &OsStr| domain(name).is_some();
        let names = match self.disk.list_some(&self.dir, STS_NAMES_MAX, &is_domain) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            names => names.doing("list", &self.dir)?,
        };
        Ok(names.iter().filter_map(|name| domain(name)).collect())
    }

    /// Removes what a crash left while a file was written. A failure is no harm: the next time tries again.
    pub fn clean(&self, now: SystemTime) {
        let is_draft = |name: &OsStr| name.as_encoded_bytes().starts_with(b".");
        for name in self.disk.list_some(&self.dir, STS_NAMES_MAX, &is_draft).unwrap_or_default() {
            let path = self.dir.join(name);
            let is_old = |modified| {
                now.duration_since(modified).is_ok_and(|age: Duration| age >= STS_DRAFT_AGE)
            };
            if self.disk.stat(&path).is_ok_and(|meta| is_old(meta.modified)) {
                let _ = self.disk.remove(&path);
            }
        }
    }

    fn path(&self, domain: &Domain) -> PathBuf {
        // A domain has no `/` and begins with no dot.
        self.dir.join(domain.as_str())
    }

    /// Removes the file that was written first where there are as many as there may be.
    fn make_room(&self) -> Result<(), StoreError> {
        let domains = self.domains()?;
        if domains.len() < STS_DOMAINS_MAX {
            return Ok(());
        }
        let written = |domain: &Domain| Some(self.disk.stat(&self.path(domain)).ok()?.modified);
        let aged = domains.iter().filter_map(|domain| Some((written(domain)?, domain)));
        if let Some((_, oldest)) = aged.min_by_key(|(written, _)| *written) {
            self.remove(oldest);
        }
        Ok(())
    }
}

impl std::fmt::Debug for PolicyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PolicyStore").field(&self.dir).finish()
    }
}

fn parsed(octets: &[u8], domain: &Domain) -> Option<KnownPolicy> {
    KnownPolicy::parse(octets, domain).filter(|_| octets.len() <= STS_FILE_MAX)
}

fn domain(name: &OsStr) -> Option<Domain> {
    let name = name.to_str()?;
    Domain::parse(name).ok().filter(|domain| domain.as_str() == name)
}

#[cfg(test)]
mod tests;
