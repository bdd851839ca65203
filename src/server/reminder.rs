//! Tells the log once a day what is wrong with our certificate, or soon will be: who reads only the last lines of a log
//! shall see it too. At the start, at a reload and when a pair is renewed others tell it.
//!
//! Looks at the files first, because a server to which nobody speaks has not seen that they were renewed.

use super::fresh::fresh;
use crate::event::warn;
use crate::housekeeper::Chore;
use crate::limits::CERTIFICATE_TOLD;
use crate::net::tls::Flaw;
use crate::site::{Current, Site};
use crate::store::disk::Disk;
use std::sync::Arc;
use std::time::SystemTime;

/// Remembers when the log was told last.
pub struct Reminder {
    current: Arc<Current>,
    disk: Arc<dyn Disk>,
    told: Chore,
}

impl Reminder {
    /// The log was told just now, at the start.
    pub fn new(current: Arc<Current>, disk: Arc<dyn Disk>) -> Reminder {
        Reminder { current, disk, told: Chore::done(CERTIFICATE_TOLD, SystemTime::now()) }
    }

    /// Tells it where a day is over.
    pub fn look(&mut self, now: SystemTime) {
        if self.told.take_turn(now) {
            words(&fresh(&self.current, &*self.disk), now).iter().for_each(|words| warn(words));
        }
    }
}

/// What comes by itself as time goes on. That a certificate is for another name is told once, as it may be on
/// purpose.
fn words(site: &Site, now: SystemTime) -> Vec<String> {
    let flaws = site.flaws(now).into_iter();
    flaws.filter(|(flaw, _)| Flaw::is_of_time(flaw)).map(|(_, words)| words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::limits::{CERTIFICATE_WARNING, DAY};
    use rcgen::{CertificateParams, KeyPair};
    use std::fs;

    #[test]
    fn it_tells_of_time_from_three_weeks_before_the_end_and_of_nothing_else() {
        let dir = std::env::temp_dir().join(format!("facteur-{}", crate::id::message()));
        fs::create_dir(&dir).unwrap();
        let (now, key) = (SystemTime::now(), KeyPair::generate().unwrap());
        let mut params = CertificateParams::new(vec!["other.test".to_owned()]).unwrap();
        params.not_after = (now + DAY * 60).into();
        fs::write(dir.join("mx.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(dir.join("mx.key"), key.serialize_pem()).unwrap();
        let config = "hostname = \"mx.test\"\n[tls]\ncertificate = \"mx.pem\"\nkey = \"mx.key\"\n\
                      [domain.\"mx.test\"]\nany_user = true\n";
        let config = Config::parse(config, &dir.join("facteur.toml")).unwrap();
        let site = Site::read(config).unwrap().0;
        fs::remove_dir_all(&dir).unwrap();
        let told = |now| words(&site, now);
        assert_eq!(told(now), [""; 0], "another name is told once");
        for (when, expected) in [
            (DAY * 60 - CERTIFICATE_WARNING - DAY, None),
            (DAY * 40, Some("tls.certificate: ends in 19 days, on ")),
            (DAY * 61, Some("tls.certificate: expired on ")),
        ] {
            let told = told(now + when);
            assert_eq!(told.len(), usize::from(expected.is_some()), "{told:?}");
            assert!(expected.is_none_or(|words| told[0].contains(words)), "{told:?}");
        }
    }
}
