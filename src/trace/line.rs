//! One line of a trace, read back.

use crate::event::line::values;
use jiff::Timestamp;

/// A line of a trace in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceLine {
    pub when: Timestamp,
    pub event: String,
    /// Keys and values, in their order.
    pub values: Vec<(String, String)>,
    /// The line without its time.
    pub text: String,
}

impl TraceLine {
    /// None where this is no line of a trace, for example one that a crash tore.
    pub fn parse(line: &[u8]) -> Option<TraceLine> {
        let line = std::str::from_utf8(line).ok()?;
        let (when, text) = line.split_once(' ')?;
        let event = text.split(' ').next()?.to_owned();
        let values = values(text).map(|(key, value)| (key.to_owned(), value)).collect();
        Some(TraceLine { when: when.parse().ok()?, event, values, text: text.to_owned() })
    }

    /// A value, by its key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.iter().find(|(own, _)| own == key).map(|(_, value)| value.as_str())
    }

    /// The session and the transaction in it that the line belongs to.
    pub fn transaction(&self) -> Option<(&str, u32)> {
        Some((self.get("session")?, self.get("transaction")?.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_and_what_is_none() {
        let line =
            "2026-11-23T14:00:00.123456Z heard session=s1 transaction=2 text=\"EHLO a\\u{a}b\"";
        let record = TraceLine::parse(line.as_bytes()).unwrap();
        assert_eq!((record.event.as_str(), record.get("text")), ("heard", Some("EHLO a\nb")));
        assert_eq!(record.transaction(), Some(("s1", 2)));
        for line in ["", "x", "nonsense at all", "2026-11-23T14:00:00.123456Z"] {
            assert_eq!(TraceLine::parse(line.as_bytes()), None, "{line}");
        }
    }
}
