//! The part of a notice that people read: what happened, to which message, for whom, what the next
//! hop said, and what to do. Pure.

use super::safe::{cut, lines, shown, wrap};
use super::{Notice, NoticeAction, ToldRecipient};
use crate::limits::{ANSWER_KEPT, QUOTED_MAX};
use crate::mail::address::ReversePath;
use crate::mail::envelope::Ret;

/// The whole text.
pub fn text(notice: &Notice) -> String {
    let mut text = format!("This is the mail system at {}.\n\n", notice.reporting_mta);
    text.push_str(&opening(notice));
    for action in NoticeAction::ALL {
        let these = || notice.recipients.iter().filter(move |told| told.action == action);
        if these().next().is_none() {
            continue;
        }
        text.push_str(&format!("\n{}:\n", heading(action)));
        for told in these() {
            text.push_str(&format!("\n{}", story(notice, told)));
        }
        text.push_str(&format!("\n{}", wrap("", "", advice(action, is_own(notice)))));
    }
    if notice.others > 0 {
        let others = notice.others;
        let words = format!(
            "{others} more reports of this host failed since you were last told of one; the server \
             wrote \"bounced\" for each of them."
        );
        text.push_str(&format!("\n{}", wrap("", "", &words)));
    }
    text.push_str(&format!("\n{}", closing(notice)));
    text
}

/// Whether the reader is the sender of the message. Else it is a postmaster, told in place of a sender that
/// we cannot or must not tell.
fn is_own(notice: &Notice) -> bool {
    matches!(notice.original.sender, ReversePath::Mailbox(mailbox) if mailbox == notice.to)
}

/// Which message this is about, and why the reader is told.
fn opening(notice: &Notice) -> String {
    let original = &notice.original;
    let subject = match original.subject.map(str::trim).filter(|subject| !subject.is_empty()) {
        Some(subject) => format!(" \"{}\"", shown(&cut(subject, QUOTED_MAX))),
        None => String::new(),
    };
    let (about, end) = match is_own(notice) {
        true => (format!("About your message{subject},"), ":\n"),
        false => (
            format!("About a message{subject} from {},", original.sender),
            ".\nYou are told as postmaster, in the place of its sender.\n",
        ),
    };
    let arrival = notice.date(original.arrival);
    format!("{}which came here on {arrival}{end}", wrap("", "", &about))
}

fn heading(action: NoticeAction) -> &'static str {
    match action {
        NoticeAction::Failed => "It could NOT be delivered to",
        NoticeAction::Delayed => "It is late, and still on its way to",
        NoticeAction::Delivered => "It was delivered to",
        NoticeAction::Relayed => {
            "It was handed on, to a host that does not tell of deliveries, for"
        }
        NoticeAction::Expanded => "It was sent on to everybody behind the address",
    }
}

/// One recipient, indented by 2; our words about the recipient by 4, those of other hosts by 6.
fn story(notice: &Notice, told: &ToldRecipient) -> String {
    let mut text = format!("  <{}>\n", shown(&told.recipient.to_string()));
    if let Some(via) = told.via {
        text.push_str(&format!("    to whom mail for <{}> goes\n", shown(&via.to_string())));
    }
    if let Some(reply) = told.diagnostic {
        let host = told.host.unwrap_or("the next host");
        let place = match told.place {
            "" => String::new(),
            place => format!(" ({})", shown(&cut(place, ANSWER_KEPT))),
        };
        text.push_str(&wrap("    ", "    ", &format!("{host} said{place}:")));
        for line in lines(&cut(reply, ANSWER_KEPT)) {
            // Only words of the host stand at this indent.
            text.push_str(&wrap("      ", "      ", &line));
        }
    }
    let words = told.own_words();
    if !words.is_empty() {
        text.push_str(&wrap("    ", "    ", &words));
    }
    if !told.seen.is_empty() {
        text.push_str("    What DNS says of us at this moment:\n");
        let lines = told.seen.iter().map(|line| wrap("    - ", "    ", line));
        text.extend(lines);
    }
    if let Some(moment) = told.will_retry_until.filter(|_| told.action == NoticeAction::Delayed) {
        text.push_str(&format!("    We try until {}.\n", notice.date(moment)));
    }
    text
}

/// What the reader can do.
fn advice(action: NoticeAction, is_own: bool) -> &'static str {
    match action {
        NoticeAction::Failed if is_own => {
            "Nothing more will be tried. Please look at the reason given and at the spelling of the \
             address, then send the message again, or reach the recipient in some other way."
        }
        NoticeAction::Failed => "Nothing more will be tried.",
        NoticeAction::Delayed if is_own => {
            "You need not do anything, and need not send it again: we go on trying by ourselves."
        }
        NoticeAction::Delayed => "We go on trying by ourselves.",
        NoticeAction::Delivered => "That does not say that anybody has read it.",
        NoticeAction::Relayed | NoticeAction::Expanded => "We know no more about it from here on.",
    }
}

/// The postmaster to ask, and what is attached.
fn closing(notice: &Notice) -> String {
    let ask = format!(
        "Who asks postmaster@{} about it should give this name: {}.",
        notice.reporting_mta, notice.original.id
    );
    let attached = match notice.original.returned {
        Ret::Full => "A report for programs and the whole message are attached.",
        Ret::Headers => "A report for programs and the header of the message are attached.",
    };
    format!("{}{}", wrap("", "", &ask), wrap("", "", attached))
}
