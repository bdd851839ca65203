//! Milters of Postfix as `[[milter]]` tables. Pure.

use super::lines::{braced, words};
use super::next_hops::next_hop;
use crate::config::MilterSocket;
use crate::limits::FILTERS_MAX;
use std::collections::BTreeSet;
use std::path::Path;

/// A filter as Postfix asks it.
#[derive(Clone, Debug, PartialEq)]
pub struct MovedFilter {
    pub name: String,
    pub socket: MilterSocket,
    /// Mail by SMTP (`smtpd_milters`), mail by sendmail (`non_smtpd_milters`).
    pub is_for_smtp: bool,
    pub is_for_sendmail: bool,
    /// Where it fails, mail goes on without it.
    pub is_passed: bool,
}

/// Names of filters by what their sockets are called or where they listen.
const KNOWN: [(&str, &str); 9] = [
    ("rspamd", "rspamd"),
    (":11332", "rspamd"),
    ("opendkim", "opendkim"),
    (":8891", "opendkim"),
    (":12301", "opendkim"),
    ("opendmarc", "opendmarc"),
    (":8893", "opendmarc"),
    ("clamav", "clamav"),
    ("spamass", "spamassassin"),
];

/// The filters of `smtpd_milters` and `non_smtpd_milters`, in their order. `action`: `milter_default_action`. `queue`:
/// the directory that sockets are relative to.
pub fn filters(
    smtp: &str,
    sendmail: &str,
    action: &str,
    queue: &Path,
) -> (Vec<MovedFilter>, Vec<String>) {
    let (mut found, mut remarks): (Vec<MovedFilter>, Vec<String>) = Default::default();
    for (list, is_smtp) in [(smtp, true), (sendmail, false)] {
        let setting = if is_smtp { "smtpd_milters" } else { "non_smtpd_milters" };
        for word in words(list) {
            let (place, own) = parts(&word, action);
            let Some(socket) = socket(&place, queue) else {
                remarks.push(format!(
                    "{setting}: {word}: no filter listens at a place of this form: left out"
                ));
                continue;
            };
            let is_passed = own == "accept";
            if !matches!(own.as_str(), "accept" | "tempfail") {
                remarks.push(format!("{setting}: {place}: {own} where it fails: here mail waits (on_failure = \"defer\")"));
            }
            if let Some(filter) = found.iter_mut().find(|filter| filter.socket == socket) {
                filter.is_for_smtp |= is_smtp;
                filter.is_for_sendmail |= !is_smtp;
            } else if found.len() >= FILTERS_MAX {
                remarks.push(format!("{setting}: {word}: {FILTERS_MAX} filters at most: left out"));
            } else {
                let name = name(&place, &found);
                let (is_for_smtp, is_for_sendmail) = (is_smtp, !is_smtp);
                found.push(MovedFilter { name, socket, is_for_smtp, is_for_sendmail, is_passed });
            }
        }
    }
    (found, remarks)
}

/// `{ inet:host:port, default_action=accept }`, or the place alone.
fn parts(word: &str, action: &str) -> (String, String) {
    let Some(inside) = braced(word) else { return (word.to_owned(), action.to_owned()) };
    let parts = words(inside);
    let own = parts
        .iter()
        .filter_map(|part| part.split_once('='))
        .find(|(key, _)| key.trim() == "default_action");
    let place = parts.iter().find(|part| !part.contains('=')).cloned().unwrap_or_default();
    (place, own.map_or(action, |(_, value)| value.trim()).to_owned())
}

fn socket(place: &str, queue: &Path) -> Option<MilterSocket> {
    match place.split_once(':')? {
        ("unix" | "local", path) if !path.is_empty() => Some(MilterSocket::Unix(queue.join(path))),
        ("inet" | "inet6", text) => {
            // Sendmail's form has the port first.
            let turned = text.split_once('@').map(|(port, host)| format!("{host}:{port}"));
            let text = turned.as_deref().unwrap_or(text);
            let (host, _) = next_hop(text, 0)?;
            Some(MilterSocket::Inet(host))
        }
        _ => None,
    }
}

fn name(place: &str, known: &[MovedFilter]) -> String {
    let place = place.to_ascii_lowercase();
    let base =
        KNOWN.iter().find(|(part, _)| place.contains(part)).map_or("filter", |(_, name)| name);
    let used: BTreeSet<&str> = known.iter().map(|filter| filter.name.as_str()).collect();
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    let mut names = std::iter::once(base.to_owned()).chain(numbered);
    names.find(|name| !used.contains(name.as_str())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_services() {
        let smtp = "inet:localhost:11332, unix:opendkim/opendkim.sock { inet:[::1]:9999, default_action=accept } inet:7@host \
                    nonsense";
        let (found, remarks) =
            filters(smtp, "$x inet:localhost:11332", "tempfail", Path::new("/var/spool/postfix"));
        let shown: Vec<String> = found
            .iter()
            .map(|it| {
                format!(
                    "{} {} {} {} {}",
                    it.name, it.socket, it.is_for_smtp, it.is_for_sendmail, it.is_passed
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                "rspamd inet:localhost:11332 true true false",
                "opendkim unix:/var/spool/postfix/opendkim/opendkim.sock true false false",
                "filter inet:[::1]:9999 true false true",
                "filter-2 inet:host:7 true false false",
            ]
        );
        assert_eq!(remarks.len(), 2, "{remarks:#?}");
        assert_eq!(filters("inet:a:1", "", "reject", Path::new("/")).1.len(), 1);
    }
}
