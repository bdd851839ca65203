//! What became of a message, on one line. Shown when an address was asked for, which may have many
//! messages; the id leads to the whole story.

use super::line::TraceLine;
use super::search::{Handle, Story};
use crate::event::line::push_value;
use crate::mail::visible::escape;
use jiff::Timestamp;
use std::collections::HashMap;

/// How many recipients a line names.
const NAMED: usize = 3;

/// A message, or a transaction that brought none.
#[derive(Debug, PartialEq, Eq)]
pub struct Digest {
    /// When the story first speaks of it.
    pub when: Timestamp,
    /// The id of the message; where none was accepted, the session's.
    pub id: String,
    /// What became of it last: `delivered`, `refused`. Where it was for an address that was asked for, only
    /// what became of that copy.
    pub fate: String,
    /// Empty where the story does not say it.
    pub from: String,
    pub to: String,
    /// Why it waits, was refused or returned; otherwise empty.
    pub reason: String,
}

/// The digests of these stories, by time.
pub fn digests<'a>(
    stories: impl IntoIterator<Item = &'a Story>,
    handles: &[Handle],
) -> Vec<Digest> {
    let mut all: Vec<Digest> =
        stories.into_iter().flat_map(|story| of_story(story, handles)).collect();
    all.sort_by_key(|digest| digest.when);
    all
}

/// All digests of a story, in their order.
fn of_story(story: &Story, handles: &[Handle]) -> Vec<Digest> {
    let mut of_transaction: HashMap<u32, &str> = HashMap::new();
    for line in &story.lines {
        if let (Some(id), Some((_, number))) = (line.get("id"), line.transaction()) {
            of_transaction.insert(number, id);
        }
    }
    let session = story.session.as_deref().unwrap_or_default();
    let mut places: HashMap<(&str, u32), usize> = HashMap::new();
    let mut parts: Vec<DigestPart> = Vec::new();
    let (mut rest, mut has_rest) = (DigestPart::new(session, Timestamp::MIN), false);
    for line in &story.lines {
        let own = line.get("id").filter(|id| story.ids.iter().any(|known| known == id));
        let id = own.or(line.get("notice"));
        let number = line.transaction().map(|(_, number)| number);
        let key = match (id, number) {
            (Some(id), _) => (id, 0),
            (None, Some(number)) => match of_transaction.get(&number) {
                Some(id) => (*id, 0),
                None => (session, number),
            },
            (None, None) => {
                rest.when = if has_rest { rest.when } else { line.when };
                has_rest = true;
                rest.add(line);
                continue;
            }
        };
        let place = *places.entry(key).or_insert_with(|| {
            parts.push(DigestPart::new(key.0, line.when));
            parts.len() - 1
        });
        parts[place].add(line);
    }
    // A session without a transaction, for example with a failed login only.
    if parts.is_empty() && has_rest {
        parts.push(rest);
    }
    // Only our own notices come by no session.
    if story.session.is_none() {
        parts.iter_mut().for_each(|part| part.from = "<>".to_owned());
    }
    parts.into_iter().map(|part| part.digest(handles)).collect()
}

/// A digest while its lines are read.
struct DigestPart {
    id: String,
    when: Timestamp,
    from: String,
    is_taken: bool,
    /// Recipients that were accepted.
    asked: Vec<String>,
    /// The recipient whose RCPT is not answered yet.
    open: Option<String>,
    /// A refusal of the whole transaction.
    refusal: Option<String>,
    ends: Vec<DigestEnd>,
    /// What became of the whole message instead of an end of its recipients, and why.
    instead: Option<(&'static str, String)>,
}

/// What became of a recipient last.
struct DigestEnd {
    to: String,
    fate: String,
    reason: String,
}

impl DigestPart {
    fn new(id: &str, when: Timestamp) -> DigestPart {
        let (id, is_taken, refusal) = (id.to_owned(), false, None);
        let (from, asked, open, ends, instead) = Default::default();
        DigestPart { id, when, from, is_taken, asked, open, refusal, ends, instead }
    }

    fn add(&mut self, line: &TraceLine) {
        let get = |key| line.get(key).unwrap_or_default();
        let text = get("text");
        match line.event.as_str() {
            "accepted" | "submitted" => {
                (self.is_taken, self.from, self.refusal) = (true, get("from").to_owned(), None);
            }
            fate @ ("delivered" | "relayed") => self.end(get("to"), fate, ""),
            fate @ ("deferred" | "bounced" | "expired" | "failed") if line.get("to").is_some() => {
                self.end(get("to"), fate, get("reason"));
            }
            "held" => {
                self.instead = Some(("held", format!("{}: {}", get("filter"), get("reason"))));
            }
            "filtered" if get("action") == "discard" => {
                self.instead = Some(("discarded", format!("{}: {}", get("filter"), get("what"))));
            }
            "removed" => self.ends.iter_mut().for_each(|end| end.fate = "removed".to_owned()),
            "rejected" => self.refusal = Some(get("reply").to_owned()),
            "message" => self.open = None,
            "heard" if line.get("host").is_none() => {
                let path = path(text).unwrap_or_default().to_owned();
                let verb = text.get(..5).unwrap_or_default();
                self.open = None;
                if verb.eq_ignore_ascii_case("MAIL ") && !self.is_taken {
                    self.from = if path.is_empty() { "<>".to_owned() } else { path };
                } else if verb.eq_ignore_ascii_case("RCPT ") {
                    self.open = Some(path);
                }
            }
            "said" if line.get("host").is_none() => {
                let first = text.lines().next().unwrap_or_default();
                match (self.open.take(), first.starts_with(['4', '5'])) {
                    (Some(to), true) => self.end(&to, "refused", first),
                    (Some(to), false) => self.asked.push(to),
                    (None, true) if !self.is_taken => self.refusal = Some(first.to_owned()),
                    (None, _) => {}
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, to: &str, fate: &str, reason: &str) {
        let (fate, reason) = (fate.to_owned(), reason.to_owned());
        match self.ends.iter_mut().find(|end| end.to == to) {
            Some(end) => (end.fate, end.reason) = (fate, reason),
            None => self.ends.push(DigestEnd { to: to.to_owned(), fate, reason }),
        }
    }

    fn digest(mut self, handles: &[Handle]) -> Digest {
        if let Some(reason) = self.refusal.take().filter(|_| !self.is_taken) {
            let asked = std::mem::take(&mut self.asked);
            asked.iter().for_each(|to| self.end(to, "refused", &reason));
            if self.ends.is_empty() {
                self.end("", "refused", &reason);
            }
        }
        let is_asked = |end: &&DigestEnd| handles.iter().any(|handle| handle.is(&end.to));
        let own: Vec<&DigestEnd> = self.ends.iter().filter(is_asked).collect();
        let shown = if own.is_empty() { self.ends.iter().collect() } else { own };
        let mut fates: Vec<(&str, usize)> = Vec::new();
        for end in &shown {
            match fates.iter_mut().find(|(fate, _)| *fate == end.fate) {
                Some((_, count)) => *count += 1,
                None => fates.push((&end.fate, 1)),
            }
        }
        let fate = match &fates[..] {
            [] if self.is_taken => {
                self.instead.as_ref().map_or("accepted", |(fate, _)| fate).to_owned()
            }
            [] => "not brought".to_owned(),
            [(fate, _)] => (*fate).to_owned(),
            fates => {
                let each = fates.iter().map(|(fate, count)| format!("{count} {fate}"));
                each.collect::<Vec<_>>().join(", ")
            }
        };
        let to: Vec<&str> = match shown.is_empty() {
            true => self.asked.iter().map(String::as_str).collect(),
            false => shown.iter().map(|end| end.to.as_str()).collect(),
        };
        let mut names = to.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
        if let Some(more @ 1..) = to.len().checked_sub(NAMED) {
            names.push_str(&format!(" and {more} more"));
        }
        let reason = shown.iter().rev().find(|end| !end.reason.is_empty());
        let instead = self.instead.filter(|_| shown.is_empty()).map(|(_, reason)| reason);
        let reason = reason.map(|end| end.reason.clone()).or(instead).unwrap_or_default();
        Digest { when: self.when, id: self.id, fate, from: self.from, to: names, reason }
    }
}

/// What stands in the brackets of MAIL or RCPT.
fn path(command: &str) -> Option<&str> {
    let (_, rest) = command.split_once('<')?;
    rest.rsplit_once('>').map(|(path, _)| path)
}

impl Digest {
    /// The digest as one line, with its line end.
    pub fn line(&self) -> String {
        let mut line = format!("{:.3} {} {}", self.when, self.id, self.fate);
        for (key, value) in [("from", &self.from), ("to", &self.to), ("reason", &self.reason)] {
            if !value.is_empty() {
                line.push_str(&format!(" {key}="));
                push_value(&mut line, value);
            }
        }
        format!("{}\n", escape(&line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story(ids: &[&str], lines: &[&str]) -> Story {
        let record = |(second, text): (usize, &&str)| {
            let line = format!("2026-11-23T14:00:{second:02}.000000Z {text}");
            TraceLine::parse(line.as_bytes()).unwrap()
        };
        Story {
            session: Some("s1".to_owned()),
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            lines: lines.iter().enumerate().map(record).collect(),
            is_whole: false,
        }
    }

    fn told(story: &Story, handle: &str) -> Vec<String> {
        let digests = digests([story], &[Handle::new(handle)]);
        digests.iter().map(|digest| digest.line()[17..].trim_end().to_owned()).collect()
    }

    #[test]
    fn one_line_for_each_message_of_a_session() {
        let story = story(
            &["m1", "m2"],
            &[
                "connected session=s1 client=127.0.0.1 service=smtp",
                "heard session=s1 transaction=1 text=\"MAIL FROM:<zoe@far.test>\"",
                "heard session=s1 transaction=1 text=\"RCPT TO:<no@mx.test>\"",
                "said session=s1 transaction=1 text=\"550 5.1.1 nobody [s1]\"",
                "heard session=s1 transaction=1 text=\"RCPT TO:<ann@mx.test>\"",
                "said session=s1 transaction=1 text=\"250 2.1.5 ok\"",
                "message session=s1 id=m1 transaction=1 octets=10",
                "accepted id=m1 session=s1 from=zoe@far.test size=3 recipients=1",
                "delivered id=m1 to=ann@mx.test maildir=x",
                "deferred id=m1 to=eve@far.test reason=\"450 later\"",
                "heard session=s1 transaction=2 text=\"MAIL FROM:<>\"",
                "accepted id=m2 session=s1 transaction=2 from=<> size=3 recipients=1",
                "relayed id=m2 to=bob@far.test reply=\"250 ok\"",
                "bounced id=m1 to=eve@far.test reason=\"550 \\u{1b}no\"",
                "heard session=s1 transaction=3 text=\"MAIL FROM:<zoe@far.test>\"",
                "heard session=s1 transaction=3 text=\"RCPT TO:<ann@mx.test>\"",
                "said session=s1 transaction=3 text=\"250 2.1.5 ok\"",
                "message session=s1 transaction=3 octets=10",
                "said session=s1 transaction=3 text=\"554 5.4.6 loop [s1]\"",
            ],
        );
        let second = "10.000Z m2 relayed from=<> to=bob@far.test";
        let third =
            "14.000Z s1 refused from=zoe@far.test to=ann@mx.test reason=\"554 5.4.6 loop [s1]\"";
        for (handle, first) in [
            ("Ann@mx.test", "01.000Z m1 delivered from=zoe@far.test to=ann@mx.test"),
            (
                "eve@far.test",
                "01.000Z m1 bounced from=zoe@far.test to=eve@far.test reason=\"550 \\u{1b}no\"",
            ),
            (
                "no@mx.test",
                "01.000Z m1 refused from=zoe@far.test to=no@mx.test reason=\"550 5.1.1 nobody [s1]\"",
            ),
            (
                "zoe@far.test",
                "01.000Z m1 1 refused, 1 delivered, 1 bounced from=zoe@far.test to=\"no@mx.test, \
                 ann@mx.test, eve@far.test\" reason=\"550 \\u{1b}no\"",
            ),
        ] {
            assert_eq!(told(&story, handle), [first, second, third], "{handle}");
        }
    }

    #[test]
    fn what_brought_no_message() {
        let lines = [
            "connected session=s1 client=127.0.0.1 service=submission",
            "rejected session=s1 user=ann@mx.test reply=\"535 5.7.8 no\"",
            "disconnected session=s1 reason=quit",
        ];
        assert_eq!(
            told(&story(&[], &lines), "ann@mx.test"),
            ["00.000Z s1 refused reason=\"535 5.7.8 no\""]
        );
        assert!(digests([&story(&[], &[])], &[]).is_empty());
    }
}
