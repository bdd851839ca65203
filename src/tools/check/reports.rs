//! Reports on TLS: whether those that go by mail are signed. Asks nobody.

use super::Weight;
use crate::mail::address::Host;
use crate::site::Site;

/// What is wrong.
pub fn look(site: &Site) -> Option<(Weight, String)> {
    let contact = site.config.relay.reports.as_ref()?;
    let Host::Domain(domain) = &contact.host else { return None };
    let is_signed = site.signing().of(domain).is_some();
    let place = site.config.place("relay.reports");
    let words = format!(
        "{place}: {domain} has no keys here (dkim), so reports leave unsigned, and their receivers ignore them \
         (RFC 8460, 3) unless another host signs them"
    );
    (!is_signed).then_some((Weight::Warning, words))
}
