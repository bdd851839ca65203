//! The files in the drop directory, in the order in which they are taken in: users take turns.

use crate::limits::{DROP_LOOK, DROPS_KNOWN, DROPS_OF_USER, TROUBLE_WAIT};
use crate::store::disk::StoreError;
use crate::store::drop::Drops;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::time::Instant;

/// Names of dropped files, and of those that are left alone for a while.
#[derive(Default)]
pub(super) struct Backlog {
    names: VecDeque<OsString>,
    /// When the directory was listed last.
    listed: Option<Instant>,
    /// Files that could not be read or moved, and since when. They count in their owner's share, so that their
    /// number is bounded by it.
    resting: HashMap<OsString, Instant>,
}

impl Backlog {
    /// Lists the directory when nothing of the last list is left, or that list is old, because other users may
    /// have dropped files since. Files in `held` are left out.
    pub(super) fn fill<T>(
        &mut self,
        drops: &Drops,
        held: &HashMap<OsString, T>,
        now: Instant,
    ) -> Result<(), StoreError> {
        let is_fresh = |listed: Instant| now.duration_since(listed) < DROP_LOOK;
        if !self.names.is_empty() && self.listed.is_some_and(is_fresh) {
            return Ok(());
        }
        self.resting.retain(|_, since| now.duration_since(*since) < TROUBLE_WAIT);
        // How many files of each user; none stands for an owner that cannot be seen.
        let counts: RefCell<BTreeMap<Option<u32>, usize>> = RefCell::default();
        let shares = RefCell::new(Vec::new());
        let is_wanted = |name: &OsStr| {
            if held.contains_key(name) {
                return false;
            }
            let mut counts = counts.borrow_mut();
            let count = counts.entry(drops.owner(name)).or_default();
            let is_within = *count < DROPS_OF_USER;
            *count += usize::from(is_within);
            let is_wanted = is_within && !self.resting.contains_key(name);
            if is_wanted {
                shares.borrow_mut().push((*count, name.to_owned()));
            }
            is_wanted
        };
        drops.some(DROPS_KNOWN, &is_wanted)?;
        let mut names = shares.into_inner();
        // The first file of each user, then the second of each.
        names.sort_by_key(|(turn, _)| *turn);
        self.names = names.into_iter().map(|(_, name)| name).collect();
        self.listed = Some(now);
        Ok(())
    }

    pub(super) fn next(&mut self) -> Option<OsString> {
        self.names.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// A file that makes trouble is left alone for a while.
    pub(super) fn rest(&mut self, name: OsString, now: Instant) {
        self.resting.insert(name, now);
    }

    /// Whether there are files to be tried again.
    pub(super) fn has_resting(&self) -> bool {
        !self.resting.is_empty()
    }

    /// Tries all files that are left alone again at once.
    #[cfg(test)]
    pub(super) fn wake(&mut self) {
        self.resting.clear();
    }
}
