//! Which key of a domain signs, which wait, which are retired: a function of the keys that are there, of what DNS has
//! shown, and of now. Pure.
//!
//! A key signs once DNS has shown it; one that takes over from another that signs, an hour after that. Of several
//! shown ones of a type the greatest selector signs. A domain of which one key was shown never signs nothing
//! again: where the key that signs cannot be used, mail waits.

use crate::limits::keys::{KEY_TAKES_OVER, SHOWN_KEYS_MAX};
use crate::mail::proof::name::Name;
use crate::store::keys::KeyKind;
use crate::store::keys::shown::{ShownKey, ShownKeys};
use jiff::Timestamp;
use std::time::Duration;

/// A key that has a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentKey {
    pub selector: Name,
    pub kind: KeyKind,
    /// None where the file cannot be used.
    pub digest: Option<String>,
}

/// The keys of a domain that have files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresentKeys {
    pub keys: Vec<PresentKey>,
    /// The directory cannot be read: there may be others.
    pub is_hidden: bool,
}

/// What DNS says of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It shows the key.
    Shown,
    /// It surely does not.
    Hidden,
    /// It does not say: this changes nothing.
    Unknown,
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// DNS has never shown it, or not long enough for it to take over.
    Waiting,
    Signs,
    Retired,
}

impl KeyState {
    /// `waiting`, `signs`, `retired`.
    pub fn word(self) -> &'static str {
        match self {
            KeyState::Waiting => "waiting",
            KeyState::Signs => "signs",
            KeyState::Retired => "retired",
        }
    }
}

/// One key, with its place in the rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPlace {
    pub selector: Name,
    pub kind: KeyKind,
    pub state: KeyState,
    /// How long the state lasts, where that is known: when a waiting key takes over, and until when the record of a
    /// retired one has to stay.
    pub until: Option<Timestamp>,
    /// When DNS first showed it; none where it never did.
    pub first: Option<Timestamp>,
    /// Since when DNS does not show it any more.
    pub hidden: Option<Timestamp>,
    /// DNS should show it and does not, as far as is known.
    pub is_unpublished: bool,
    /// Its file can be used.
    pub is_usable: bool,
}

impl KeyPlace {
    /// Whether the key is retired and its time has passed; messages that it signed may wait all the same
    /// ([`super::waiting`]).
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.state == KeyState::Retired && self.until.is_none_or(|until| until <= now)
    }
}

/// What a domain does with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It signs with these, one of each type: places in [`PresentKeys::keys`].
    Sign(Vec<usize>),
    /// Nothing was ever shown.
    Unsigned,
    /// The key that has to sign cannot be used; in words.
    Wait(String),
}

/// A domain's keys at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// What is to be remembered.
    pub shown: ShownKeys,
    /// By type, then by selector.
    pub places: Vec<KeyPlace>,
    pub outlook: Outlook,
    /// When a key takes over without anybody doing anything.
    pub next: Option<Timestamp>,
}

/// Notes what DNS says of keys that can be used; `sights` stand in the order of the keys.
pub fn note(
    mut shown: ShownKeys,
    present: &PresentKeys,
    sights: &[Sight],
    now: Timestamp,
) -> ShownKeys {
    let mut is_sure = !present.is_hidden;
    for (key, sight) in present.keys.iter().zip(sights) {
        // It cannot be asked for.
        let Some(digest) = &key.digest else {
            is_sure = false;
            continue;
        };
        let at = shown.keys.iter().position(|known| key.is(known));
        is_sure &= *sight != Sight::Unknown;
        match (sight, at) {
            (Sight::Unknown, _) | (Sight::Hidden, None) => {}
            (Sight::Hidden, Some(at)) => {
                let hidden = &mut shown.keys[at].hidden;
                *hidden = Some(hidden.unwrap_or(now).min(now));
            }
            (Sight::Shown, Some(at)) => {
                let known = &mut shown.keys[at];
                // A clock that was ahead when it was first shown must not delay it.
                known.first = known.first.min(now);
                (known.last, known.hidden) = (now, None);
            }
            (Sight::Shown, None) => {
                let (selector, digest) = (key.selector.clone(), digest.clone());
                let (kind, first, last) = (key.kind, now, now);
                let (hidden, signs, retired) = (None, None, None);
                let new = ShownKey { selector, kind, digest, first, last, hidden, signs, retired };
                shown.keys.push(new);
            }
        }
    }
    shown.is_lost &= !is_sure;
    shown
}

impl PresentKey {
    /// Whether this very key was shown.
    fn is(&self, known: &ShownKey) -> bool {
        let is_same = self.digest.as_ref() == Some(&known.digest);
        is_same && self.selector == known.selector && self.kind == known.kind
    }
}

/// Who signs now. `expire`: how long a message may wait in a queue.
pub fn rotate(
    present: &PresentKeys,
    mut shown: ShownKeys,
    now: Timestamp,
    expire: Duration,
) -> Rotation {
    let (mut signers, mut next, mut wait) = (Vec::new(), None::<Timestamp>, None);
    for kind in KeyKind::ALL {
        let before = current(&shown, kind);
        let (signer, takes_over) = choose(present, &shown, kind, before, now);
        next = next.into_iter().chain(takes_over).min();
        if let Some(signer) = signer.filter(|signer| Some(*signer) != before) {
            if let Some(before) = before {
                shown.keys[before].retired = Some(now);
            }
            let signer = &mut shown.keys[signer];
            (signer.signs, signer.retired) = (Some(now), None);
        }
        retire_others(&mut shown, kind, signer, now);
        match signer.and_then(|signer| usable(present, &shown.keys[signer])) {
            Some(at) => signers.push(at),
            None => wait = wait.or(why_wait(present, &shown, kind)),
        }
    }
    let outlook = match (wait, signers.is_empty()) {
        (Some(why), _) => Outlook::Wait(why),
        (None, false) => Outlook::Sign(signers),
        (None, true) if !shown.keys.is_empty() => {
            Outlook::Wait("no key is there of those that DNS has shown".to_owned())
        }
        (None, true) if shown.is_lost => {
            let why = "what DNS has shown of its keys was lost, and DNS has not answered yet";
            Outlook::Wait(why.to_owned())
        }
        (None, true) => Outlook::Unsigned,
    };
    forget(present, &mut shown);
    let places = places(present, &shown, now, expire);
    Rotation { shown, places, outlook, next }
}

/// The key of a type that signs, as far as is remembered.
fn current(shown: &ShownKeys, kind: KeyKind) -> Option<usize> {
    let signs = |key: &ShownKey| key.kind == kind && key.signs.is_some() && key.retired.is_none();
    let all = shown.keys.iter().enumerate().filter(|(_, key)| signs(key));
    all.max_by(|(_, a), (_, b)| a.selector.cmp(&b.selector)).map(|(at, _)| at)
}

/// The place of a remembered key among those that have files that can be used.
fn usable(present: &PresentKeys, known: &ShownKey) -> Option<usize> {
    present.keys.iter().position(|key| key.is(known))
}

/// The key of a type that signs from now on, by its place in what is remembered, and when another will take over.
fn choose(
    present: &PresentKeys,
    shown: &ShownKeys,
    kind: KeyKind,
    before: Option<usize>,
    now: Timestamp,
) -> (Option<usize>, Option<Timestamp>) {
    let usable = |at: &usize| usable(present, &shown.keys[*at]).is_some();
    let greatest = |all: &mut dyn Iterator<Item = usize>| {
        all.max_by(|a, b| shown.keys[*a].selector.cmp(&shown.keys[*b].selector))
    };
    let of_kind = || (0..shown.keys.len()).filter(|at| shown.keys[*at].kind == kind).filter(usable);
    let seen = greatest(&mut of_kind().filter(|at| shown.keys[*at].hidden.is_none()));
    match (before, seen) {
        (None, None) => (greatest(&mut of_kind()), None),
        (None, seen) => (seen, None),
        // It cannot sign, so nobody can be taken by surprise.
        (Some(before), Some(_)) if !usable(&before) => (seen, None),
        (Some(before), Some(new)) if shown.keys[new].selector > shown.keys[before].selector => {
            let when = shown.keys[new].first.saturating_add(KEY_TAKES_OVER).unwrap_or(now);
            match when <= now {
                true => (Some(new), None),
                false => (Some(before), Some(when)),
            }
        }
        (before, _) => (before, None),
    }
}

/// Shown keys that are smaller than the one that signs are retired, though they may never have signed.
fn retire_others(shown: &mut ShownKeys, kind: KeyKind, signer: Option<usize>, now: Timestamp) {
    let Some(signer) = signer.map(|at| shown.keys[at].clone()) else { return };
    let smaller = |key: &&mut ShownKey| {
        key.kind == kind
            && key.retired.is_none()
            && **key != signer
            && key.selector <= signer.selector
    };
    shown.keys.iter_mut().filter(smaller).for_each(|key| key.retired = Some(now));
}

/// Why mail waits for a key of a type: there are files of the type, and none of them is that of the key that was
/// shown last.
fn why_wait(present: &PresentKeys, shown: &ShownKeys, kind: KeyKind) -> Option<String> {
    let last = current(shown, kind).map(|at| &shown.keys[at])?;
    let has_file = present.keys.iter().any(|key| key.kind == kind);
    (has_file || present.is_hidden).then(|| {
        format!(
            "the key {} of type {kind}, by which the domain signs, cannot be read",
            last.selector
        )
    })
}

/// Forgets the keys that were retired first and have no file any more, where there are too many.
fn forget(present: &PresentKeys, shown: &mut ShownKeys) {
    while shown.keys.len() > SHOWN_KEYS_MAX {
        let signs = |key: &ShownKey| key.signs.is_some() && key.retired.is_none();
        let is_old = |key: &ShownKey| !signs(key) && usable(present, key).is_none();
        let all = shown.keys.iter().enumerate().filter(|(_, key)| is_old(key));
        let oldest = all.min_by_key(|(_, key)| key.retired.unwrap_or(key.last));
        let Some((oldest, _)) = oldest else { break };
        shown.keys.remove(oldest);
    }
}

/// All keys that have a file, and those without one whose record has to stay.
fn places(
    present: &PresentKeys,
    shown: &ShownKeys,
    now: Timestamp,
    expire: Duration,
) -> Vec<KeyPlace> {
    let mut places = Vec::new();
    for key in &present.keys {
        // Of a file that cannot be read only the name is known.
        let named = |known: &&ShownKey| known.selector == key.selector && known.kind == key.kind;
        let mut known = shown.keys.iter().filter(named);
        let known = match key.digest {
            Some(_) => known.find(|known| key.is(known)),
            None => known.max_by_key(|known| known.last),
        };
        let is_usable = key.digest.is_some();
        places.push(match known {
            Some(known) => place(known, now, expire, is_usable),
            None => KeyPlace {
                selector: key.selector.clone(),
                kind: key.kind,
                state: KeyState::Waiting,
                until: None,
                first: None,
                hidden: None,
                is_unpublished: is_usable,
                is_usable,
            },
        });
    }
    for known in &shown.keys {
        let named = |place: &KeyPlace| place.selector == known.selector && place.kind == known.kind;
        if !places.iter().any(named) {
            let place = place(known, now, expire, false);
            if !place.is_over(now) {
                places.push(place);
            }
        }
    }
    places.sort_by(|a, b| (a.kind, &a.selector).cmp(&(b.kind, &b.selector)));
    places
}

fn place(known: &ShownKey, now: Timestamp, expire: Duration, is_usable: bool) -> KeyPlace {
    let takes_over = known.first.saturating_add(KEY_TAKES_OVER).ok();
    let takes_over = takes_over.filter(|_| known.hidden.is_none() && is_usable);
    let (state, until) = match (known.signs, known.retired) {
        (Some(_), None) => (KeyState::Signs, None),
        (None, None) => (KeyState::Waiting, takes_over),
        (Some(_), Some(when)) => (KeyState::Retired, when.saturating_add(expire).ok()),
        // Nothing was signed with it.
        (None, Some(_)) => (KeyState::Retired, None),
    };
    let place = KeyPlace {
        selector: known.selector.clone(),
        kind: known.kind,
        state,
        until,
        first: Some(known.first),
        hidden: known.hidden,
        is_unpublished: known.hidden.is_some(),
        is_usable,
    };
    let is_unpublished = place.is_unpublished && !place.is_over(now);
    KeyPlace { is_unpublished, ..place }
}

#[cfg(test)]
mod tests;
