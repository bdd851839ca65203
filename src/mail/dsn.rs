//! Notices: what the mail system tells a sender about a message that failed, is delayed, or has arrived
//! (RFC 3461 §6, 3464, 6522; UTF-8: RFC 6533; RFC 5321 §3.6.3, §4.5.5, §6.1).
//!
//! A notice is a head and a tail. Between them the caller puts what is returned of the original, octet for
//! octet, so that no message is ever held in memory. The notice's reverse-path is `<>`, and it asks for
//! no notice itself (RFC 3461 §6.1). Pure: moments, names and random bits are passed in.
//!
//! The words of a next hop pass through [`safe`], so that they can forge no field, part or boundary.

mod plain;
mod safe;
mod status;

use super::address::{Domain, Mailbox, ReversePath};
use super::envelope::{BodyType, Notify, Ret};
use super::trace_fields::date;
use crate::limits::ANSWER_KEPT;
use jiff::{Timestamp, ZonedDateTime};
use safe::{cut, shown};
use std::fmt;

/// One notice about one message, for some or all of its recipients.
#[derive(Clone, Debug)]
pub struct Notice<'a> {
    /// The notice's own id, of letters and digits.
    pub id: &'a str,
    /// 64 bits that nobody can foresee, so that nothing the notice quotes can hold its boundary.
    pub random: u64,
    /// Our name.
    pub reporting_mta: &'a Domain,
    /// When the notice is written; all its dates are in this zone.
    pub date: &'a ZonedDateTime,
    /// The sender of the message, or a postmaster in the sender's place.
    pub to: &'a Mailbox,
    pub original: Original<'a>,
    /// At least one; told in this order.
    pub recipients: Vec<ToldRecipient<'a>>,
    /// Further reports of ours that failed, and that the reader has not been told of.
    pub others: u64,
}

/// The message that a notice is about.
#[derive(Clone, Debug)]
pub struct Original<'a> {
    /// Its id here, by which the log and a postmaster know it.
    pub id: &'a str,
    pub sender: &'a ReversePath,
    pub arrival: Timestamp,
    /// ENVID= of the original as it came, in xtext.
    pub envid: Option<&'a str>,
    /// Its subject, decoded; made safe here.
    pub subject: Option<&'a str>,
    /// It came with SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// What is returned between head and tail; see [`returned`].
    pub returned: Ret,
    /// What is returned has octets over 127.
    pub eight_bit: bool,
}

/// What is told about one recipient.
#[derive(Clone, Debug)]
pub struct ToldRecipient<'a> {
    pub recipient: &'a Mailbox,
    /// ORCPT= as it came, `type;xtext`.
    pub orcpt: Option<&'a str>,
    /// The address that the sender wrote, when an alias led from there to `recipient`.
    pub via: Option<&'a Mailbox>,
    pub action: NoticeAction,
    /// An enhanced status code (RFC 3463). One that does not suit the action becomes X.0.0.
    pub status: &'a str,
    /// The name or address of the next hop that was asked.
    pub host: Option<&'a str>,
    /// The whole reply of that host with its code, of one line or more; it may hold any character.
    pub diagnostic: Option<&'a str>,
    /// The step that the reply answers, with what has to be known about it: "RCPT"; empty where unknown.
    pub place: &'a str,
    /// Our own words; empty where there are none. They follow the name of a `host` that gave no reply: "was
    /// silent too long".
    pub words: &'a str,
    /// What DNS says about us, a sentence each: of a reply that speaks of it.
    pub seen: &'a [String],
    pub last_attempt: Option<Timestamp>,
    /// Until when we try; told only of a recipient that is delayed (RFC 3464 §2.3.9).
    pub will_retry_until: Option<Timestamp>,
}

/// What became of a recipient (RFC 3464 §2.3.3), the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoticeAction {
    Failed,
    Delayed,
    Delivered,
    /// Handed to a host that sends no notices of success.
    Relayed,
    /// Sent on to several addresses, about which nothing more is told.
    Expanded,
}

/// A notice as octets, without what it returns. Lines end in LF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeText {
    /// What goes before the original, from the notice's own header on.
    pub head: String,
    /// What goes behind the original, whether or not that ends in a line end.
    pub tail: String,
    /// BODY= for the notice's MAIL.
    pub body: BodyType,
    /// SMTPUTF8 for the notice's MAIL: an address or a header in it holds UTF-8.
    pub smtputf8: bool,
}

/// Whether a sender wants a notice of this action. Without NOTIFY it is told of failures and delays, with
/// NOTIFY of what that names and of nothing else (RFC 3461 §4.1).
pub fn wants(notify: Option<Notify>, action: NoticeAction) -> bool {
    match action {
        NoticeAction::Failed => notify.is_none_or(|notify| notify.failure),
        NoticeAction::Delayed => notify.is_none_or(|notify| notify.delay),
        NoticeAction::Delivered | NoticeAction::Relayed | NoticeAction::Expanded => {
            notify.is_some_and(|notify| notify.success)
        }
    }
}

/// What is returned of the original: the whole message when a recipient failed and the sender did not say
/// RET=HDRS, else its header (RFC 3461 §4.3).
pub fn returned(ret: Option<Ret>, told: &[ToldRecipient]) -> Ret {
    match ret {
        Some(Ret::Headers) => Ret::Headers,
        _ if told.iter().any(|told| told.action == NoticeAction::Failed) => Ret::Full,
        _ => Ret::Headers,
    }
}

impl NoticeAction {
    /// All actions, in the order in which they are told.
    const ALL: [NoticeAction; 5] = [
        NoticeAction::Failed,
        NoticeAction::Delayed,
        NoticeAction::Delivered,
        NoticeAction::Relayed,
        NoticeAction::Expanded,
    ];
}

impl ToldRecipient<'_> {
    /// Our own words with the name of the host that they speak of.
    fn own_words(&self) -> String {
        let host = self.host.filter(|_| self.diagnostic.is_none()).unwrap_or_default();
        cut(format!("{host} {}", self.words).trim(), ANSWER_KEPT)
    }
}

/// As RFC 3464 §2.3.3 spells it.
impl fmt::Display for NoticeAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoticeAction::Failed => "failed",
            NoticeAction::Delayed => "delayed",
            NoticeAction::Delivered => "delivered",
            NoticeAction::Relayed => "relayed",
            NoticeAction::Expanded => "expanded",
        })
    }
}

impl Notice<'_> {
    /// The whole notice around what it returns.
    pub fn write(&self) -> NoticeText {
        let original = &self.original;
        let (text, status) = (plain::text(self), status::fields(self));
        // Hosts on the way to a sender without SMTPUTF8 may not know the media types of RFC 6533, so they are
        // used only for a message that came with SMTPUTF8 and needs it.
        let global = original.smtputf8 && original.eight_bit;
        let returned = match (original.returned, global) {
            (Ret::Full, false) => "message/rfc822",
            (Ret::Full, true) => "message/global",
            (Ret::Headers, false) => "text/rfc822-headers",
            (Ret::Headers, true) => "message/global-headers",
        };
        let reported = match status.is_ascii() {
            true => "message/delivery-status",
            false => "message/global-delivery-status",
        };
        // Always in 7 bits: the words of a next hop must not decide which hosts can take the notice.
        let (encoding, text) = match text.is_ascii() {
            true => ("7bit", text),
            false => ("quoted-printable", safe::quoted_printable(&text)),
        };
        let eight_bit = original.eight_bit || !status.is_ascii();
        let bits = |eight_bit: bool| if eight_bit { "8bit" } else { "7bit" };
        // No encoded text holds "=_" (RFC 2045 §6.7), and nobody can guess the rest.
        let boundary = format!("=_{}_{:016x}", self.id, self.random);
        let header = self.header(&boundary, bits(eight_bit));
        let part = |kind: &str, encoding: &str, octets: &str| {
            format!(
                "--{boundary}\nContent-Type: {kind}\nContent-Transfer-Encoding: {encoding}\n\n\
                 {octets}"
            )
        };
        // The line end before a boundary belongs to it (RFC 2046 §5.1.1): what is returned stays as
        // it is, with its last line end or without.
        let head = [
            format!("{header}\n"),
            part("text/plain; charset=utf-8", encoding, &format!("{text}\n")),
            part(reported, bits(!status.is_ascii()), &format!("{status}\n")),
            part(returned, bits(original.eight_bit), ""),
        ]
        .concat();
        let smtputf8 = global || !status.is_ascii() || !header.is_ascii();
        let body = match eight_bit || smtputf8 {
            true => BodyType::EightBitMime,
            false => BodyType::SevenBit,
        };
        NoticeText { head, tail: format!("\n--{boundary}--\n"), body, smtputf8 }
    }

    /// The notice's own header, without the empty line. Its author is postmaster, not the MAILER-DAEMON of
    /// other systems: RFC 3464 §2 wants an address where a person can be asked.
    fn header(&self, boundary: &str, encoding: &str) -> String {
        let host = self.reporting_mta;
        // Auto-Submitted, so that no program answers the notice (RFC 3834 §5).
        format!(
            "From: Mail Delivery System <postmaster@{host}>\n\
             To: <{}>\n\
             Subject: {}\n\
             Date: {}\n\
             Message-ID: <{}@{host}>\n\
             Auto-Submitted: auto-replied\n\
             MIME-Version: 1.0\n\
             Content-Type: multipart/report; report-type=delivery-status;\n\
             \tboundary=\"{boundary}\"\n\
             Content-Transfer-Encoding: {encoding}\n",
            shown(&self.to.to_string()),
            shown(&self.subject()),
            date(self.date),
            self.id,
        )
    }

    /// The subject names the worst action, and its recipient or how many there are.
    fn subject(&self) -> String {
        let worst = self.recipients.iter().map(|told| told.action).min();
        let what = match worst.unwrap_or(NoticeAction::Failed) {
            NoticeAction::Failed => "Not delivered",
            NoticeAction::Delayed => "Delayed",
            NoticeAction::Delivered => "Delivered",
            NoticeAction::Relayed => "Handed on",
            NoticeAction::Expanded => "Sent on to all",
        };
        let mut these = self.recipients.iter().filter(|told| Some(told.action) == worst);
        match (these.next(), these.count()) {
            // The address that the sender knows.
            (Some(told), 0) => {
                let address = told.via.unwrap_or(told.recipient).to_string();
                match self.may_be_utf8() || address.is_ascii() {
                    true => format!("{what}: mail to {address}"),
                    false => format!("{what}: mail to one recipient"),
                }
            }
            (_, others) => format!("{what}: mail to {} recipients", others + 1),
        }
    }

    /// Whether fields may hold UTF-8: the message came with SMTPUTF8, or the reader's address itself has UTF-8.
    fn may_be_utf8(&self) -> bool {
        self.original.smtputf8 || !self.to.to_string().is_ascii()
    }

    /// A date in the zone of the notice.
    fn date(&self, moment: Timestamp) -> String {
        date(&moment.to_zoned_datetime(self.date.time_zone().clone()))
    }
}

#[cfg(test)]
mod tests;
