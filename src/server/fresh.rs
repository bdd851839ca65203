//! The site as it is at this moment, for whoever begins something new.

use super::{tell_bad_lines, tell_flaws};
use crate::event::{Event, tell};
use crate::limits::{TABLE_SETTLE, TABLE_SETTLE_SHORTER};
use crate::route::bad_aliases;
use crate::site::{Current, Site};
use crate::store::disk::Disk;
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

/// The site, with all its files as they are now.
pub fn fresh(current: &Current, disk: &dyn Disk) -> Arc<Site> {
    let site = fresh_tables(current, disk);
    match site.renewed(SystemTime::now()) {
        None => site,
        Some(Ok(new)) => {
            tell_flaws(&new);
            tell(&Event::Reloaded { config: "certificate and key" });
            current.exchange(&site, new)
        }
        // Whoever connects is better served by the old one than by none.
        Some(Err((error, old))) => {
            tell(&Event::ReloadFailed { reason: &error.to_string() });
            current.exchange(&site, old)
        }
    }
}

/// The site, with users and aliases read anew when their files have changed. Looking costs a
/// microsecond a file; what cannot be read stays as it was until it changes again.
fn fresh_tables(current: &Current, disk: &dyn Disk) -> Arc<Site> {
    let site = current.get();
    let Some(seen) = site.changes() else { return site };
    if site.is_settling(&seen, TABLE_SETTLE_SHORTER, true) {
        return site; // it looks half written: a later connection looks again
    }
    if site.is_settling(&seen, TABLE_SETTLE, false) {
        thread::sleep(TABLE_SETTLE);
        if site.changes().as_ref() != Some(&seen) {
            return site; // it is being written
        }
    }
    match site.read_tables() {
        Ok((new, _)) if !new.is_of(&seen) || new.changes().is_some() => site,
        Ok((new, mut bad)) => {
            bad.extend(bad_aliases(&new, disk));
            tell_bad_lines(&bad);
            tell(&Event::Reloaded { config: "users and aliases" });
            current.exchange(&site, new)
        }
        Err(error) => {
            tell(&Event::ReloadFailed { reason: &error.to_string() });
            match error.is_passing {
                true => site,
                // Remembered, so that a bad file is named once and not at each connection.
                false => current.exchange(&site, site.stay(seen)),
            }
        }
    }
}
