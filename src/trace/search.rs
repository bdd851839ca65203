//! From a handle to the stories it belongs to. Three passes over the files, each a line at a time: lines
//! that name the handle; messages and transactions that belong together with those; all lines of these.
//!
//! A story is a session and what became of the messages that came by it; of a session with many messages,
//! only those that were asked for. A message without a session, as a notice of ours, is a story by itself.

use super::files::{self, FileName, LineReader, day};
use super::line::TraceLine;
use crate::limits::{STORIES_MAX, STORIES_OCTETS, STORIES_SINCE};
use crate::store::disk::{Disk, Doing, StoreError};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use memchr::memmem::Finder;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// What is looked for: the id of a message or a session, a Message-ID, an address, or the id that a next
/// hop gave a message.
pub struct Handle {
    /// The text without brackets.
    text: String,
    /// The text in ASCII lower case.
    lower: String,
}

/// A question to the trace.
pub struct Search<'a> {
    pub handles: &'a [Handle],
    /// Lines from this moment on. Without it, all there are; for addresses, only those of the last
    /// [`STORIES_SINCE`].
    pub since: Option<Timestamp>,
    pub now: Timestamp,
}

/// The stories that were found.
#[derive(Default)]
pub struct Stories {
    /// Stories, by their first moment.
    pub stories: Vec<Story>,
    /// Whether something was left out: older stories, or later lines of these.
    pub is_cut: bool,
    /// For each handle, whether any line names it.
    pub known: Vec<bool>,
    /// What was found by an id, not only by an address.
    whole: HashSet<Key>,
}

/// One story.
#[derive(Default)]
pub struct Story {
    pub session: Option<String>,
    /// Messages in this story, in their order.
    pub ids: Vec<String>,
    /// Lines, by time.
    pub lines: Vec<TraceLine>,
    /// Whether it was found by an id, not only by an address, which many stories share.
    pub is_whole: bool,
}

/// What a line that names a handle belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Message(String),
    Transaction(String, u32),
    Session(String),
}

/// All that belongs to the stories.
#[derive(Default)]
struct Wanted {
    ids: HashSet<String>,
    transactions: HashSet<(String, u32)>,
    /// Sessions of which all lines are wanted.
    sessions: HashSet<String>,
    /// Sessions of which the lines outside of transactions are wanted.
    around: HashSet<String>,
    /// The session by which each message came.
    session_of: HashMap<String, String>,
}

impl Handle {
    pub fn new(text: &str) -> Handle {
        let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
        let text = inner.unwrap_or(text).to_owned();
        Handle { lower: text.to_ascii_lowercase(), text }
    }

    /// Whether the handle is this address.
    pub fn is(&self, address: &str) -> bool {
        self.text.eq_ignore_ascii_case(address)
    }

    /// Some where a line names the handle: whether only as an address.
    fn is_in(&self, record: &TraceLine) -> Option<IsAddress> {
        let is = |key: &str| record.get(key).is_some_and(|value| value == self.text);
        if is("id") || is("session") || is("notice") {
            return Some(false);
        }
        let in_brackets = |value: &str| Handle::new(value).text == self.text;
        if record.get("message-id").is_some_and(in_brackets) || self.is_word_of_a_host(record) {
            return Some(false);
        }
        (self.text.contains('@') && self.is_address_in(record)).then_some(true)
    }

    fn is_address_in(&self, record: &TraceLine) -> bool {
        let is = |key| record.get(key).is_some_and(|value| value.eq_ignore_ascii_case(&self.text));
        let is_path = |text: &str| {
            let verb = text.get(..5).unwrap_or_default();
            let is_envelope = ["MAIL ", "RCPT "].iter().any(|is| verb.eq_ignore_ascii_case(is));
            is_envelope && text.to_ascii_lowercase().contains(&format!("<{}>", self.lower))
        };
        is("from")
            || is("to")
            || record.get("text").is_some_and(|text| match record.event.as_str() {
                "heard" | "said" => is_path(text),
                "decided" => words(text).any(|word| word.eq_ignore_ascii_case(&self.text)),
                _ => false,
            })
    }

    /// Whether it is a word of a next hop's last reply that may be an id: these have digits.
    fn is_word_of_a_host(&self, record: &TraceLine) -> bool {
        let said = match record.event.as_str() {
            "relayed" => record.get("reply"),
            "deferred" | "bounced" | "expired" => record.get("reason"),
            _ => None,
        };
        let is_id = self.text.len() >= 4 && self.text.bytes().any(|octet| octet.is_ascii_digit());
        is_id && said.is_some_and(|said| words(said).any(|word| word == self.text))
    }
}

/// Up to this many names are looked for before a line is parsed; with more, each line is parsed.
const NEEDLES: usize = 16;

/// Whether a handle was found as an address: then older stories do not count.
type IsAddress = bool;

/// Words of a text, without punctuation around them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_mark = |c: char| ".,;:()[]<>\"'".contains(c);
    let parts = text.split(|c: char| c.is_whitespace() || "=,;".contains(c));
    parts.map(move |word| word.trim_matches(is_mark)).filter(|word| !word.is_empty())
}

/// Finds what the handles belong to. Fails with `NotFound` where there is no trace.
pub fn find(disk: &dyn Disk, dir: &Path, question: &Search<'_>) -> Result<Stories, StoreError> {
    let names = files::list(disk, dir)?;
    let mut found = Stories { known: vec![false; question.handles.len()], ..Stories::default() };
    // A line is never in the file of an earlier day; but the story of a newer line may have begun long ago.
    let first = question.since.map_or(Date::MIN, day);
    let newer: Vec<FileName> = names.iter().copied().filter(|name| name.day >= first).collect();
    let keys = matching(disk, dir, &newer, question, &mut found)?;
    if keys.is_empty() {
        return Ok(found);
    }
    let mut wanted = Wanted::of(keys);
    let needles = wanted.needles();
    each(disk, dir, &names, &needles, |record| wanted.link(record))?;
    let needles = wanted.needles();
    let mut lines = Vec::new();
    let mut room = STORIES_OCTETS;
    each(disk, dir, &names, &needles, |record| {
        if wanted.has(record) {
            match room.checked_sub(record.text.len() + 100) {
                Some(left) => {
                    room = left;
                    lines.push(record.clone());
                }
                None => found.is_cut = true,
            }
        }
    })?;
    found.stories = wanted.stories(lines);
    for story in &mut found.stories {
        story.is_whole = found.whole.iter().any(|key| match key {
            Key::Message(id) => story.ids.contains(id),
            Key::Transaction(session, _) | Key::Session(session) => {
                story.session.as_ref() == Some(session)
            }
        });
    }
    Ok(found)
}

/// The newest keys of lines that name a handle.
fn matching(
    disk: &dyn Disk,
    dir: &Path,
    names: &[FileName],
    question: &Search<'_>,
    found: &mut Stories,
) -> Result<Vec<Key>, StoreError> {
    let recent = SignedDuration::try_from(STORIES_SINCE).unwrap_or(SignedDuration::MAX);
    let recent = question.now.checked_sub(recent).unwrap_or(Timestamp::MIN);
    let (since, since_address) =
        (question.since.unwrap_or(Timestamp::MIN), question.since.unwrap_or(recent));
    let mut seen = HashSet::new();
    let mut keys = Vec::new();
    let needles: Vec<String> = question.handles.iter().map(|it| it.lower.clone()).collect();
    let needles = if needles.iter().all(|it| is_plain(it)) { needles } else { Vec::new() };
    for name in names.iter().rev() {
        let mut of_file = Vec::new();
        each(disk, dir, &[*name], &needles, |record| {
            for (index, handle) in question.handles.iter().enumerate() {
                let Some(is_address) = handle.is_in(record) else { continue };
                let since = if is_address { since_address } else { since };
                if let Some(key) = Key::of(record, handle).filter(|_| record.when >= since) {
                    found.known[index] = true;
                    if !is_address {
                        found.whole.insert(key.clone());
                    }
                    if seen.insert(key.clone()) {
                        of_file.push(key);
                    }
                }
            }
            if of_file.len() > 2 * STORIES_MAX {
                found.is_cut = true;
                of_file.drain(..STORIES_MAX);
            }
        })?;
        keys.extend(of_file.into_iter().rev());
        if keys.len() > STORIES_MAX {
            found.is_cut = true;
            keys.truncate(STORIES_MAX);
            break;
        }
    }
    Ok(keys)
}

/// Calls `call` with each line of these files that has one of the needles, or with each line when there are
/// no needles. Skips a file that was removed meanwhile. Looking for needles first makes it fast, because
/// nearly all lines are about other mail.
fn each(
    disk: &dyn Disk,
    dir: &Path,
    names: &[FileName],
    needles: &[String],
    mut call: impl FnMut(&TraceLine),
) -> Result<(), StoreError> {
    let needles: Vec<Finder<'_>> = needles.iter().map(Finder::new).collect();
    let mut lower = Vec::new();
    for name in names {
        let path = dir.join(name.to_string());
        let mut lines = match LineReader::open(disk, &path) {
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => continue,
            lines => lines?,
        };
        while let Some(line) = lines.read().doing("read", &path)? {
            lower.clear();
            lower.extend_from_slice(line);
            lower.make_ascii_lowercase();
            let is_in = needles.is_empty() || needles.iter().any(|it| it.find(&lower).is_some());
            if let Some(record) = is_in.then(|| TraceLine::parse(line)).flatten() {
                call(&record);
            }
        }
    }
    Ok(())
}

/// Whether a text stands in a line without quotes and escapes.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|octet| octet.is_ascii_graphic() && !b"\"\\".contains(&octet))
}

impl Key {
    fn of(record: &TraceLine, handle: &Handle) -> Option<Key> {
        if record.get("notice") == Some(&handle.text) {
            return Some(Key::Message(handle.text.clone()));
        }
        if record.get("session") == Some(&handle.text) {
            return Some(Key::Session(handle.text.clone()));
        }
        let id = record.get("id").map(|id| Key::Message(id.to_owned()));
        let transaction = || {
            let (session, number) = record.transaction()?;
            Some(Key::Transaction(session.to_owned(), number))
        };
        id.or_else(transaction).or_else(|| Some(Key::Session(record.get("session")?.to_owned())))
    }
}

impl Wanted {
    fn of(keys: Vec<Key>) -> Wanted {
        let mut wanted = Wanted::default();
        for key in keys {
            match key {
                Key::Message(id) => drop(wanted.ids.insert(id)),
                Key::Session(session) => drop(wanted.sessions.insert(session)),
                Key::Transaction(session, number) => {
                    wanted.around.insert(session.clone());
                    wanted.transactions.insert((session, number));
                }
            }
        }
        wanted
    }

    /// Names in lower case of which each wanted line has one; empty when they are too many to look for.
    fn needles(&self) -> Vec<String> {
        let sessions = self.sessions.iter().chain(&self.around);
        let sessions = sessions.chain(self.transactions.iter().map(|(session, _)| session));
        let names: HashSet<String> =
            self.ids.iter().chain(sessions).map(|name| name.to_ascii_lowercase()).collect();
        let is_few = names.len() <= NEEDLES && names.iter().all(|name| is_plain(name));
        if is_few { names.into_iter().collect() } else { Vec::new() }
    }

    /// Learns from a line what belongs together.
    fn link(&mut self, record: &TraceLine) {
        let Some(session) = record.get("session") else { return };
        let transaction =
            record.transaction().map(|(session, number)| (session.to_owned(), number));
        let id = record.get("id");
        let is_wanted = self.sessions.contains(session)
            || id.is_some_and(|id| self.ids.contains(id))
            || transaction.as_ref().is_some_and(|own| self.transactions.contains(own));
        if !is_wanted {
            return;
        }
        self.around.insert(session.to_owned());
        self.transactions.extend(transaction);
        if let Some(id) = id {
            self.session_of.insert(id.to_owned(), session.to_owned());
            self.ids.insert(id.to_owned());
        }
    }

    fn has(&self, record: &TraceLine) -> bool {
        let is_ours = |key| record.get(key).is_some_and(|id| self.ids.contains(id));
        if is_ours("id") || is_ours("notice") {
            return true;
        }
        let Some(session) = record.get("session") else { return false };
        match record.transaction() {
            Some((session, number)) => self.transactions.contains(&(session.to_owned(), number)),
            None => record.get("id").is_none() && self.around.contains(session),
        }
    }

    /// Sorts lines into their stories.
    fn stories(&self, mut lines: Vec<TraceLine>) -> Vec<Story> {
        // A dialog is written when it is over, so the lines are not in the order of time.
        lines.sort_by_key(|record| record.when);
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut stories: Vec<Story> = Vec::new();
        for line in lines {
            // A line that names both a message that was not asked for and its notice belongs to the
            // notice's story.
            let id = line.get("id").filter(|id| self.ids.contains(*id)).or(line.get("notice"));
            let session = line.get("session");
            let session = session.or_else(|| self.session_of.get(id?).map(String::as_str));
            let Some(key) = session.or(id) else { continue };
            let place = *places.entry(key.to_owned()).or_insert_with(|| {
                stories.push(Story { session: session.map(str::to_owned), ..Story::default() });
                stories.len() - 1
            });
            let story = &mut stories[place];
            if let Some(id) = id.filter(|id| !story.ids.iter().any(|own| own == id)) {
                story.ids.push(id.to_owned());
            }
            story.lines.push(line);
        }
        stories
    }
}

#[cfg(test)]
mod tests;
