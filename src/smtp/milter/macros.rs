//! Macros: what a filter is told beside the commands, by the names that Sendmail gave them.

use super::command::{FilterStage, push};
use super::packet;

/// What is known at a moment; empty values are never said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterMacros(Vec<(&'static str, String)>);

/// All names, with the stage before which each is said to a filter that has no wish.
const NAMES: [(FilterStage, &[&str]); 7] = [
    (
        FilterStage::Connect,
        &[
            "j",
            "{daemon_name}",
            "{daemon_addr}",
            "{daemon_port}",
            "v",
            "{client_addr}",
            "{client_port}",
            "{client_name}",
            "{client_ptr}",
            "{if_addr}",
            "_",
        ],
    ),
    (FilterStage::Helo, &["{tls_version}", "{cipher}", "{cipher_bits}"]),
    (
        FilterStage::Mail,
        &["i", "{mail_addr}", "{mail_host}", "{mail_mailer}", "{auth_type}", "{auth_authen}"],
    ),
    (FilterStage::Rcpt, &["i", "{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}"]),
    (FilterStage::Data, &["i"]),
    (FilterStage::EndOfHeader, &["i"]),
    (FilterStage::EndOfMessage, &["i"]),
];

impl FilterMacros {
    /// From here on the name has this value. Only known names are ever said.
    pub fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, value.into()));
    }

    /// Appends the packet that goes before a command, if there is anything to say. `wish`: the names that the
    /// filter asked for, where it did.
    pub(super) fn write(
        &self,
        stage: FilterStage,
        wish: Option<&[&'static str]>,
        out: &mut Vec<u8>,
    ) {
        let default = NAMES.iter().find(|(of, _)| *of == stage).map(|(_, names)| *names);
        let names = wish.or(default).unwrap_or_default();
        let mut data = vec![stage.letter()];
        for name in names {
            let known = self.0.iter().find(|(known, value)| known == name && !value.is_empty());
            if let Some((_, value)) = known {
                push(&mut data, name.as_bytes());
                push(&mut data, value.as_bytes());
            }
        }
        if data.len() > 1 {
            packet::write(b'D', &data, out);
        }
    }
}

/// The names we know, of a list that a filter wrote: with spaces or commas between them, long ones with or
/// without braces.
pub(super) fn known(list: &str) -> Vec<&'static str> {
    let is_between = |c: char| matches!(c, ' ' | ',' | '\t' | '\r' | '\n');
    let all = || NAMES.iter().flat_map(|(_, names)| names.iter().copied());
    let bare = |name: &str| name.trim_start_matches('{').trim_end_matches('}').to_owned();
    let mut names = Vec::new();
    for word in list.split(is_between).filter(|word| !word.is_empty()) {
        let found = all().find(|name| *name == word || bare(name) == bare(word));
        if let Some(name) = found.filter(|name| !names.contains(name)) {
            names.push(name);
        }
    }
    names
}
