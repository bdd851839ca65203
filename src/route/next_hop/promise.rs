//! Whether mail that requires TLS of all hosts on its way (REQUIRETLS, RFC 8689) can have a next hop at all. Asks
//! DNS and opens no connection: what a host offers is found out when it is spoken to.

use super::{MailHosts, Obstacle, Way, mail_hosts};
use crate::mail::address::Domain;
use crate::net::dns::{Record, RecordKind, Records};
use crate::site::Site;

/// The status where no host can promise it (RFC 8689 §7).
pub const NO_PROMISE: &str = "5.7.30";

/// Why no host of a way can ever be believed to be the one that the recipient's domain means; none where one may be,
/// and where DNS does not say so now.
pub fn unpromised(site: &Site, way: &Way) -> Option<Obstacle> {
    let Way::Mx(domain) = way else { return None };
    match mail_hosts(site.resolver(), domain) {
        Ok(Some(MailHosts { is_secure: false, .. })) if !may_have_policy(site, domain) => {
            Some(Obstacle::permanent(NO_PROMISE, format!("{domain}: {UNVOUCHED}")))
        }
        _ => None,
    }
}

/// What is wrong with hosts of MX records that anybody in between could have made up (RFC 8689 §2).
pub(super) const UNVOUCHED: &str =
    "it requires TLS, and neither DNSSEC nor an MTA-STS policy vouches for the MX records";

/// Whether a domain may have an MTA-STS policy, as far as DNS says and is known from before. What is not answered may
/// be anything.
pub(super) fn may_have_policy(site: &Site, domain: &Domain) -> bool {
    if !site.config.relay.mta_sts {
        return false;
    }
    if site.knows_policy(domain) {
        return true;
    }
    let is_its =
        |record: &Record| matches!(record, Record::Txt(text) if text.starts_with(b"v=STSv1"));
    let name = format!("_mta-sts.{domain}");
    match site.resolver().lookup(name.as_bytes(), RecordKind::Txt).map(|answer| answer.records) {
        Ok(Records::Found(records)) => records.iter().any(is_its),
        Ok(Records::Absent | Records::NoName) => false,
        Ok(Records::Unsure(_)) | Err(_) => true,
    }
}
