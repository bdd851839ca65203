//! The part of a notice that programs read: message/delivery-status (RFC 3464 §2), or its form for
//! addresses in UTF-8 (RFC 6533 §4). Pure.

use super::safe::{ascii, cut, lines, shown, wrap};
use super::{Notice, NoticeAction, ToldRecipient};
use crate::limits::ANSWER_KEPT;
use crate::mail::address::{Mailbox, literal};
use crate::mail::xtext;

/// The fields of the message, then those of each recipient, parted by empty lines. All in ASCII
/// unless the notice may hold UTF-8.
pub fn fields(notice: &Notice) -> String {
    let mut text = String::new();
    let utf8 = notice.may_be_utf8();
    if let Some(envid) = notice.original.envid {
        let decoded = xtext::decode(envid.as_bytes());
        let meant = decoded.and_then(|octets| String::from_utf8(octets).ok());
        // Exactly as the client meant it, so not folded (RFC 3464 §2.2.1).
        put(&mut text, "Original-Envelope-Id", meant.as_deref().unwrap_or(envid), utf8);
    }
    put(&mut text, "Reporting-MTA", &format!("dns; {}", notice.reporting_mta), utf8);
    put(&mut text, "Arrival-Date", &notice.date(notice.original.arrival), utf8);
    for told in &notice.recipients {
        text.push('\n');
        recipient(&mut text, notice, told);
    }
    text
}

/// The fields of one recipient (RFC 3464 §2.3).
fn recipient(text: &mut String, notice: &Notice, told: &ToldRecipient) {
    let utf8 = notice.may_be_utf8();
    // Only where ORCPT came, because without it the field must not appear (RFC 3461 §6.3); so the address of
    // an alias stands only in the text for people.
    if let Some(orcpt) = told.orcpt {
        put(text, "Original-Recipient", &original_recipient(orcpt, utf8), utf8);
    }
    put(text, "Final-Recipient", &final_recipient(told.recipient, utf8), utf8);
    put(text, "Action", &told.action.to_string(), utf8);
    put(text, "Status", &status(told), utf8);
    // Only a host that replied: a host that could not be reached has reported nothing (RFC 3464 §2.3.5).
    if let Some(host) = told.host.filter(|_| told.diagnostic.is_some()) {
        fold(text, "Remote-MTA", &format!("dns; {}", mta(host)), utf8);
    }
    match told.diagnostic {
        // One logical line, folded between the lines of the reply or sooner.
        Some(reply) => {
            let reply = lines(&cut(reply, ANSWER_KEPT)).collect::<Vec<_>>().join(" ");
            fold(text, "Diagnostic-Code", &format!("smtp; {reply}"), utf8);
        }
        // Our own words are no reply of SMTP, and need a type of our own (RFC 3464 §2.1.2).
        None if !told.words.is_empty() => {
            fold(text, "Diagnostic-Code", &format!("x-facteur; {}", told.own_words()), utf8);
        }
        None => {}
    }
    if let Some(moment) = told.last_attempt {
        put(text, "Last-Attempt-Date", &notice.date(moment), utf8);
    }
    if let Some(moment) = told.will_retry_until.filter(|_| told.action == NoticeAction::Delayed) {
        put(text, "Will-Retry-Until", &notice.date(moment), utf8);
    }
}

/// The name of a host; its address as a literal where a route gives no name (RFC 5321 §4.1.3).
fn mta(host: &str) -> String {
    host.parse().map_or_else(|_| host.to_owned(), literal)
}

/// `type; address` of an ORCPT. What does not decode stays as it came.
fn original_recipient(orcpt: &str, utf8: bool) -> String {
    let Some((kind, address)) = orcpt.split_once(';') else { return orcpt.to_owned() };
    if kind.eq_ignore_ascii_case("utf-8") {
        let meant = xtext::decode_unicode(address).unwrap_or_else(|| address.to_owned());
        return typed(kind, &meant, utf8);
    }
    let decoded = xtext::decode(address.as_bytes());
    let meant = decoded.and_then(|octets| String::from_utf8(octets).ok());
    format!("{kind}; {}", meant.as_deref().unwrap_or(address))
}

fn final_recipient(mailbox: &Mailbox, utf8: bool) -> String {
    let address = mailbox.to_string();
    match address.is_ascii() {
        true => format!("rfc822; {address}"),
        false => typed("utf-8", &address, utf8),
    }
}

/// An address of the type utf-8: as it is, or all in ASCII (RFC 6533 §3).
fn typed(kind: &str, address: &str, utf8: bool) -> String {
    match utf8 {
        true => format!("{kind}; {}", shown(address)),
        false => format!("{kind}; {}", xtext::encode_unicode(&shown(address))),
    }
}

/// The status of the recipient; X.0.0 where it is malformed or contradicts the action. A recipient may fail
/// with 4.x.x, when time is up.
fn status(told: &ToldRecipient) -> String {
    let (classes, general) = match told.action {
        NoticeAction::Failed => ("54", "5.0.0"),
        NoticeAction::Delayed => ("4", "4.0.0"),
        NoticeAction::Delivered | NoticeAction::Relayed | NoticeAction::Expanded => ("2", "2.0.0"),
    };
    let is_number = |part: &&str| {
        (1..=3).contains(&part.len()) && part.bytes().all(|octet| octet.is_ascii_digit())
    };
    let parts: Vec<&str> = told.status.split('.').filter(is_number).collect();
    let good = matches!(parts[..], [class, _, _] if class.len() == 1 && classes.contains(class));
    match good && parts.join(".") == told.status {
        true => told.status.to_owned(),
        false => general.to_owned(),
    }
}

/// A field on one line: dates and addresses, in which every space counts.
fn put(text: &mut String, name: &str, value: &str, utf8: bool) {
    let value = if utf8 { shown(value) } else { ascii(value) };
    text.push_str(&format!("{name}: {value}\n"));
}

/// A field of words.
fn fold(text: &mut String, name: &str, value: &str, utf8: bool) {
    let value = if utf8 { shown(value) } else { ascii(value) };
    text.push_str(&wrap(&format!("{name}: "), " ", &value));
}
