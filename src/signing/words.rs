//! What the log says of a domain's keys: at the start, and when something has changed. DNS that shows no key, or no
//! longer shows it, is told again each time that it is asked.

use super::DomainKeys;
use super::rotation::{KeyPlace, KeyState, Outlook};
use crate::event::{Event, tell, warn};
use crate::store::keys::KeyKind;

/// What is said of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyWords {
    /// Its state is another one than before.
    Changed(KeyPlace),
    /// Something that an administrator should mend.
    Wrong(String),
}

/// What is new since `before`, and with `all` also what is still wrong.
pub(super) fn words(before: Option<&DomainKeys>, keys: &DomainKeys, all: bool) -> Vec<KeyWords> {
    let mut words = Vec::new();
    let places = |keys: &DomainKeys| keys.rotation.places.clone();
    let old = before.map(places).unwrap_or_default();
    for place in &keys.rotation.places {
        let same = |old: &&KeyPlace| old.selector == place.selector && old.kind == place.kind;
        let old = old.iter().find(same);
        if old.is_none_or(|old| (old.state, old.first) != (place.state, place.first)) {
            words.push(KeyWords::Changed(place.clone()));
        }
        let is_new = old.is_none_or(|old| old.is_unpublished != place.is_unpublished);
        if place.is_unpublished && (all || is_new) {
            words.push(KeyWords::Wrong(unpublished(keys, place)));
        }
    }
    let known = before.map(DomainKeys::faults).unwrap_or_default();
    let faults = keys.faults().into_iter().filter(|fault| all || !known.contains(fault));
    words.extend(faults.map(KeyWords::Wrong));
    if all {
        words.extend(shared_names(keys).into_iter().map(KeyWords::Wrong));
    }
    let was = before.map(|before| &before.rotation.outlook);
    if all || was != Some(&keys.rotation.outlook) {
        words.extend(outlook(keys).map(KeyWords::Wrong));
    }
    words
}

/// Says it.
pub(super) fn say(keys: &DomainKeys, words: &[KeyWords]) {
    for one in words {
        match one {
            KeyWords::Changed(KeyPlace { selector, kind, state, until, .. }) => tell(&Event::Key {
                domain: keys.domain.name.as_str(),
                selector: &selector.to_string(),
                kind: kind.word(),
                state: state.word(),
                until: *until,
            }),
            KeyWords::Wrong(what) => warn(what),
        }
    }
}

/// That DNS does not show a key which it should show: told as loudly when it has vanished as when it never was
/// there.
pub(super) fn unpublished(keys: &DomainKeys, key: &KeyPlace) -> String {
    let KeyPlace { selector, kind, state, hidden, .. } = key;
    let (place, domain) = (&keys.domain.place, &keys.domain.name);
    let name = format!("{selector}._domainkey.{domain}");
    match (hidden, state) {
        (None, _) => {
            format!("{place}: DNS has never shown the {kind} key at {name}: it does not sign")
        }
        (Some(since), KeyState::Signs) => format!(
            "{place}: DNS no longer shows the {kind} key at {name}, since {since}: what it signs is not believed"
        ),
        (Some(since), _) => {
            format!(
                "{place}: DNS no longer shows the {kind} key at {name}, since {since}: it is still needed"
            )
        }
    }
}

/// Names at which DNS would have to show two keys: who verifies may take the wrong one (RFC 6376 §3.6.2.2).
pub(super) fn shared_names(keys: &DomainKeys) -> Vec<String> {
    let (place, domain) = (&keys.domain.place, &keys.domain.name);
    let all = &keys.rotation.places;
    let is_twice = |key: &&KeyPlace| {
        key.kind == KeyKind::Rsa
            && all.iter().any(|other| other.kind != key.kind && other.selector == key.selector)
    };
    let words = |key: &KeyPlace| {
        let selector = &key.selector;
        format!(
            "{place}: two keys have the name {selector}._domainkey.{domain}: one name should hold one record"
        )
    };
    all.iter().filter(is_twice).map(words).collect()
}

/// That mail is not signed, or waits.
pub(super) fn outlook(keys: &DomainKeys) -> Option<String> {
    let (place, domain) = (&keys.domain.place, &keys.domain.name);
    match &keys.rotation.outlook {
        Outlook::Sign(places) => {
            let is_rsa = |at: &usize| keys.present.keys[*at].kind == KeyKind::Rsa;
            (!places.iter().any(is_rsa)).then(|| {
                format!("{place}: mail of {domain} is signed by Ed25519 alone, which many hosts cannot verify")
            })
        }
        Outlook::Unsigned => {
            let why = if keys.dir.keys.is_empty() { "there is no key" } else { "DNS shows no key" };
            Some(format!("{place}: mail of {domain} leaves unsigned: {why}"))
        }
        Outlook::Wait(why) => Some(format!("{place}: mail of {domain} waits: {why}")),
    }
}
