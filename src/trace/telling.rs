//! How a story is shown: to people as lines, with dialogs as `C:` and `S:`; to scripts as one JSON object a
//! line.

use crate::event::line::push_value;
use crate::mail::visible::escape;
use crate::trace::line::TraceLine;
use crate::trace::search::Story;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::fmt::Write as _;

/// How many ids a heading names.
const NAMED: usize = 5;

/// Keys whose values are numbers.
const NUMBERS: [&str; 9] =
    ["octets", "size", "recipients", "transaction", "turns", "uid", "records", "status", "ms"];

/// Tells one story to people.
pub struct Telling<'a> {
    text: String,
    /// The id of the only message of the story: it stands in the heading and not on each line.
    only: Option<String>,
    /// The host of the dialog that the last lines belong to, and the message it is about.
    host: Option<(&'a str, &'a str)>,
}

impl<'a> Telling<'a> {
    pub fn new(story: &Story) -> Telling<'a> {
        let ids: Vec<&str> = story.ids.iter().take(NAMED).map(String::as_str).collect();
        let more = story.ids.len().saturating_sub(NAMED);
        let mut text = match ids.is_empty() {
            true => "no message was taken".to_owned(),
            false => format!("message {}", ids.join(" ")),
        };
        if more > 0 {
            // Writing to a String cannot fail.
            let _ = write!(text, " and {more} more");
        }
        if let Some(session) = &story.session {
            let _ = write!(text, ", session {session}");
        }
        let text = format!("{}\n", escape(&text));
        let only = Some(&story.ids).filter(|ids| ids.len() == 1).map(|ids| ids[0].clone());
        Telling { text, only, host: None }
    }

    pub fn tell(mut self, records: impl Iterator<Item = &'a TraceLine>) -> String {
        records.for_each(|record| self.add(record));
        self.text
    }

    fn add(&mut self, record: &'a TraceLine) {
        let time = format!("{:.3}", record.when);
        let dialog = dialog(record);
        let host = record.get("host").filter(|_| dialog.is_some());
        let host = host.map(|host| (host, record.get("id").unwrap_or_default()));
        if let Some((name, id)) = host.filter(|_| host != self.host) {
            let about = match self.only {
                Some(_) => String::new(),
                None => format!(" with {id}"),
            };
            let _ = writeln!(self.text, "{time} attempt at {}{about}", escape(name));
        }
        self.host = host;
        let indent = if host.is_some() { "    " } else { "  " };
        let lines = match dialog {
            Some(lines) => lines,
            None => vec![sentence(record, self.only.as_deref())],
        };
        let mark = lines[0].get(..3).filter(|mark| matches!(*mark, "C: " | "S: "));
        for (index, line) in lines.iter().enumerate() {
            let line = escape(line);
            let _ = match (index, record.event.as_str()) {
                (0, _) => writeln!(self.text, "{time}{indent}{line}"),
                _ => writeln!(
                    self.text,
                    "{:1$}{indent}{2}{line}",
                    "",
                    time.len(),
                    mark.unwrap_or("")
                ),
            };
        }
    }
}

/// A record outside of a story: one line, or as many as a reply has.
pub fn one_line(record: &TraceLine) -> String {
    let key = |key| record.get(key).map(|value| escape(value).into_owned());
    let about = key("id").or_else(|| key("session")).unwrap_or_default();
    let host = key("host").filter(|_| dialog(record).is_some()).map(|host| format!(" {host}"));
    let head = format!("{:.3} {about}{}", record.when, host.unwrap_or_default());
    let lines = dialog(record).unwrap_or_else(|| vec![sentence(record, record.get("id"))]);
    lines.iter().map(|line| format!("{head} {}\n", escape(line))).collect()
}

/// The lines of a dialog; none where the record is no part of one.
fn dialog(record: &TraceLine) -> Option<Vec<String>> {
    let is_host = record.get("host").is_some();
    let text = record.get("text").unwrap_or_default();
    Some(match (record.event.as_str(), is_host) {
        // A client's command is one line, whatever is in it.
        ("heard", false) => vec![format!("C: {text}")],
        ("said", true) => vec![format!("C: {text}")],
        // Replies, ours and those of next hops; all their lines get the same mark.
        ("said", false) | ("heard", true) => {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            match lines.first_mut() {
                Some(first) => first.insert_str(0, "S: "),
                None => lines.push("S:".to_owned()),
            }
            lines
        }
        ("message", _) => {
            let octets = record.get("octets").unwrap_or_default();
            vec![format!("C: ({} octets of message)", grouped(octets))]
        }
        ("left-out", _) => {
            vec![format!("({} turns are left out)", record.get("turns").unwrap_or_default())]
        }
        ("decided", _) => vec![format!("decided: {text}")],
        ("header", _) => vec![format!("Message-ID: {}", record.get("message-id").unwrap_or(""))],
        ("connecting", true) => {
            vec![format!("connecting: {}", record.get("address").unwrap_or_default())]
        }
        ("secured", _) => vec![format!("TLS: {}", record.get("tls").unwrap_or_default())],
        ("failed", true) => vec![format!("failed: {}", record.get("reason").unwrap_or_default())],
        _ => return None,
    })
}

/// An event as the log writes it, without what stands in a heading: the session, and this id.
fn sentence(record: &TraceLine, id: Option<&str>) -> String {
    let mut text = record.event.clone();
    let is_said = |key: &str, value: &str| match key {
        "session" | "transaction" => true,
        _ => key == "id" && id == Some(value),
    };
    for (key, value) in record.values.iter().filter(|(key, value)| !is_said(key, value)) {
        let _ = write!(text, " {key}=");
        push_value(&mut text, value);
    }
    text
}

/// A number with a comma between thousands.
fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A record as a JSON object: time, event, session and id come first.
pub struct Columns<'a>(pub &'a TraceLine);

impl Serialize for Columns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Columns(record) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("time", &format!("{:.6}", record.when))?;
        map.serialize_entry("event", &record.event)?;
        for key in ["session", "id"] {
            if let Some(value) = record.get(key) {
                map.serialize_entry(key, value)?;
            }
        }
        for (key, value) in &record.values {
            match value.parse::<u64>() {
                _ if matches!(key.as_str(), "session" | "id") => {}
                Ok(number) if NUMBERS.contains(&key.as_str()) => {
                    map.serialize_entry(key, &number)?;
                }
                _ => map.serialize_entry(key, value)?,
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> TraceLine {
        TraceLine::parse(format!("2026-11-23T14:00:00.123456Z {text}").as_bytes()).unwrap()
    }

    #[test]
    fn a_story_for_people() {
        let story = Story {
            session: Some("s1".to_owned()),
            ids: vec!["m1".to_owned()],
            is_whole: true,
            lines: vec![
                record("connected session=s1 client=127.0.0.1 service=smtp"),
                record("heard session=s1 text=\"EHLO a\\u{a}b\\u{1b}[2J\""),
                record("said session=s1 text=\"250-mx.test\\u{a}250 HELP\""),
                record("message session=s1 id=m1 transaction=1 octets=1234567"),
                record("accepted id=m1 session=s1 from=a@b size=3"),
                record("said id=m1 host=mx[192.0.2.1]:25 text=DATA"),
                record("heard id=m1 host=mx[192.0.2.1]:25 text=\"550-no\\u{a}550 no\""),
                record("bounced id=m1 to=c@d reason=\"550 no\""),
            ],
        };
        let told = Telling::new(&story).tell(story.lines.iter());
        let told = told.replace("2026-11-23T14:00:00.123Z", "T").replace(&" ".repeat(24), ".");
        assert_eq!(
            told,
            "message m1, session s1\n\
             T  connected client=127.0.0.1 service=smtp\n\
             T  C: EHLO a\\x0ab\\x1b[2J\n\
             T  S: 250-mx.test\n\
             .  S: 250 HELP\n\
             T  C: (1,234,567 octets of message)\n\
             T  accepted from=a@b size=3\n\
             T attempt at mx[192.0.2.1]:25\n\
             T    C: DATA\n\
             T    S: 550-no\n\
             .    S: 550 no\n\
             T  bounced to=c@d reason=\"550 no\"\n"
        );
    }

    #[test]
    fn a_record_for_scripts() {
        let line = record("accepted id=m1 session=s1 client=local size=3 from=12");
        let json = serde_json::to_string(&Columns(&line)).unwrap();
        assert_eq!(
            json,
            "{\"time\":\"2026-11-23T14:00:00.123456Z\",\"event\":\"accepted\",\"session\":\"s1\",\
             \"id\":\"m1\",\"client\":\"local\",\"size\":3,\"from\":\"12\"}"
        );
    }
}
