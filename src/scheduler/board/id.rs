//! The id of a message as the scheduler keeps it: one of ours takes 16 octets and no room elsewhere, because a
//! hundred thousand may wait, and each id stands in several places.

use crate::id::ID_DIGITS;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// The id of a message; it is, sorts and hashes as its text.
#[derive(Clone)]
pub struct Id(Form);

#[derive(Clone)]
enum Form {
    /// Not longer than an id of ours; what is behind `length` is no part of it.
    Short { length: u8, octets: [u8; ID_DIGITS] },
    /// Longer: another program put this message into the queue.
    Long(Arc<String>),
}

const _: () = assert!(size_of::<Id>() == 16);

impl Id {
    fn octets(&self) -> &[u8] {
        match &self.0 {
            Form::Short { length, octets } => &octets[..usize::from(*length)],
            Form::Long(text) => text.as_bytes(),
        }
    }
}

impl From<&str> for Id {
    fn from(text: &str) -> Id {
        let mut octets = [0; ID_DIGITS];
        match octets.get_mut(..text.len()) {
            Some(place) => {
                place.copy_from_slice(text.as_bytes());
                Id(Form::Short { length: text.len() as u8, octets })
            }
            None => Id(Form::Long(Arc::new(text.to_owned()))),
        }
    }
}

impl Deref for Id {
    type Target = str;

    fn deref(&self) -> &str {
        // Made from a text, so it is one.
        std::str::from_utf8(self.octets()).unwrap_or_default()
    }
}

impl Borrow<str> for Id {
    fn borrow(&self) -> &str {
        self
    }
}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Id) -> bool {
        self.octets() == other.octets()
    }
}

impl Eq for Id {}

impl Ord for Id {
    fn cmp(&self, other: &Id) -> Ordering {
        self.octets().cmp(other.octets())
    }
}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Id) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn an_id_is_as_its_text() {
        let ours = crate::id::message();
        let texts = ["m1", "m10", "m2", "", &ours, &crate::id::secret(&ours), &"m".repeat(255)];
        let mut ids: Vec<Id> = texts.iter().map(|text| Id::from(*text)).collect();
        assert!(ids.iter().zip(texts).all(|(id, text)| &**id == text && id.to_string() == text));
        let known: HashSet<Id> = ids.iter().cloned().collect();
        assert!(texts.iter().all(|text| known.contains(*text)));
        assert!(!known.contains("m") && Id::from("m") != Id::from("m\0"));
        ids.sort();
        assert!(ids.is_sorted_by(|one, other| **one < **other));
    }
}
