//! What a queue file says before and after its message: the header and the journal lines, as text
//! and as values. Pure; [`super::queue`] reads and writes the files.
//!
//! ```text
//! facteur queue 1
//! id: m0fk3v9q2d71xz
//! queued: 2026-11-23T14:00:00.123Z
//! session: s0fk3v9p000abc
//! from: <ann@mx.test>
//! body: 8bitmime
//! trusted: yes
//! junk: yes
//! signed: mx.test 20261201r 20261201e
//! held: rspamd "it looks like a virus"
//! unfiltered: yes
//! to: <eve@far.test> notify=failure via=<team@mx.test>
//! size: 1234
//! wire: 1300 8bit
//! checksum: crc32 9ae0daaf 1b2c3d4e
//!
//! (the message)
//! 2026-11-23T14:00:01.200Z 0 deferred mx.far.test "451 4.3.0 try later\n(RCPT)"
//! ```
//!
//! The two sums are those of the message and of the header above that line ([`super::sum`]). Files of older
//! versions have none, and no lines that we do not know; files of newer versions may have more lines, which
//! are kept.

use super::sum::Sum;
use crate::limits::{MOMENT_GAP_MAX, MOMENTS_MAX, QUEUE_HEADER_MAX, QUEUE_RECIPIENTS_SURE};
use crate::mail::address::{Mailbox, ReversePath};
use crate::mail::envelope::{BodyType, Notify, Ret, Sender, TlsWish};
use crate::mail::proof::dkim::ours::SignedBy;
use crate::mail::survey::WireForm;
use jiff::{SignedDuration, Timestamp};
use std::fmt::{self, Write};
use std::io;
use std::time::Duration;

/// First line of every queue file; another number is another format.
const VERSION: &str = "facteur queue 1";

/// Behind the sender of a message that requires TLS (RFC 8689), as in MAIL. Versions that do not know it move such a
/// file to `damaged/`, where another key would be passed over and the message go in the clear.
const REQUIRE_TLS: &str = " requiretls";

/// What kind of sum we write.
const ALGORITHM: &str = "crc32";

/// The envelope of a message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: String,
    pub queued: Timestamp,
    /// The session that brought the message; empty for our own notices.
    pub session: String,
    /// With the original reverse-path.
    pub sender: Sender,
    /// The message came from a client of `relay.networks`, a user, or ourselves. The sender of other mail may
    /// be forged, and gets no notice from us.
    pub is_trusted: bool,
    /// SPF or a signature shows that mail of a stranger is of its sender's domain: then that sender hears what
    /// becomes of it where this host is a backup MX.
    pub is_proved: bool,
    pub recipients: Vec<Addressee>,
    /// The size of the message in octets, with LF line ends.
    pub size: u64,
    /// The sum of these octets; none in files of older versions.
    pub sum: Option<u32>,
    /// The form of the message on the wire, where that was found while it came; only with a sum, which covers it.
    pub wire: Option<WireForm>,
    /// It was judged to be junk: a copy here goes to the folder for that.
    pub is_junk: bool,
    /// Of a message of ours: whether it is signed.
    pub signature: EntrySignature,
    /// A filter wants it looked at: nobody gets it before a person lets it go.
    pub quarantine: Option<Quarantine>,
    /// The filters of sendmail's mail have not seen it: they are asked before anybody gets it.
    pub is_unfiltered: bool,
    /// Header lines of a newer version, which are kept.
    pub others: Vec<String>,
    /// Where in the file the message begins.
    pub message_at: u64,
}

/// Whether a message is signed for the domain of its author.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EntrySignature {
    /// It is not, and nobody signs it any more.
    #[default]
    None,
    /// `signed: mx.test 20261201r`: by these keys, in the octets that lie there.
    By(SignedBy),
    /// `to-sign: yes`: each attempt signs it anew on its way out, and waits while a key cannot be read.
    Owed,
}

/// Which filter holds a message, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// The filter's name, which is one word.
    pub filter: String,
    /// In the filter's words.
    pub reason: String,
}

/// One recipient of a message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressee {
    pub mailbox: Mailbox,
    pub notify: Option<Notify>,
    pub orcpt: Option<String>,
    /// The address of an alias that led to this recipient; none where there was none.
    pub via: Option<Mailbox>,
}

/// One line of the journal: what one attempt meant for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalLine {
    pub when: Timestamp,
    /// The recipient's place in the envelope.
    pub recipient: usize,
    pub what: What,
    /// The next hop, or what stood in the way of one.
    pub host: String,
    /// The next hop's whole reply, and on a line of its own, in brackets, the step it answers; or our own words.
    pub words: String,
}

/// What a journal line says about a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Relayed,
    Delivered,
    /// An attempt that is to be repeated.
    Deferred,
    Failed,
    /// No attempt was made: the next hop is left alone until the time that stands in place of the host.
    Held,
    /// A person wants it attempted at once, even if its next hop is left alone.
    Asked,
    /// As [`What::Asked`], of a message that a filter holds: it is held no longer.
    Released,
    /// The sender was told of the delay.
    Announced,
}

/// What became of a recipient so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecipientProgress {
    /// Attempts that ended deferred.
    pub attempts: usize,
    /// The line of the last attempt.
    pub last: Option<JournalLine>,
    /// Since the last attempt: the next hop is left alone until this time, and why.
    pub held: Option<(Timestamp, String)>,
    /// Since the last attempt: a person asked for another at once.
    pub is_asked: bool,
    /// When a person let it go; none where that was never asked.
    pub released: Option<Timestamp>,
    pub is_announced: bool,
    /// When it was attempted, or its next hop found to be left alone; the oldest first.
    pub moments: Vec<Moment>,
    /// The time between moments that are no longer in `moments`.
    pub folded: Duration,
}

/// A moment at which a recipient was attempted, or its next hop found to be left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub when: Timestamp,
    /// Attempts up to this moment, this one included.
    pub attempts: usize,
    /// How long the next hop was to be left alone from then on; zero after an attempt.
    pub alone: Duration,
}

impl RecipientProgress {
    /// Whether the recipient is relayed, delivered or failed, so that nothing is left to do.
    pub fn is_done(&self) -> bool {
        self.last.as_ref().is_some_and(|line| line.what != What::Deferred)
    }

    /// Why it waits, in words; empty before its first attempt.
    pub fn error(&self) -> String {
        match (&self.held, &self.last) {
            (Some((_, words)), _) => words.clone(),
            (None, Some(line)) => line.story(),
            (None, None) => String::new(),
        }
    }

    /// Takes the next line about this recipient.
    pub fn apply(&mut self, line: &JournalLine) {
        match line.what {
            What::Announced => self.is_announced = true,
            What::Asked => (self.is_asked, self.held) = (true, None),
            What::Released => {
                (self.is_asked, self.held, self.released) = (true, None, Some(line.when));
            }
            // A time that does not read counts as past: an attempt too early does no harm.
            What::Held => {
                self.held = line.host.parse().ok().map(|until| (until, line.words.clone()));
                self.is_asked = false;
                let until = self.held.as_ref().map_or(line.when, |(until, _)| *until);
                self.note(line.when, until.duration_since(line.when));
            }
            What::Relayed | What::Delivered | What::Deferred | What::Failed => {
                self.attempts += usize::from(line.what == What::Deferred);
                (self.last, self.held, self.is_asked) = (Some(line.clone()), None, false);
                self.note(line.when, SignedDuration::ZERO);
            }
        }
    }

    /// Adds a moment. When the list is full, its older half becomes a sum: between two neighbours of a full list
    /// no more than [`MOMENT_GAP_MAX`] can have passed, unless the clock was wrong.
    fn note(&mut self, when: Timestamp, alone: SignedDuration) {
        let alone = alone.try_into().unwrap_or_default();
        self.moments.push(Moment { when, attempts: self.attempts, alone });
        if self.moments.len() > MOMENTS_MAX {
            let half = MOMENTS_MAX / 2;
            for pair in self.moments[..=half].windows(2) {
                let gap = pair[1].when.duration_since(pair[0].when);
                self.folded += Duration::try_from(gap).unwrap_or_default().min(MOMENT_GAP_MAX);
            }
            self.moments.drain(..half);
        }
    }
}

impl What {
    const ALL: [(What, &'static str); 8] = [
        (What::Relayed, "relayed"),
        (What::Delivered, "delivered"),
        (What::Deferred, "deferred"),
        (What::Failed, "failed"),
        (What::Held, "held"),
        (What::Asked, "asked"),
        (What::Released, "released"),
        (What::Announced, "announced"),
    ];

    fn parse(text: &str) -> Option<What> {
        What::ALL.iter().find(|(_, name)| *name == text).map(|(what, _)| *what)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = What::ALL.iter().find(|(what, _)| what == self).map(|(_, name)| *name);
        f.write_str(name.unwrap_or_default())
    }
}

/// Without a line end.
impl fmt::Display for JournalLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let JournalLine { when, recipient, what, host, words } = self;
        // A next hop's reply may hold any character: quoted as in JSON it stays on one line.
        let quoted = serde_json::to_string(words).map_err(|_| fmt::Error)?;
        let host = if host.is_empty() { "-" } else { host };
        write!(f, "{when:.3} {recipient} {what} {} {quoted}", host.replace([' ', '\n'], "_"))
    }
}

impl JournalLine {
    /// The host, its reply with all lines, and the step it answers: "mx.far.test: 451 4.3.0 try later (RCPT)".
    pub fn story(&self) -> String {
        // The step that a reply answers stands behind it, on a line of its own.
        let words = match self.words.rsplit_once('\n') {
            Some((reply, place)) if place.starts_with('(') => format!("{reply} {place}"),
            _ => self.words.clone(),
        };
        match self.host.as_str() {
            "" | "-" => words,
            host => format!("{host}: {words}"),
        }
    }

    /// Reads a line without its end; none when it is no journal line.
    pub fn parse(text: &str) -> Option<JournalLine> {
        let mut parts = text.splitn(5, ' ');
        Some(JournalLine {
            when: parts.next()?.parse().ok()?,
            recipient: parts.next()?.parse().ok()?,
            what: What::parse(parts.next()?)?,
            host: parts.next()?.to_owned(),
            words: serde_json::from_str(parts.next()?).ok()?,
        })
    }
}

impl Entry {
    /// Whether it is a report on TLS of ours (RFC 8460): of what we write ourselves only these go without regard to
    /// policies. Nobody is told what becomes of one.
    pub fn is_tls_report(&self) -> bool {
        let Sender { from, tls, .. } = &self.sender;
        *from == ReversePath::Null && self.session.is_empty() && *tls == TlsWish::NotRequired
    }

    /// Whether the header is too long to be queued: longer than half of what is read again, because aliases
    /// may lead to any number of addresses.
    pub fn is_too_long(&self) -> bool {
        self.recipients.len() > QUEUE_RECIPIENTS_SURE && self.header().len() > QUEUE_HEADER_MAX / 2
    }

    /// The header with its empty line.
    pub fn header(&self) -> String {
        let Entry {
            id,
            queued,
            session,
            sender,
            is_trusted,
            is_proved,
            recipients,
            size,
            sum,
            wire,
            is_junk,
            signature,
            quarantine,
            is_unfiltered,
            others,
            ..
        } = self;
        let mut text = format!("{VERSION}\nid: {id}\nqueued: {queued:.3}\nsession: {session}\n");
        let require = if sender.tls == TlsWish::Required { REQUIRE_TLS } else { "" };
        // Writing into a String cannot fail.
        let _ = match &sender.from {
            ReversePath::Null => writeln!(text, "from: <>{require}"),
            ReversePath::Mailbox(mailbox) => writeln!(text, "from: <{mailbox}>{require}"),
        };
        if sender.body == BodyType::EightBitMime {
            text.push_str("body: 8bitmime\n");
        }
        if sender.smtputf8 {
            text.push_str("smtputf8: yes\n");
        }
        if sender.tls == TlsWish::NotRequired {
            text.push_str("tls-required: no\n");
        }
        if let Some(ret) = sender.ret {
            let _ = writeln!(text, "ret: {}", if ret == Ret::Full { "full" } else { "hdrs" });
        }
        if let Some(envid) = &sender.envid {
            let _ = writeln!(text, "envid: {envid}");
        }
        if *is_trusted {
            text.push_str("trusted: yes\n");
        }
        if *is_proved {
            text.push_str("proved: yes\n");
        }
        if *is_junk {
            text.push_str("junk: yes\n");
        }
        let _ = match signature {
            EntrySignature::None => Ok(()),
            EntrySignature::By(by) => writeln!(text, "signed: {by}"),
            EntrySignature::Owed => writeln!(text, "to-sign: yes"),
        };
        if let Some(quarantine) = quarantine {
            let _ = writeln!(text, "held: {}", quarantine.text());
        }
        if *is_unfiltered {
            text.push_str("unfiltered: yes\n");
        }
        for recipient in recipients {
            let _ = writeln!(text, "to: {}", recipient.text());
        }
        for line in others {
            let _ = writeln!(text, "{line}");
        }
        let _ = writeln!(text, "size: {size}");
        if let Some(sum) = sum {
            if let Some(wire) = wire {
                let _ = writeln!(text, "wire: {wire}");
            }
            let own = Sum::of(text.as_bytes()).value();
            let _ = writeln!(text, "checksum: {ALGORITHM} {sum:08x} {own:08x}");
        }
        text.push('\n');
        text
    }

    /// The header, checked to be one that can be read again: a message that was promised to a sender must not
    /// turn out to be damaged later.
    pub fn checked_header(&self) -> io::Result<String> {
        let header = self.header();
        let end = header.len();
        let read = Entry::parse(&header[..end - 1], end as u64).and_then(|read| {
            let same = read.sender.from == self.sender.from
                && read.sender.tls == self.sender.tls
                && read.recipients == self.recipients;
            same.then_some(()).ok_or_else(|| "it would be for somebody else".to_owned())
        });
        match read {
            Ok(()) if end <= QUEUE_HEADER_MAX => Ok(header),
            Ok(()) => Err(io::Error::other("too many recipients for one queue file")),
            Err(why) => Err(io::Error::other(format!("it could not be read again: {why}"))),
        }
    }

    /// Reads a header without its empty line, with the end of its last line; `message_at` is where
    /// the message begins. The error says what is wrong.
    pub fn parse(text: &str, message_at: u64) -> Result<Entry, String> {
        let mut lines = text.split('\n');
        let version = lines.next().unwrap_or_default();
        // The place where the next line begins.
        let mut at = version.len() + 1;
        if version != VERSION {
            return Err(format!("its first line is {version:?}, not {VERSION:?}"));
        }
        let (mut id, mut queued, mut session, mut size) = (None, None, String::new(), None);
        let mut sender = Sender::new(ReversePath::Null);
        let (mut has_sender, mut is_trusted, mut recipients) = (false, false, Vec::new());
        let (mut sum, mut wire, mut is_checked, mut others) = (None, None, false, Vec::new());
        let (mut is_junk, mut is_proved, mut signature) = (false, false, EntrySignature::None);
        let (mut quarantine, mut is_unfiltered) = (None, false);
        for line in lines.filter(|line| !line.is_empty()) {
            let above = &text[..at];
            at += line.len() + 1;
            let (key, value) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
            let wrong = || format!("its header line {line:?} says nothing");
            match key {
                "id" => id = Some(value.to_owned()),
                "queued" => queued = Some(value.parse::<Timestamp>().map_err(|_| wrong())?),
                "session" => session = value.to_owned(),
                "from" => {
                    has_sender = true;
                    (sender.from, sender.tls) = match written(value.as_bytes()) {
                        Some((path, [])) => (path, sender.tls),
                        Some((path, rest)) if rest == REQUIRE_TLS.as_bytes() => {
                            (path, TlsWish::Required)
                        }
                        _ => return Err(wrong()),
                    };
                }
                "body" if value == "8bitmime" => sender.body = BodyType::EightBitMime,
                "smtputf8" if value == "yes" => sender.smtputf8 = true,
                "ret" if value == "full" => sender.ret = Some(Ret::Full),
                "ret" if value == "hdrs" => sender.ret = Some(Ret::Headers),
                "tls-required" if value == "no" => {
                    sender.tls = sender.tls.with_header(TlsWish::NotRequired);
                }
                "trusted" if value == "yes" => is_trusted = true,
                "proved" if value == "yes" => is_proved = true,
                "junk" if value == "yes" => is_junk = true,
                "signed" if SignedBy::parse(value).is_some() => {
                    signature = SignedBy::parse(value).map_or(signature, EntrySignature::By);
                }
                "to-sign" if value == "yes" => signature = EntrySignature::Owed,
                "unfiltered" if value == "yes" => is_unfiltered = true,
                // Never left unread: such a message must not go.
                "held" => quarantine = Some(Quarantine::parse(value).ok_or_else(wrong)?),
                "envid" => sender.envid = Some(value.to_owned()),
                "to" => recipients.push(Addressee::parse(value).ok_or_else(wrong)?),
                "size" => size = Some(value.parse::<u64>().map_err(|_| wrong())?),
                // A form that does not read is a newer version's, and is found out anew.
                "wire" if wire.is_none() && WireForm::parse(value).is_some() => {
                    wire = WireForm::parse(value);
                }
                "checksum" => {
                    is_checked = true;
                    match value.strip_prefix(ALGORITHM) {
                        Some(sums) => sum = Some(checked(sums, above).ok_or_else(wrong)?),
                        // Sums of a newer version, which that version can check.
                        None => others.push(line.to_owned()),
                    }
                }
                _ if is_key(key) => others.push(line.to_owned()),
                _ => return Err(wrong()),
            }
        }
        if !is_checked {
            // Without a checksum nothing shows that the line is whole; what it says is found out anew.
            wire = None;
            // A key of a newer version is kept. But a line with a path is a recipient whose key was spoiled, and one
            // with a control character is two lines whose line end was spoiled.
            let is_spoiled = |line: &&String| line.contains('<') || line.contains(char::is_control);
            if let Some(line) = others.iter().find(is_spoiled) {
                return Err(format!("its header line {line:?} says nothing"));
            }
        }
        let missing = |what: &str| format!("its header does not say its {what}");
        if !has_sender || recipients.is_empty() {
            return Err(missing("sender and recipients"));
        }
        let size = size.ok_or_else(|| missing("size"))?;
        // Bounded, so that no sum of places in the file overflows.
        let size = Some(size).filter(|s| *s < 1 << 60).ok_or_else(|| missing("true size"))?;
        Ok(Entry {
            id: id.ok_or_else(|| missing("id"))?,
            queued: queued.ok_or_else(|| missing("time"))?,
            session,
            sender,
            is_trusted,
            is_proved,
            recipients,
            size,
            sum,
            wire,
            is_junk,
            signature,
            quarantine,
            is_unfiltered,
            others,
            message_at,
        })
    }
}

/// The sum of the message, where that of the header is right: " 9ae0daaf 1b2c3d4e".
fn checked(sums: &str, above: &str) -> Option<u32> {
    let number = |word: &str| u32::from_str_radix(word, 16).ok().filter(|_| word.len() == 8);
    let (message, header) = sums.strip_prefix(' ')?.split_once(' ')?;
    (number(header)? == Sum::of(above.as_bytes()).value()).then(|| number(message))?
}

/// Whether a line may begin with this key.
fn is_key(key: &str) -> bool {
    !key.is_empty()
        && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl Quarantine {
    /// The words are quoted as in JSON, so that they stay on one line.
    fn text(&self) -> String {
        let words = serde_json::to_string(&self.reason).unwrap_or_else(|_| "\"\"".to_owned());
        format!("{} {words}", self.filter)
    }

    fn parse(text: &str) -> Option<Quarantine> {
        let (filter, words) = text.split_once(' ').filter(|(filter, _)| !filter.is_empty())?;
        Some(Quarantine { filter: filter.to_owned(), reason: serde_json::from_str(words).ok()? })
    }
}

/// For people, on one line; the words are the filter's, and not escaped yet.
impl fmt::Display for Quarantine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = self.reason.trim().replace('\n', " / ");
        match reason.is_empty() {
            true => write!(f, "held by {}", self.filter),
            false => write!(f, "held by {}: {reason}", self.filter),
        }
    }
}

impl Addressee {
    fn text(&self) -> String {
        let mut text = format!("<{}>", self.mailbox);
        if let Some(notify) = self.notify {
            let Notify { success, failure, delay } = notify;
            let words = [(success, "success"), (failure, "failure"), (delay, "delay")];
            let words: Vec<&str> = words.iter().filter(|(set, _)| *set).map(|(_, w)| *w).collect();
            let words = if words.is_empty() { "never".to_owned() } else { words.join(",") };
            text.push_str(&format!(" notify={words}"));
        }
        if let Some(orcpt) = &self.orcpt {
            text.push_str(&format!(" orcpt={orcpt}"));
        }
        if let Some(via) = &self.via {
            text.push_str(&format!(" via=<{via}>"));
        }
        text
    }

    fn parse(text: &str) -> Option<Addressee> {
        // Read as a sender, whose local part may be longer than a recipient's: a bounce that comes back by SRS
        // goes to an address that was a sender.
        let (ReversePath::Mailbox(mailbox), mut rest) = written(text.as_bytes())? else {
            return None;
        };
        let mut found = Addressee { mailbox, notify: None, orcpt: None, via: None };
        while let [b' ', word @ ..] = rest {
            if let Some(path) = word.strip_prefix(b"via=") {
                let (ReversePath::Mailbox(via), after) = written(path)? else {
                    return None;
                };
                (found.via, rest) = (Some(via), after);
                continue;
            }
            let end = word.iter().position(|&b| b == b' ').unwrap_or(word.len());
            let (key, value) = str::from_utf8(&word[..end]).ok()?.split_once('=')?;
            rest = &word[end..];
            match key {
                "orcpt" => found.orcpt = Some(value.to_owned()),
                "notify" => {
                    let has = |word| value.split(',').any(|w| w == word);
                    found.notify = Some(Notify {
                        success: has("success"),
                        failure: has("failure"),
                        delay: has("delay"),
                    });
                }
                _ => return None,
            }
        }
        rest.is_empty().then_some(found)
    }
}

/// A path as this file writes it, and what follows. Paths of clients are read more liberally, but here half
/// a line must not pass for a whole one.
fn written(text: &[u8]) -> Option<(ReversePath, &[u8])> {
    let (path, rest) = ReversePath::parse(text).ok()?;
    let taken = &text[..text.len() - rest.len()];
    (taken.starts_with(b"<") && taken.ends_with(b">")).then_some((path, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(text: &str) -> Mailbox {
        Mailbox::parse(text).unwrap()
    }

    fn entry() -> Entry {
        let (from, []) = ReversePath::parse(b"<\"ann smith\"@mx.test>").unwrap() else { panic!() };
        let notify = Some(Notify { success: true, failure: false, delay: true });
        let sender = Sender {
            from,
            size: None,
            body: BodyType::EightBitMime,
            smtputf8: true,
            ret: Some(Ret::Headers),
            envid: Some("a+2Bb".to_owned()),
            tls: TlsWish::NotRequired,
        };
        let one = Addressee {
            mailbox: mailbox("\"e ve\"@far.test"),
            notify,
            orcpt: Some("rfc822;x@y".to_owned()),
            via: Some(mailbox("\"te am\"@mx.test")),
        };
        let never = Some(Notify::default());
        let other =
            Addressee { mailbox: mailbox("x@[192.0.2.1]"), notify: never, orcpt: None, via: None };
        Entry {
            id: "m1".to_owned(),
            queued: "2026-11-23T14:00:00.123Z".parse().unwrap(),
            session: "s1".to_owned(),
            sender,
            is_trusted: true,
            recipients: vec![one, other],
            size: 12,
            sum: None,
            wire: None,
            is_junk: false,
            is_proved: false,
            signature: Default::default(),
            quarantine: None,
            is_unfiltered: false,
            others: Vec::new(),
            message_at: 0,
        }
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let mut entry = entry();
        let text = entry.header();
        entry.message_at = text.len() as u64;
        assert_eq!(Entry::parse(&text[..text.len() - 1], text.len() as u64), Ok(entry.clone()));
        for line in text.lines().filter(|line| !line.is_empty()) {
            let cut = text.replace(&format!("{line}\n"), "");
            let optional =
                ["body", "smtputf8", "tls-required", "ret", "envid", "session", "trusted", "to"];
            let optional = optional.iter().any(|key| line.starts_with(key));
            let read = Entry::parse(cut.trim_end(), 0);
            assert_eq!(read.is_ok(), optional, "without {line}: {read:?}");
        }
        // With a sum nothing of it may be missing or be other than it was.
        entry.sum = Some(0x1234);
        entry.wire = WireForm::parse("14 8bit");
        (entry.is_junk, entry.is_proved) = (true, true);
        entry.signature = EntrySignature::By(SignedBy::parse("mx.test r e").unwrap());
        let reason = "looks \"odd\"\nheld: x \u{85}\u{1}".to_owned();
        entry.is_unfiltered = true;
        entry.quarantine = Some(Quarantine { filter: "rspamd".to_owned(), reason });
        entry.others = vec!["colour: red".to_owned(), "holes:".to_owned()];
        let text = entry.header();
        assert_eq!(Entry::parse(text.trim_end(), entry.message_at), Ok(entry.clone()));
        for line in text.lines().filter(|line| !line.is_empty()) {
            let cut = text.replace(&format!("{line}\n"), "");
            let is_sum = line.starts_with("checksum");
            assert_eq!(Entry::parse(cut.trim_end(), 0).is_ok(), is_sum, "without {line}");
        }
        // Without one, what only a newer version knows is kept as well, but no recipient is lost by a spoiled key.
        let bare: String =
            text.split_inclusive('\n').filter(|l| !l.starts_with("checksum")).collect();
        let read = Entry::parse(bare.trim_end(), 0).unwrap();
        assert_eq!((read.others, read.wire, read.sum), (entry.others.clone(), None, None));
        let spoiled = bare.replacen("to: <", "uo: <", 1);
        assert!(Entry::parse(spoiled.trim_end(), 0).unwrap_err().contains("uo: <"), "{spoiled}");
        for at in 0..text.find("checksum").unwrap() {
            let mut octets = text.trim_end().as_bytes().to_vec();
            octets[at] ^= 1;
            let read = str::from_utf8(&octets).map(|text| Entry::parse(text, 0));
            assert!(!matches!(read, Ok(Ok(_))), "{:?}", String::from_utf8_lossy(&octets));
        }
        // A newer version's sum is not ours to check, nor are its lines.
        let newer = text.replace("checksum: crc32 ", "checksum: md6 ");
        let read = Entry::parse(newer.trim_end(), 0).unwrap();
        assert_eq!((read.sum, read.others.len()), (None, 3));
    }

    /// Else it would go in the clear.
    #[test]
    fn what_requires_tls_says_so_where_no_version_passes_over_it() {
        for (from, line) in
            [("<ann@mx.test>", "from: <ann@mx.test> requiretls\n"), ("<>", "from: <> requiretls\n")]
        {
            let (from, _) = ReversePath::parse(from.as_bytes()).unwrap();
            let sender = Sender { tls: TlsWish::Required, ..Sender::new(from) };
            let entry = Entry { sender, ..entry() };
            let text = entry.header();
            assert!(text.contains(line), "{text}");
            assert_eq!(Entry::parse(text.trim_end(), 0), Ok(entry));
            for cut in 1..REQUIRE_TLS.len() {
                let torn = text.replace(line, &format!("{}\n", &line[..line.len() - 1 - cut]));
                assert!(Entry::parse(torn.trim_end(), 0).is_err(), "{torn}");
            }
            let both = text.replace("size: ", "tls-required: no\nsize: ");
            let read = Entry::parse(both.trim_end(), 0).unwrap();
            assert_eq!(read.sender.tls, TlsWish::Required);
        }
    }

    /// Else a spoiled line would let the message go.
    #[test]
    fn what_holds_a_message_is_never_left_unread() {
        for held in ["yes", "rspamd", "rspamd why", " \"why\"", ""] {
            let text = entry().header().replace("size: ", &format!("held: {held}\nsize: "));
            let read = Entry::parse(text.trim_end(), 0);
            assert!(read.unwrap_err().contains("says nothing"), "{held}");
        }
    }

    #[test]
    fn a_recipient_may_be_as_long_as_a_sender() {
        let mut entry = entry();
        let long = format!("<{}@far.test>", "a".repeat(200));
        let (ReversePath::Mailbox(long), []) = ReversePath::parse(long.as_bytes()).unwrap() else {
            panic!("{long}")
        };
        entry.recipients[0].via = Some(long.clone());
        entry.recipients[1].mailbox = long;
        assert_eq!(Entry::parse(entry.header().trim_end(), 0), Ok(entry));
    }

    #[test]
    fn journal_lines() {
        let line = JournalLine {
            when: "2026-11-23T14:00:01.200Z".parse().unwrap(),
            recipient: 3,
            what: What::Deferred,
            host: "mx.far.test".to_owned(),
            words: "451 4.3.0 \"try\"\nlater \u{1}".to_owned(),
        };
        let text = line.to_string();
        assert!(!text.contains('\n'), "{text}");
        assert_eq!(JournalLine::parse(&text), Some(line));
        for cut in 1..text.len() {
            assert_eq!(JournalLine::parse(&text[..cut]), None, "{}", &text[..cut]);
        }
    }
}
