//! Header fields as the reader of a message found them, for all that is signed over their octets. Pure.
//!
//! Reads no header: where fields begin and end is decided by the one reader of messages.

use std::cmp::Ordering;
use std::collections::HashMap;

/// A field as it came, with LF line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawField<'a> {
    /// What stands before the colon, without white space around it.
    pub name: &'a [u8],
    /// The whole field: name, colon, value and folded lines; the LF that ends it may be there or not.
    pub whole: &'a [u8],
}

impl<'a> RawField<'a> {
    /// Whether this is the field's name; case does not count.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// Where the value begins in `whole`.
    pub fn value_at(&self) -> usize {
        memchr::memchr(b':', self.whole).map_or(self.whole.len(), |colon| colon + 1)
    }

    /// All behind the colon.
    pub fn value(&self) -> &'a [u8] {
        &self.whole[self.value_at()..]
    }
}

/// The fields of a message in their order, to be found by name from the last to the first, as signatures
/// name them (RFC 6376 §5.4.2). Made once for a message.
pub struct RawHeader<'a> {
    fields: &'a [RawField<'a>],
    /// Their places, by name, then as they stand.
    order: Vec<usize>,
}

impl<'a> RawHeader<'a> {
    pub fn new(fields: &'a [RawField<'a>]) -> RawHeader<'a> {
        let mut order: Vec<usize> = (0..fields.len()).collect();
        order.sort_by(|&one, &other| by_name(fields[one].name, fields[other].name));
        RawHeader { fields, order }
    }

    pub fn fields(&self) -> &'a [RawField<'a>] {
        self.fields
    }

    /// Places of the fields of a name, which is in lower case; the first one first.
    pub fn places(&self, name: &str) -> &[usize] {
        let of = |place: &usize| by_name(self.fields[*place].name, name.as_bytes());
        let from = &self.order[self.order.partition_point(|place| of(place).is_lt())..];
        &from[..from.partition_point(|place| of(place).is_eq())]
    }

    /// The fields that a list of names (in lower case) stands for: each name the last field that no
    /// earlier one took; a name for which none is left stands for nothing. `own` is the place of the
    /// signature itself, which no name stands for.
    pub fn named<'n>(&self, names: impl Iterator<Item = &'n str>, own: usize) -> Vec<RawField<'a>> {
        let mut left: HashMap<&str, &[usize]> = HashMap::new();
        let mut found = Vec::new();
        for name in names {
            let left = left.entry(name).or_insert_with(|| self.places(name));
            while let [rest @ .., place] = *left {
                *left = rest;
                if *place != own {
                    found.push(self.fields[*place]);
                    break;
                }
            }
        }
        found
    }
}

/// Case does not count.
fn by_name(one: &[u8], other: &[u8]) -> Ordering {
    let one = one.iter().map(u8::to_ascii_lowercase);
    one.cmp(other.iter().map(u8::to_ascii_lowercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_the_last_first() {
        let texts = ["A: 1\n", "b : 2\n", "a:3\n x\n", "B: 4"];
        let field = |text: &'static str| {
            let (name, _) = text.split_once(':').unwrap();
            RawField { name: name.trim().as_bytes(), whole: text.as_bytes() }
        };
        let fields: Vec<RawField> = texts.into_iter().map(field).collect();
        let header = RawHeader::new(&fields);
        let named = |names: &[&str], own| {
            let found = header.named(names.iter().copied(), own);
            found.iter().map(|field| field.value().trim_ascii()).collect::<Vec<_>>()
        };
        assert_eq!(named(&["a", "b", "a", "a", "c"], 9), [&b"3\n x"[..], b"4", b"1"]);
        assert_eq!(named(&["a", "a"], 2), [b"1"]);
        assert_eq!(named(&["b", "b"], 3), [b"2"]);
    }
}
