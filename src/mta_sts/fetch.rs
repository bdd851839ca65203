//! One policy fetched from the web server of its domain (RFC 8461 §3.3).

use crate::limits::policies::{STS_FETCH_TIME, STS_POLICY_MAX};
use crate::mail::address::Domain;
use crate::mail::mta_sts::StsPolicy;
use crate::mail::tags::shown;
use crate::net::dns::Resolver;
use crate::net::https::{Https, HttpsFault, HttpsPage};
use crate::net::tls::authorities;
use crate::smtp::tls_failure::{TlsFailure, TlsTrouble};
use std::sync::Arc;

/// Where the policy of a domain lies (RFC 8461 §3.3).
pub fn place(domain: &Domain) -> String {
    format!("https://mta-sts.{domain}/.well-known/mta-sts.txt")
}

/// Fetches the policy of a domain, by the authorities of this system.
pub fn fetch(domain: &Domain, resolver: &Arc<dyn Resolver>) -> Result<StsPolicy, TlsTrouble> {
    let url = place(domain);
    let page = match authorities() {
        Ok(authorities) => {
            let https = Https::new(resolver.clone(), &authorities, STS_FETCH_TIME);
            https.get(&url, STS_POLICY_MAX).map_err(|fault| (kind(&fault), fault.to_string()))
        }
        Err(why) => Err((TlsFailure::PolicyWebpki, why)),
    };
    let policy = page.and_then(|page| policy(&page));
    policy.map_err(|(failure, what)| TlsTrouble::new(failure, format!("{url}: {what}")))
}

/// The policy in an answer: only 200 counts, as text.
fn policy(page: &HttpsPage) -> Result<StsPolicy, (TlsFailure, String)> {
    if page.status != 200 {
        let words = match page.status {
            300..400 => "a redirect, which is not followed",
            _ => "no page",
        };
        return Err((TlsFailure::PolicyFetch, format!("it answered {}, {words}", page.status)));
    }
    if let Some(media) = page.media.as_deref().filter(|media| !is_text(media)) {
        let words = format!("it is {}, and a policy is text/plain", shown(media));
        return Err((TlsFailure::PolicyInvalid, words));
    }
    StsPolicy::parse(&page.body)
        .map_err(|bad| (TlsFailure::PolicyInvalid, format!("this is no policy: {bad}")))
}

/// Whether a media type is text/plain, whatever its parameters. A server that names none is believed: the type is
/// looked at so that nobody can pass off pages of users as a policy.
fn is_text(media: &[u8]) -> bool {
    let kind = media.split(|octet| *octet == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"text/plain")
}

fn kind(fault: &HttpsFault) -> TlsFailure {
    match fault {
        HttpsFault::Certificate(_) => TlsFailure::PolicyWebpki,
        HttpsFault::Long(_) => TlsFailure::PolicyInvalid,
        HttpsFault::Url(_) | HttpsFault::Name(_) | HttpsFault::Late(_) | HttpsFault::Broken(_) => {
            TlsFailure::PolicyFetch
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(status: u16, media: Option<&str>, body: &str) -> HttpsPage {
        let media = media.map(|media| media.as_bytes().to_owned());
        HttpsPage { status, media, body: body.as_bytes().to_owned() }
    }

    #[test]
    fn only_a_text_that_was_found_is_a_policy() {
        let good = "version: STSv1\nmode: none\nmax_age: 1";
        for media in [None, Some("text/plain"), Some("Text/PLAIN ; charset=latin1; x")] {
            assert!(policy(&page(200, media, good)).is_ok(), "{media:?}");
        }
        for (page, kind, words) in [
            (page(404, None, good), TlsFailure::PolicyFetch, "it answered 404, no page"),
            (page(204, None, ""), TlsFailure::PolicyFetch, "it answered 204, no page"),
            (page(301, None, good), TlsFailure::PolicyFetch, "it answered 301, a redirect, which"),
            (page(200, Some("text/html"), good), TlsFailure::PolicyInvalid, "it is text/html, and"),
            (page(200, Some(""), good), TlsFailure::PolicyInvalid, "it is , and a policy is text"),
            (
                page(200, None, ""),
                TlsFailure::PolicyInvalid,
                "this is no policy: version is missing",
            ),
        ] {
            let (found, what) = policy(&page).unwrap_err();
            assert!(found == kind && what.starts_with(words), "{found:?} {what}");
        }
    }
}
