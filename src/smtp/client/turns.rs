//! What was said on a connection, to be told to people: word for word, but for what AUTH keeps secret.

use super::{Client, Step};
use crate::smtp::answer::{Answer, Kind};

/// One command or reply, without its last line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    Said(String),
    Heard(String),
}

impl Client {
    /// What was said since this was last asked. To be asked after each step, as all of it is kept.
    pub fn turns(&mut self) -> Vec<Turn> {
        std::mem::take(&mut self.turns)
    }

    pub(super) fn note_said(&mut self, step: Step, line: &str) {
        let line = line.trim_end();
        let text = match (step, line.split_once(' ')) {
            // `AUTH PLAIN password`, then lines that are nothing but secrets.
            (Step::Auth, Some(("AUTH", rest))) => {
                let (mechanism, secret) = rest.split_once(' ').unwrap_or((rest, ""));
                let hidden = if secret.is_empty() { "" } else { " (hidden)" };
                format!("AUTH {mechanism}{hidden}")
            }
            (Step::Auth, _) => "(an answer of AUTH)".to_owned(),
            _ => line.to_owned(),
        };
        self.turns.push(Turn::Said(text));
    }

    pub(super) fn note_heard(&mut self, answer: &Answer) {
        let is_auth = matches!(self.awaited.front(), Some((Step::Auth, _)));
        self.turns.push(Turn::Heard(match is_auth && answer.kind() == Kind::More {
            true => format!("{} (a question of AUTH)", answer.code()),
            // The last word of SCRAM may come with it.
            false if is_auth && answer.kind() == Kind::Good => {
                format!("{} (hidden)", answer.code())
            }
            false => answer.text(),
        }));
    }
}
