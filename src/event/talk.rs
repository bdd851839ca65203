//! The transcript of a dialog with a peer: word for word, except secrets and the message itself. The
//! session gathers it, and sends it to the trace after each step.
//!
//! Bounded: past [`TALK_MAX`] the middle is left out, and counted. Nothing is gathered without a trace. The
//! caller masks secrets before it notes a turn.

use super::line::Line;
use super::sink::{self, TraceRecord};
use crate::limits::{TALK_MAX, TURN_COST, TURN_MAX};
use jiff::Timestamp;
use std::collections::VecDeque;
use std::fmt::Write as _;

/// How many turns most transactions have, and how many octets their texts.
const TURNS_USUAL: usize = 14;
const TEXTS_USUAL: usize = 640;

/// One turn of a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Said by the peer.
    Heard,
    /// Said by us; a reply has its line ends.
    Said,
    /// The message; the text is its number of octets on the wire.
    Message,
    /// A decision of ours: where a recipient's mail goes.
    Decided,
    /// The Message-ID of the message.
    MessageId,
    /// A connection is made to this address.
    Connecting,
    /// The connection goes on by TLS.
    Secured,
    /// The connection failed, and why.
    Failed,
}

/// What a dialog belongs to; unknown parts are empty or 0.
#[derive(Clone, Debug, Default)]
pub struct About {
    pub session: String,
    /// The transaction, counted from 1 in its session: it joins lines without an id.
    pub transaction: u32,
    pub id: String,
    /// The next hop.
    pub host: String,
}

impl About {
    /// Whether it is a transaction, ours or a next hop's.
    fn is_of_mail(&self) -> bool {
        self.transaction > 0 || !self.id.is_empty()
    }
}

/// A dialog, or a part of one.
#[derive(Debug, Default)]
pub struct Talk {
    pub about: About,
    is_on: bool,
    /// The beginning, up to half of the bound.
    first: TurnTexts,
    /// The end, up to the other half.
    last: VecDeque<(Timestamp, Turn, String)>,
    octets: [usize; 2],
    left_out: usize,
}

/// The time of a turn, what it is, and where its text ends in `texts`.
type Mark = (Timestamp, Turn, usize);

/// Turns in two allocations, however many there are: most are allocated by one thread and freed by another,
/// which costs more than writing them.
#[derive(Debug, Default)]
struct TurnTexts {
    texts: String,
    marks: Vec<Mark>,
}

impl Talk {
    /// An empty transcript; stays empty where there is no trace.
    pub fn new() -> Talk {
        Talk { is_on: sink::current().is_some(), ..Talk::default() }
    }

    /// Whether turns are kept at all, to save making their text.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    pub fn is_empty(&self) -> bool {
        self.first.marks.is_empty()
    }

    /// Octets when it is written, about.
    pub fn size(&self) -> usize {
        self.octets.iter().sum()
    }

    /// Octets in memory, about.
    pub fn memory(&self) -> usize {
        let TurnTexts { texts, marks } = &self.first;
        self.octets[1] + texts.capacity() + marks.capacity() * size_of::<Mark>()
    }

    /// Adds a turn; keeps a bounded part of its text.
    pub fn note(&mut self, turn: Turn, text: &str) {
        if !self.is_on {
            return;
        }
        let now = Timestamp::now();
        match text.len() > TURN_MAX {
            true => {
                let kept = &text[..text.floor_char_boundary(TURN_MAX)];
                self.add(now, turn, &format!("{kept}..."));
            }
            false => self.add(now, turn, text),
        }
    }

    /// Adds a later part of the dialog.
    pub fn append(&mut self, later: Talk) {
        self.left_out += later.left_out;
        later.first.iter().for_each(|(when, turn, text)| self.add(when, turn, text));
        later.last.iter().for_each(|(when, turn, text)| self.add(*when, *turn, text));
    }

    /// Takes all turns; the next part is gathered for the same dialog.
    pub fn take(&mut self) -> Talk {
        let next = Talk { about: self.about.clone(), is_on: self.is_on, ..Talk::default() };
        std::mem::replace(self, next)
    }

    fn add(&mut self, when: Timestamp, turn: Turn, text: &str) {
        let octets = text.len() + TURN_COST;
        if self.last.is_empty() && self.octets[0] + octets <= TALK_MAX / 2 {
            self.octets[0] += octets;
            if self.first.marks.is_empty() && self.about.is_of_mail() {
                self.first.texts.reserve(TEXTS_USUAL);
                self.first.marks.reserve(TURNS_USUAL);
            }
            return self.first.push(when, turn, text);
        }
        self.octets[1] += octets;
        self.last.push_back((when, turn, text.to_owned()));
        while self.octets[1] > TALK_MAX / 2 {
            let Some((_, _, text)) = self.last.pop_front() else { return };
            self.octets[1] -= text.len() + TURN_COST;
            self.left_out += 1;
        }
    }

    /// Writes the lines of the transcript, each with its LF.
    pub fn write_to(&self, out: &mut String) {
        let About { session, transaction, id, host } = &self.about;
        let mut tags = Line::new("");
        for (key, value) in [("session", session), ("id", id), ("host", host)] {
            if !value.is_empty() {
                tags = tags.add(key, value);
            }
        }
        if *transaction > 0 {
            tags = tags.add("transaction", transaction);
        }
        let tags = tags.finish();
        let mut write = |when: Timestamp, event: &str, key: &str, text: &str| {
            // Writing to a String cannot fail.
            let _ = write!(out, "{when:.6} {event}{tags} {key}=");
            super::line::push_value(out, text);
            out.push('\n');
        };
        for (when, turn, text) in self.first.iter() {
            write(when, turn.event(), turn.key(), text);
        }
        if let Some((when, ..)) = self.last.front().filter(|_| self.left_out > 0) {
            write(*when, "left-out", "turns", &self.left_out.to_string());
        }
        for (when, turn, text) in &self.last {
            write(*when, turn.event(), turn.key(), text);
        }
    }
}

impl TurnTexts {
    fn push(&mut self, when: Timestamp, turn: Turn, text: &str) {
        self.texts.push_str(text);
        self.marks.push((when, turn, self.texts.len()));
    }

    fn iter(&self) -> impl Iterator<Item = (Timestamp, Turn, &str)> {
        let mut begin = 0;
        self.marks.iter().map(move |&(when, turn, end)| {
            let text = &self.texts[begin..end];
            begin = end;
            (when, turn, text)
        })
    }
}

impl Turn {
    fn event(self) -> &'static str {
        match self {
            Turn::Heard => "heard",
            Turn::Said => "said",
            Turn::Message => "message",
            Turn::Decided => "decided",
            Turn::MessageId => "header",
            Turn::Connecting => "connecting",
            Turn::Secured => "secured",
            Turn::Failed => "failed",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Turn::Heard | Turn::Said | Turn::Decided => "text",
            Turn::Message => "octets",
            Turn::MessageId => "message-id",
            Turn::Connecting => "address",
            Turn::Secured => "tls",
            Turn::Failed => "reason",
        }
    }
}

/// Sends a transcript to the trace, unless it is empty. Never waits.
pub fn tell_talk(talk: Talk) {
    if let Some(sink) = sink::current().filter(|_| !talk.is_empty()) {
        sink.offer(TraceRecord::Talk(Box::new(talk)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on() -> Talk {
        let about = About { session: "s1".to_owned(), transaction: 2, ..About::default() };
        Talk { is_on: true, about, ..Talk::default() }
    }

    fn lines(talk: &Talk) -> Vec<String> {
        let mut out = String::new();
        talk.write_to(&mut out);
        let without_time = |line: &str| line.split_once(' ').unwrap().1.to_owned();
        out.lines().map(without_time).collect()
    }

    #[test]
    fn one_line_a_turn_whatever_was_said() {
        let mut talk = on();
        talk.note(Turn::Heard, "EHLO a\r\n2026-11-23T00:00:00Z accepted id=m1 \u{202e}");
        talk.note(Turn::Said, "250-mx.test\n250 HELP");
        assert_eq!(
            lines(&talk),
            [
                "heard session=s1 transaction=2 \
                 text=\"EHLO a\\u{d}\\u{a}2026-11-23T00:00:00Z accepted id=m1 \\u{202e}\"",
                "said session=s1 transaction=2 text=\"250-mx.test\\u{a}250 HELP\"",
            ]
        );
        assert!(lines(&talk.take()).len() == 2 && talk.is_empty());
    }

    #[test]
    fn the_middle_of_a_long_one_is_left_out() {
        let mut talk = on();
        (0..10_000).for_each(|n| talk.note(Turn::Heard, &format!("NOOP {n}")));
        talk.note(Turn::Heard, &"x".repeat(100_000));
        assert!(talk.size() <= TALK_MAX);
        let lines = lines(&talk);
        assert!(lines[0].ends_with("\"NOOP 0\"") && lines[1].ends_with("\"NOOP 1\""));
        let at = lines.iter().position(|line| line.starts_with("left-out ")).unwrap();
        let count: usize = lines[at].rsplit_once('=').unwrap().1.parse().unwrap();
        assert_eq!(lines.len() - 1 + count, 10_001);
        assert!(lines[lines.len() - 2].ends_with("\"NOOP 9999\""));
        assert!(lines[lines.len() - 1].len() < TURN_MAX + 100);
    }

    #[test]
    fn nothing_is_gathered_for_nobody() {
        let mut talk = Talk::default();
        talk.note(Turn::Heard, "QUIT");
        assert!(talk.is_empty() && talk.size() == 0);
    }
}
