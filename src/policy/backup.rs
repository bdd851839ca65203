//! Mail of strangers for a domain that this host is a backup MX for: who is taken, and whose sender may hear of
//! a failure.

use super::shown;
use crate::mail::address::{ForwardPath, Host, Mailbox, ReversePath};
use crate::mail::proof::findings::ProofFindings;
use crate::mail::proof::name::Name;
use crate::route::next_hop::{MxPlace, mx_place};
use crate::site::Site;
use crate::smtp::reply::Reply;
use crate::store::recipients;

/// Whether a recipient is at such a domain.
pub fn is_one(site: &Site, path: &ForwardPath) -> bool {
    matches!(path, ForwardPath::Mailbox(mailbox) if site.has_at_backup(mailbox).is_some())
}

/// Whether it is the postmaster of such a domain.
pub fn is_postmaster(site: &Site, mailbox: &Mailbox) -> bool {
    recipients::is_postmaster(&mailbox.local) && site.has_at_backup(mailbox).is_some()
}

/// Whether mail of a stranger is taken for a recipient at such a domain: he exists, and a better MX can be
/// reached from here, now or later. Asks DNS.
pub fn recipient(site: &Site, path: &ForwardPath) -> Result<(), Reply> {
    let ForwardPath::Mailbox(mailbox @ Mailbox { host: Host::Domain(domain), .. }) = path else {
        return Ok(());
    };
    let to = shown(path);
    if site.has_at_backup(mailbox) != Some(true) {
        return Err(Reply::new(550, "5.1.1", format!("{to}: no such user at {domain}")));
    }
    match mx_place(site, domain) {
        MxPlace::Behind => Ok(()),
        MxPlace::Absent => {
            let text = format!("{to}: this host is not among the mail hosts of {domain}");
            Err(Reply::new(550, "5.4.6", text))
        }
        MxPlace::Best => {
            let text = format!("{to}: no mail host of {domain} is better than this one");
            Err(Reply::new(550, "5.4.6", text))
        }
        MxPlace::Unknown(obstacle) => {
            let text = format!("{to}: {}", super::ascii(&obstacle.words));
            Err(Reply::new(obstacle.code(), obstacle.status, text))
        }
    }
}

/// Whether SPF or a signature shows that a message is of its sender's domain. A signature of a domain above it
/// counts, one of a domain below it does not: that may be anybody's.
pub fn is_proved(findings: &ProofFindings, from: &ReversePath) -> bool {
    let ReversePath::Mailbox(Mailbox { host: Host::Domain(domain), .. }) = from else {
        return false;
    };
    let Some(domain) = Name::parse(domain.as_str().as_bytes()) else { return false };
    findings.evidence().passed.iter().any(|passed| domain.is_within(&passed.domain))
}
