//! The changes of a message on its way: octets put in and octets left out. The octets that were received stay
//! as they are: a local copy, a queue file, a late copy and what an alias sends on are views of them through
//! edits. Pure.
//!
//! A view is read piece by piece, so that a large message needs no more memory than its changes do.

use std::ops::Range;
use std::sync::Arc;

/// The changes of one message, by their place in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits(Vec<Change>);

/// These octets of the message become others.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    range: Range<u64>,
    /// Shared by all views of the message.
    put: Arc<Vec<u8>>,
}

/// A part of the view, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Put(&'a [u8]),
    /// Octets of the message as received.
    Kept(Range<u64>),
}

impl Piece<'_> {
    /// In octets.
    pub fn size(&self) -> u64 {
        match self {
            Piece::Put(octets) => octets.len() as u64,
            Piece::Kept(range) => range.end - range.start,
        }
    }
}

impl Edits {
    /// With these fields on top, above what was put there before.
    pub fn on_top(self, fields: impl Into<Vec<u8>>) -> Edits {
        self.replaced(0..0, fields)
    }

    /// Without the octets of these ranges, which lie apart. What another change touches is left to that one.
    pub fn without(self, ranges: &[Range<u64>]) -> Edits {
        let cut = |edits: Edits, range: Range<u64>| edits.replaced(range, Vec::new());
        ranges.iter().fold(self, |edits, range| edits.untouched(range).into_iter().fold(edits, cut))
    }

    /// The parts of a range that no change touches; it is parted where something is put in as well.
    fn untouched(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        let (mut at, mut parts) = (range.start, Vec::new());
        // They lie apart and in order, so their ends are in order as well.
        let first = self.0.partition_point(|change| change.range.end <= range.start);
        let within = |change: &&Change| change.range.start < range.end;
        for Change { range: touched, .. } in self.0[first..].iter().take_while(within) {
            if at < touched.start {
                parts.push(at..touched.start);
            }
            at = at.max(touched.end);
        }
        if at < range.end {
            parts.push(at..range.end);
        }
        parts
    }

    /// With `put` in place of the octets of a range, which no other change touches; an empty range is the place
    /// where `put` is inserted.
    pub fn replaced(mut self, range: Range<u64>, put: impl Into<Vec<u8>>) -> Edits {
        let is_before =
            |other: &Change| (other.range.start, other.range.end) < (range.start, range.end);
        let at = self.0.partition_point(is_before);
        self.0.insert(at, Change { range, put: Arc::new(put.into()) });
        self
    }

    /// The octets of the topmost insertion.
    pub fn top(&self) -> &[u8] {
        self.0.first().map_or(&[], |first| first.put.as_slice())
    }

    /// The size of the view, in octets, where the message was received with `received` octets.
    pub fn size(&self, received: u64) -> u64 {
        self.pieces(received).map(|piece| piece.size()).sum()
    }

    /// The place from which on the message is as it was received.
    pub fn end(&self) -> u64 {
        self.0.iter().map(|change| change.range.end).max().unwrap_or_default()
    }

    /// Where in the view the octets from `at` to the end of the message stand; none where a change touches them.
    pub fn place_of_rest(&self, at: u64, received: u64) -> Option<u64> {
        let rest = received.checked_sub(at)?;
        (self.end() <= at).then(|| self.size(received) - rest)
    }

    /// The pieces of the view, in order, where the message was received with `received` octets.
    pub fn pieces(&self, received: u64) -> impl Iterator<Item = Piece<'_>> {
        let starts = std::iter::once(0).chain(self.0.iter().map(|change| change.range.end));
        let ends = self.0.iter().map(|change| change.range.start).chain([received]);
        let kept = starts.zip(ends).map(|(start, end)| Piece::Kept(start..end));
        let put =
            self.0.iter().map(|change| Piece::Put(change.put.as_slice())).chain([Piece::Put(&[])]);
        kept.zip(put).flat_map(|(kept, put)| [kept, put]).filter(|piece| piece.size() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::slice::from_ref;

    fn view(edits: &Edits, message: &str) -> String {
        let pieces = edits.pieces(message.len() as u64).map(|piece| match piece {
            Piece::Put(octets) => String::from_utf8(octets.to_vec()).unwrap(),
            Piece::Kept(range) => message[range.start as usize..range.end as usize].to_owned(),
        });
        let view: String = pieces.collect();
        assert_eq!(view.len() as u64, edits.size(message.len() as u64));
        view
    }

    /// A header may be cut in very many places.
    #[test]
    fn many_cuts_are_quick() {
        let cuts: Vec<Range<u64>> = (0..50_000).map(|at| 20 * at..20 * at + 17).collect();
        let edits = Edits::default().on_top("R").without(&cuts);
        assert_eq!(edits.size(1_000_000), 1 + 3 * 50_000);
        assert_eq!(edits.clone().without(&cuts), edits);
    }

    #[test]
    fn views_of_one_message() {
        let queued = Edits::default().on_top("R");
        assert_eq!(view(&queued, "abcdef"), "Rabcdef");
        let copy = queued.clone().without(&[0..1, 2..4]).on_top("P");
        assert_eq!(
            (view(&copy, "abcdef").as_str(), copy.top(), copy.end()),
            ("PRbef", &b"P"[..], 4)
        );
        let completed = queued.replaced(0..3, "ABC");
        assert_eq!(view(&completed, "abcdef"), "RABCdef");
        assert_eq!(
            view(&Edits::default().replaced(3..3, "X").replaced(5..6, ""), "abcdef"),
            "abcXde"
        );
        let edits = Edits::default().replaced(2..4, "xyz").on_top("R");
        assert_eq!(edits.place_of_rest(4, 6), Some(6));
        assert_eq!(edits.place_of_rest(6, 6), Some(8));
        assert_eq!(edits.place_of_rest(3, 6), None);
        assert_eq!(edits.place_of_rest(7, 6), None);
        // Whoever takes out what another change has touched already takes out the rest.
        let touched = Edits::default().replaced(2..4, "X").replaced(5..5, "Y");
        assert_eq!(view(&touched.clone().without(from_ref(&(0..6))), "abcdefg"), "XYg");
        assert_eq!(view(&touched.clone().without(from_ref(&(2..4))), "abcdefg"), "abXeYfg");
        assert_eq!(view(&touched.without(&[3..5, 6..7]), "abcdefg"), "abXYf");
        assert_eq!(view(&Edits::default(), ""), "");
        assert_eq!(view(&Edits::default().on_top("R"), ""), "R");
    }
}
