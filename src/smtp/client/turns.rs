//! What was said on a connection, for people to read: word for word, without the secrets of AUTH.

use super::{Client, Step};
use crate::smtp::answer::{Answer, Kind};

/// One command or reply, without its last line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spoken {
    Said(String),
    Heard(String),
}

impl Client {
    /// What was said since this was last called. To be called after each step, because all lines are kept
    /// until then.
    pub fn turns(&mut self) -> Vec<Spoken> {
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
        self.turns.push(Spoken::Said(text));
    }

    pub(super) fn note_heard(&mut self, answer: &Answer) {
        let is_auth = matches!(self.awaited.front(), Some((Step::Auth, _)));
        self.turns.push(Spoken::Heard(match is_auth && answer.kind() == Kind::More {
            true => format!("{} (a question of AUTH)", answer.code()),
            // 235 may carry the server's proof of SCRAM.
            false if is_auth && answer.kind() == Kind::Good => {
                format!("{} (hidden)", answer.code())
            }
            false => answer.text(),
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Action;
    use super::*;
    use crate::smtp::auth::{Credentials, encode};

    #[test]
    fn of_a_login_only_the_mechanism_is_told() {
        for mechanism in ["PLAIN", "LOGIN", "SCRAM-SHA-256"] {
            let mut client = Client::new("mx.test");
            let (user, password) = ("ann@far.test".to_owned(), "pencil".to_owned());
            client.log_in(Credentials { user, password }, "fyko".to_owned(), None);
            client.feed(b"220 far.test\r\n");
            assert!(matches!(client.action(), Action::Send(_)));
            client.feed(format!("250-far.test\r\n250 AUTH {mechanism}\r\n").as_bytes());
            let mut said = Vec::new();
            for reply in ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 2.7.0 dj1zZWNyZXQ="] {
                if let Action::Send(octets) = client.action() {
                    said.push(String::from_utf8(octets).unwrap());
                }
                client.feed(format!("{reply}\r\n").as_bytes());
            }
            let told = format!("{:?}", client.turns());
            assert!(said[0].starts_with(&format!("AUTH {mechanism}")), "{said:?}");
            assert!(told.contains(&format!("Said(\"AUTH {mechanism}")), "{told}");
            for secret in [&encode(b"ann@far.test"), &encode(b"pencil"), "dj1z", "VXNl", "fyko"] {
                assert!(!told.contains(secret), "{secret} in {told}");
            }
            let words = said.iter().flat_map(|line| line.split_whitespace().skip(2));
            words.for_each(|word| assert!(!told.contains(word), "{word} in {told}"));
        }
    }
}
