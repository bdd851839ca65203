//! The site as it is at this moment, for a session or an attempt that begins.

use super::{tell_bad_lines, tell_flaws};
use crate::event::{Event, tell};
use crate::limits::{TABLE_SETTLE, TABLE_SETTLE_SHORTER};
use crate::route::bad_aliases;
use crate::site::hold;
use crate::site::{Current, Site};
use crate::store::disk::Disk;
use std::sync::Arc;
use std::thread;
use std::time::{Instant, SystemTime};

/// The site, with users and aliases as they are now, and the certificate as it was within the last
/// [`crate::limits::PAIR_LOOK`].
pub fn fresh(current: &Arc<Current>, disk: &dyn Disk) -> Arc<Site> {
    let site = fresh_tables(current, disk);
    site.signing().look();
    match current.take_turn_at_the_pair(Instant::now()) {
        true => fresh_pair(current, site, SystemTime::now()),
        false => site,
    }
}

/// Makes the site fresh for a session that begins. While another session does so, this one goes on with the
/// old site and has the fresh one from its next transaction on: large tables take a second to read, and
/// reading them twice at once takes twice the memory.
pub fn fresh_for_session(current: &Arc<Current>, disk: &dyn Disk) {
    if let Some(_turn) = current.turn_to_read() {
        fresh(current, disk);
    }
}

/// The site, with the certificate that was renewed meanwhile. One that cannot be used is told once, and the
/// old one stays until the files change again. Where DNS has to be asked first, the site is as it was: others
/// than this thread ask.
fn fresh_pair(current: &Arc<Current>, site: Arc<Site>, now: SystemTime) -> Arc<Site> {
    match site.renewed(now) {
        None => site,
        Some(Ok(new)) if hold::is_in_question(&site, &new, now) => {
            hold::judge_aside(current, &site, new, Instant::now());
            site
        }
        Some(Ok(new)) => {
            tell_flaws(&new);
            tell(&Event::Reloaded { config: "certificate and key" });
            current.exchange(&site, new)
        }
        // The old certificate serves clients better than none.
        Some(Err((error, old))) => {
            tell(&Event::ReloadFailed { reason: &error.to_string() });
            current.exchange(&site, old)
        }
    }
}

/// The site, with users and aliases read anew when their files have changed. Looking costs a microsecond a
/// file; a table that cannot be read stays as it was until its file changes again.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::limits::PAIR_LOOK;
    use crate::net::tls::date;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use std::fs;
    use std::path::PathBuf;
    use std::time::Duration;

    /// A directory with a certificate and its key, and a site that uses them; removed when it is dropped.
    struct PairFiles(PathBuf);

    impl PairFiles {
        fn new() -> PairFiles {
            let files =
                PairFiles(std::env::temp_dir().join(format!("facteur-{}", crate::id::message())));
            fs::create_dir(&files.0).unwrap();
            files
        }

        /// Writes a certificate that ends with that year, and its key.
        fn renew(&self, year: i32) {
            let mut params = CertificateParams::new(vec!["mx.test".to_owned()]).unwrap();
            params.not_after = date_time_ymd(year, 1, 1);
            let key = KeyPair::generate().unwrap();
            let certificate = params.self_signed(&key).unwrap().pem();
            fs::write(self.0.join("mx.pem"), certificate).unwrap();
            fs::write(self.0.join("mx.key"), key.serialize_pem()).unwrap();
        }

        fn open(&self) -> Arc<Current> {
            let config = "hostname = \"mx.test\"\n[tls]\ncertificate = \"mx.pem\"\nkey = \"mx.key\"\n\
                          [domain.\"mx.test\"]\nany_user = true\n";
            let config = Config::parse(config, &self.0.join("facteur.toml")).unwrap();
            Current::new(Site::read(config).unwrap().0)
        }
    }

    impl Drop for PairFiles {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn year(site: &Site) -> String {
        date(site.acceptor().unwrap().expires().unwrap())[..4].to_owned()
    }

    #[test]
    fn the_pair_is_looked_at_once_in_a_while() {
        let files = PairFiles::new();
        files.renew(2098);
        let (current, second) = (files.open(), Duration::from_secs(1));
        let opened = Instant::now();
        let all = |moments: [Duration; 5]| {
            moments.map(|since| current.take_turn_at_the_pair(opened + since))
        };
        let later = PAIR_LOOK + second;
        let asked = all([Duration::ZERO, PAIR_LOOK - second, later, later, later + PAIR_LOOK]);
        assert_eq!(asked, [false, false, true, false, true]);
    }

    #[test]
    fn a_pair_that_cannot_work_is_tried_once_and_the_old_one_stays() {
        let files = PairFiles::new();
        files.renew(2098);
        let current = files.open();
        // A moment when the files cannot be half written any more.
        let later = SystemTime::now() + PAIR_LOOK;
        assert!(current.get().renewed(later).is_none());
        fs::write(files.0.join("mx.key"), "no key").unwrap();
        assert!(matches!(current.get().renewed(later), Some(Err(_))));
        assert_eq!(year(&fresh_pair(&current, current.get(), later)), "2098");
        assert!(current.get().renewed(later).is_none(), "it would be told again");
        files.renew(2099);
        assert_eq!(year(&fresh_pair(&current, current.get(), later)), "2099");
        assert_eq!(year(&current.get()), "2099");
    }
}
