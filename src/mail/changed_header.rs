//! A header with what filters change in it: fields added, inserted, changed and deleted by their position, as
//! Sendmail and Postfix count it. Pure.
//!
//! The header is a list of fields. Those that stay are places in the message as it was received, so that all
//! changes together become [`Edits`]; only what was put in is held as octets. Each change holds at once: the
//! next one counts what is there then. The server's own Received field is no field that a filter sees, but it
//! has a place in the list, the first one, because positions at which fields are inserted count it.

use super::edits::Edits;
use super::header::{EndedBy, Field, FieldPlaces, Header, HeaderEnd, LineKind};
use crate::limits::{FIELD_NAME_MAX, HEADER_MAX};
use std::fmt;
use std::ops::Range;

/// The header of one message.
#[derive(Clone, Debug)]
pub struct ChangedHeader {
    /// The header as it was received.
    octets: Vec<u8>,
    end: HeaderEnd,
    /// Where the first field began that was received; above it `From ` of an mbox may stand.
    first_at: u64,
    order: Vec<OrderedField>,
    items: Vec<Item>,
    /// The item with the server's results, while there is one.
    results: Option<u32>,
    /// Octets of all fields.
    size: usize,
    is_changed: bool,
}

/// A field in its order.
#[derive(Clone, Copy, Debug)]
struct OrderedField {
    /// Tells most names apart without a look at their octets.
    hash: u32,
    item: u32,
}

#[derive(Clone, Debug)]
enum Item {
    /// The place of the server's own Received.
    Received,
    Kept(KeptField),
    Put(Box<NewField>),
}

/// Where a field lies in the message as received.
#[derive(Clone, Copy, Debug)]
struct KeptField {
    at: u32,
    name_end: u32,
    value_at: u32,
    end: u32,
}

/// A field that is put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewField {
    lines: Vec<u8>,
    name: usize,
}

/// Why a field cannot be put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadNewField {
    Name,
    /// The header would be longer than it may be.
    Room,
}

impl fmt::Display for BadNewField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadNewField::Name => "no name of a field",
            BadNewField::Room => "no room in the header",
        })
    }
}

impl NewField {
    /// A field as a filter gives it. Its value may be folded by LF or CR LF; a line of it that would begin a
    /// field of its own is folded, an empty one left out. `has_space`: the value begins with the space that
    /// stands behind the colon.
    pub fn new(name: &[u8], value: &[u8], has_space: bool) -> Result<NewField, BadNewField> {
        if !is_name(name) {
            return Err(BadNewField::Name);
        }
        let mut lines = name.to_vec();
        lines.extend_from_slice(if has_space { b":" } else { b": " });
        let mut is_first = true;
        for line in value.split(|octet| *octet == b'\n') {
            let is_blank = line.iter().all(u8::is_ascii_whitespace);
            if !is_first {
                if is_blank {
                    continue;
                }
                lines.push(b'\n');
                if !matches!(line.first(), Some(b' ' | b'\t')) {
                    lines.push(b'\t');
                }
            }
            lines.extend(line.iter().filter(|octet| !matches!(octet, b'\r' | 0)));
            is_first = false;
        }
        lines.push(b'\n');
        Ok(NewField { lines, name: name.len() })
    }

    fn name(&self) -> &[u8] {
        &self.lines[..self.name]
    }

    /// Behind the colon, without the last line's end.
    fn value(&self) -> &[u8] {
        without_end(&self.lines[self.name + 1..])
    }
}

/// Whether a field may have this name (RFC 5322 §3.6.8).
pub fn is_name(name: &[u8]) -> bool {
    let line = [name, b":"].concat();
    let is_field = LineKind::of(&line, true, true);
    name.len() < FIELD_NAME_MAX
        && is_field == Some(LineKind::Field { name: name.len(), value_at: line.len() })
}

impl ChangedHeader {
    /// The header that `octets` are, all up to its end. `results`: the server's own fields, to be put on top;
    /// `without`: where fields lie that are left out.
    pub fn new(
        octets: Vec<u8>,
        places: &FieldPlaces,
        end: HeaderEnd,
        results: &str,
        without: &[Range<u64>],
    ) -> ChangedHeader {
        let first_at = places.fields(&octets).next().map_or(end.at, |field| field.at as u64);
        let mut header = ChangedHeader {
            octets: Vec::new(),
            end,
            first_at,
            order: Vec::new(),
            items: Vec::new(),
            results: None,
            size: 0,
            is_changed: false,
        };
        header.order.push(OrderedField { hash: 0, item: 0 });
        header.items.push(Item::Received);
        for field in Header::read(results.as_bytes()).fields {
            let new = NewField { lines: field.lines.to_vec(), name: field.name.len() };
            let place = header.put(new);
            header.results = Some(place.item);
            header.order.push(place);
        }
        let mut without = without.iter().peekable();
        for field in places.fields(&octets) {
            let kept = KeptField::of(&field);
            while without.next_if(|range| range.end <= u64::from(kept.at)).is_some() {}
            if without.peek().is_none_or(|range| u64::from(kept.end) <= range.start) {
                header.size += field.lines.len();
                let item = header.push(Item::Kept(kept));
                header.order.push(OrderedField { hash: hash(field.name), item });
            }
        }
        header.octets = octets;
        header
    }

    /// How many octets of memory it takes, about.
    pub fn memory(&self) -> usize {
        self.octets.len()
            + self.items.len() * size_of::<Item>()
            + self.order.len() * size_of::<OrderedField>()
    }

    /// The fields that a filter sees, in order: the name, and what is behind the colon without the last line's
    /// end.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.order.iter().filter_map(|place| match &self.items[place.item as usize] {
            Item::Received => None,
            Item::Kept(field) => {
                let cut = |from: u32, to: u32| &self.octets[from as usize..to as usize];
                let value = without_end(cut(field.value_at, field.end));
                Some((cut(field.at, field.name_end), value))
            }
            Item::Put(field) => Some((field.name(), field.value())),
        })
    }

    /// The fields that filters put in, and that are still there.
    pub fn put_fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let is_ours = |place: &&OrderedField| self.results == Some(place.item);
        let places = self.order.iter().filter(move |place| !is_ours(place));
        places.filter_map(|place| match &self.items[place.item as usize] {
            Item::Put(field) => Some((field.name(), field.value())),
            Item::Received | Item::Kept(_) => None,
        })
    }

    /// Whether a filter has changed anything.
    pub fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// Puts a field at the end.
    pub fn add(&mut self, field: NewField) -> Result<(), BadNewField> {
        self.insert(u32::MAX, field)
    }

    /// Puts a field before the one at this place, counted from 0 with our Received as the first; at the end where
    /// there are fewer.
    pub fn insert(&mut self, at: u32, field: NewField) -> Result<(), BadNewField> {
        self.reserve(0, &field)?;
        let at = self.order.len().min(at as usize);
        let place = self.put(field);
        self.order.insert(at, place);
        self.is_changed = true;
        Ok(())
    }

    /// Puts a field in place of the one of its name at this place, counted from 1 (0 is the first as well);
    /// at the end where there are fewer.
    pub fn change(&mut self, at: u32, field: NewField) -> Result<(), BadNewField> {
        let Some(index) = self.find(at, field.name()) else { return self.add(field) };
        let old = self.order[index].item;
        let before = self.lines(old).len();
        self.reserve(before, &field)?;
        self.size -= before;
        let place = self.put(field);
        if self.results == Some(old) {
            self.results = None;
        }
        self.order[index] = place;
        self.is_changed = true;
        Ok(())
    }

    /// Deletes the field of this name at this place, counted from 1 (0 is the first as well). Nothing happens
    /// where there are fewer.
    pub fn delete(&mut self, at: u32, name: &[u8]) {
        if let Some(index) = self.find(at, name) {
            let item = self.order.remove(index).item;
            self.size -= self.lines(item).len();
            if self.results == Some(item) {
                self.results = None;
            }
            self.is_changed = true;
        }
    }

    /// The header as changes of the message as it was received. `received`: our own fields that no filter sees.
    pub fn edits(&self, received: &str) -> Edits {
        let (mut edits, mut cursor, mut put) = (Edits::default(), 0, Vec::new());
        for item in self.written() {
            match &self.items[item as usize] {
                Item::Received => put.extend_from_slice(received.as_bytes()),
                Item::Put(field) => put.extend_from_slice(&field.lines),
                Item::Kept(field) => {
                    edits = self.up_to(edits, &mut cursor, u64::from(field.at), &mut put);
                    cursor = u64::from(field.end);
                }
            }
        }
        let runs_on = match self.end.by {
            EndedBy::Fold => !put.is_empty(), // into the last field
            EndedBy::Text => self.is_changed, // for readers to whom any line is one of the header
            EndedBy::EmptyLine | EndedBy::Message | EndedBy::Bound => false,
        };
        if runs_on {
            put.push(b'\n');
        }
        self.up_to(edits, &mut cursor, self.end.at, &mut put)
    }

    /// Ends the octets from `cursor` on at `at`, with `put` there.
    fn up_to(&self, mut edits: Edits, cursor: &mut u64, at: u64, put: &mut Vec<u8>) -> Edits {
        let mut put = std::mem::take(put);
        if *cursor == 0 && self.first_at > 0 {
            // Above `From ` of an mbox.
            edits = edits.replaced(0..0, std::mem::take(&mut put));
            *cursor = self.first_at;
        }
        // A message may end inside of a field.
        let is_torn = *cursor > 0 && self.octets.get(*cursor as usize - 1) != Some(&b'\n');
        if is_torn && !put.is_empty() {
            put.insert(0, b'\n');
        }
        match put.is_empty() && *cursor >= at {
            true => edits,
            false => edits.replaced(*cursor..at.max(*cursor), put),
        }
    }

    /// The whole header with the empty line below it, for a message whose body is another, and where our Received
    /// belongs in it.
    pub fn to_octets(&self) -> (Vec<u8>, u64) {
        let (mut octets, mut received_at) = (Vec::with_capacity(self.size + 1), 0);
        octets.extend_from_slice(&self.octets[..self.first_at.min(self.end.at) as usize]);
        for item in self.written() {
            match &self.items[item as usize] {
                Item::Received => received_at = octets.len() as u64,
                Item::Put(_) | Item::Kept(_) => octets.extend_from_slice(self.lines(item)),
            }
            if !octets.is_empty() && !octets.ends_with(b"\n") {
                octets.push(b'\n');
            }
        }
        octets.push(b'\n');
        (octets, received_at)
    }

    /// Items in the order in which they are written: our Received stands below our results.
    fn written(&self) -> impl Iterator<Item = u32> {
        let last = self.results;
        let first = self.order.iter().map(|place| place.item);
        first.filter(move |item| *item != 0 || last.is_none()).flat_map(move |item| {
            let received = (last == Some(item)).then_some(0);
            [Some(item), received].into_iter().flatten()
        })
    }

    fn lines(&self, item: u32) -> &[u8] {
        match &self.items[item as usize] {
            Item::Received => &[],
            Item::Kept(field) => &self.octets[field.at as usize..field.end as usize],
            Item::Put(field) => &field.lines,
        }
    }

    /// Fails where the header would become too long by a field in place of `before` octets.
    fn reserve(&self, before: usize, field: &NewField) -> Result<(), BadNewField> {
        match self.size - before + field.lines.len() > HEADER_MAX {
            true => Err(BadNewField::Room),
            false => Ok(()),
        }
    }

    /// Notes a new field, which gets its place in the order then.
    fn put(&mut self, field: NewField) -> OrderedField {
        self.size += field.lines.len();
        let hash = hash(field.name());
        OrderedField { hash, item: self.push(Item::Put(Box::new(field))) }
    }

    /// Far fewer items than a number of 32 bits counts: each of them is octets of a bounded header.
    fn push(&mut self, item: Item) -> u32 {
        self.items.push(item);
        u32::try_from(self.items.len() - 1).unwrap_or(u32::MAX)
    }

    /// The field of a name, counted from 1.
    fn find(&self, at: u32, name: &[u8]) -> Option<usize> {
        let wanted = hash(name);
        let is_named = |place: &OrderedField| {
            place.hash == wanted
                && match &self.items[place.item as usize] {
                    Item::Received => false,
                    Item::Kept(field) => self.octets[field.at as usize..field.name_end as usize]
                        .eq_ignore_ascii_case(name),
                    Item::Put(field) => field.name().eq_ignore_ascii_case(name),
                }
        };
        let found = self.order.iter().enumerate().filter(|(_, place)| is_named(place));
        found.map(|(index, _)| index).nth(at.max(1) as usize - 1)
    }
}

impl KeptField {
    fn of(field: &Field<'_>) -> KeptField {
        let end = field.at + field.lines.len();
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        KeptField {
            at: place(field.at),
            name_end: place(field.at + field.name.len()),
            value_at: place(end - field.value.len()),
            end: place(end),
        }
    }
}

fn without_end(value: &[u8]) -> &[u8] {
    value.strip_suffix(b"\n").unwrap_or(value)
}

/// FNV-1a of a name in lower case. A filter that finds names of one hash makes its own changes slow.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, octet| {
        (hash ^ u32::from(octet.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests;
