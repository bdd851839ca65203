//! The record of a call of sendmail that sent nothing, as text and as a value: it lies in `spool/drop/` until the
//! server has told it to log and trace. Programs often throw away what sendmail says, and then nobody else
//! would know that mail was to be sent. Pure; [`super::drop`] reads and writes the files.
//!
//! ```text
//! facteur unsent 1
//! uid: 1000
//! from: <ann@mx.test>
//! status: 67
//! reason: 550 5.1.1 <zoe@mx.test>: no such user
//! recipients: 2
//! to: <zoe@mx.test> 550 5.1.1 <zoe@mx.test>: no such user
//! ```

use crate::id::{is_secret, secret, session};
use crate::limits::{UNSENT_MAX, UNSENT_REASON_MAX};
use crate::mail::address::{ForwardPath, Mailbox, ReversePath};
use crate::mail::visible::escape;
use std::ffi::OsStr;

/// First line of every record; another text is another format.
const VERSION: &str = "facteur unsent 1";

/// A call that sent nothing, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsent {
    /// The calling user, who may have been root before it became the server's user. Where another user owns the
    /// file, that owner counts instead.
    pub uid: u32,
    /// The sender; none where it was not known yet.
    pub from: Option<ReversePath>,
    /// The exit status (sysexits(3)).
    pub status: u8,
    pub reason: String,
    /// How many recipients were asked for, as far as known.
    pub recipients: usize,
    /// Some of the recipients, each with the reply about it; the reply is empty where the reason is not theirs.
    pub to: Vec<(Mailbox, String)>,
}

/// A new name for a record. It begins like a session's id, so that `facteur trace` finds the call by it; its
/// end cannot be guessed, else others could read the file.
pub fn name() -> String {
    secret(&session())
}

/// Whether a file is a record of an unsent call, by its name.
pub fn is_name(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| is_secret(name) && name.starts_with('s'))
}

impl Unsent {
    /// The record as text of at most [`UNSENT_MAX`] octets; recipients without room are left out.
    pub fn text(&self) -> String {
        let Unsent { uid, from, status, reason, recipients, to } = self;
        let from = match from {
            Some(ReversePath::Null) => "from: <>\n".to_owned(),
            Some(ReversePath::Mailbox(mailbox)) => format!("from: <{mailbox}>\n"),
            None => String::new(),
        };
        let reason = shortened(reason);
        let mut text = format!(
            "{VERSION}\nuid: {uid}\n{from}status: {status}\nreason: {reason}\n\
             recipients: {recipients}\n"
        );
        for (mailbox, reply) in to {
            let line = format!("to: <{mailbox}> {}\n", shortened(reply));
            if text.len() + line.len() > UNSENT_MAX {
                break;
            }
            text.push_str(&line);
        }
        text
    }

    /// Reads a record, which may come from any user; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Unsent, String> {
        let whole = text.strip_suffix('\n').ok_or("its last line has no end")?;
        let mut lines = whole.split('\n');
        if lines.next() != Some(VERSION) {
            return Err(format!("its first line is not {VERSION:?}"));
        }
        let (mut uid, mut from, mut status, mut reason, mut recipients) = Default::default();
        let mut to = Vec::new();
        for line in lines {
            let wrong = || format!("its line {line:?} says nothing");
            let (key, value) = line.split_once(": ").ok_or_else(wrong)?;
            match key {
                "uid" => uid = Some(value.parse().map_err(|_| wrong())?),
                "from" => from = Some(sender(value).ok_or_else(wrong)?),
                "status" => status = Some(value.parse().map_err(|_| wrong())?),
                "reason" => reason = Some(shortened(value)),
                "recipients" => recipients = Some(value.parse().map_err(|_| wrong())?),
                "to" => to.push(recipient(value).ok_or_else(wrong)?),
                _ => return Err(wrong()),
            }
        }
        let missing = |key: &str| format!("it has no {key}");
        Ok(Unsent {
            uid: uid.ok_or_else(|| missing("uid"))?,
            from,
            status: status.ok_or_else(|| missing("status"))?,
            reason: reason.ok_or_else(|| missing("reason"))?,
            recipients: recipients.ok_or_else(|| missing("recipients"))?,
            to,
        })
    }
}

fn sender(text: &str) -> Option<ReversePath> {
    let (path, rest) = ReversePath::parse(text.as_bytes()).ok()?;
    rest.is_empty().then_some(path)
}

fn recipient(text: &str) -> Option<(Mailbox, String)> {
    let (path, rest) = ForwardPath::parse(text.as_bytes()).ok()?;
    let reply = std::str::from_utf8(rest).ok()?.strip_prefix(' ')?;
    match path {
        ForwardPath::Mailbox(mailbox) => Some((mailbox, shortened(reply))),
        ForwardPath::Postmaster => None,
    }
}

/// Text on one line, no longer than a text in a record may be.
fn shortened(text: &str) -> String {
    let text = escape(text);
    text[..text.floor_char_boundary(UNSENT_REASON_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unsent(recipients: usize) -> Unsent {
        let to = |n: usize| Mailbox::parse(&format!("\"u {n}\"@mx.test")).unwrap();
        Unsent {
            uid: 1000,
            from: Some(ReversePath::Null),
            status: 67,
            reason: "550 5.1.1 no".to_owned(),
            recipients,
            to: (0..recipients).map(|n| (to(n), format!("no {n}"))).collect(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let ann = ReversePath::Mailbox(Mailbox::parse("ann@mx.test").unwrap());
        for from in [None, Some(ReversePath::Null), Some(ann)] {
            for to in [0, 1, 3] {
                let unsent = Unsent { from: from.clone(), ..unsent(to) };
                assert_eq!(Unsent::parse(&unsent.text()), Ok(unsent));
            }
        }
        // Lines cannot be slipped in, and nothing grows without end.
        let reason = format!("a\nuid: 0\r\u{1b}[2J{}", "\u{e9}".repeat(UNSENT_REASON_MAX));
        let read = Unsent::parse(&Unsent { reason, ..unsent(5000) }.text()).unwrap();
        assert!(read.uid == 1000 && read.recipients == 5000, "{read:?}");
        assert!(read.reason.starts_with("a\\x0auid: 0\\x0d\\x1b[2J"), "{}", read.reason);
        assert!(
            read.reason.len() <= UNSENT_REASON_MAX && read.to.len() > 50 && read.to.len() < 5000
        );
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let good = unsent(1).text();
        for bad in [
            String::new(),
            "\0\0\n".to_owned(),
            good.trim_end().to_owned(),
            good.replace("unsent 1", "unsent 2"),
            good.replace("uid: 1000", "uid: -1"),
            good.replace("uid: 1000\n", ""),
            good.replace("status: 67", "status: 300"),
            good.replace("from: <>", "from: <> x"),
            good.replace("mx.test> ", "mx.test>"),
            good.replace("@mx.test>", "@>"),
            format!("{good}\n"),
            format!("{good}more: x\n"),
        ] {
            assert!(Unsent::parse(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_are_of_another_kind_than_messages() {
        assert!(is_name(OsStr::new(&name())));
        for other in [secret(&crate::id::message()), session(), "s".to_owned()] {
            assert!(!is_name(OsStr::new(&other)), "{other}");
        }
    }
}
