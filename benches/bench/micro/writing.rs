//! What goes out: replies, the fields on top of each copy, the header of what a user submits, and a message
//! on its way to the next hop.

use super::Case;
use crate::Outcome;
use crate::samples::{HEADER, message, text};
use facteur::mail::address::{ClientName, Domain, ForwardPath, Mailbox, ReversePath};
use facteur::mail::repair::{Completion, Domains, SubmittedHeader};
use facteur::mail::trace_fields::{self, Received};
use facteur::smtp::outgoing::Encoder;
use facteur::smtp::reply::Reply;
use jiff::ZonedDateTime;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

pub fn cases<'a>() -> Outcome<Vec<Case<'a>>> {
    let date: ZonedDateTime = "2026-11-23T10:00:01+00:00[UTC]".parse()?;
    Ok(vec![
        replies(),
        prefix(date.clone())?,
        completed(date)?,
        outgoing("out, plain text", message(0)),
        outgoing("out, dots alone (the worst)", text(".\n")),
    ])
}

/// Made and written, as the session does both each time.
fn replies<'a>() -> Case<'a> {
    let mut wire = Vec::new();
    let mut write = move || {
        wire.clear();
        let ehlo = Reply::plain(250, "mx.bench.test").line("PIPELINING").line("SIZE 52428800");
        ehlo.line("8BITMIME").line("SMTPUTF8").line("CHUNKING").line("DSN").write_to(&mut wire);
        Reply::new(250, "2.1.0", "sender ok").write_to(&mut wire);
        Reply::new(250, "2.1.5", "recipient ok").write_to(&mut wire);
        Reply::new(250, "2.0.0", "Ok: queued as 1ABCDE-000123-4F").write_to(&mut wire);
        black_box(&wire).len()
    };
    let octets = write();
    Case::new("replies, to EHLO and three more", octets, move || {
        write();
    })
}

/// Return-Path, Delivered-To and Received.
fn prefix<'a>(date: ZonedDateTime) -> Outcome<Case<'a>> {
    let from = ReversePath::Mailbox(Mailbox::parse("zoe@example.net")?);
    let mailbox = Mailbox::parse("ann@example.org")?;
    let to = ForwardPath::Mailbox(mailbox.clone());
    let name = ClientName::parse(b"relay.example.net")?;
    let by = Domain::parse("mx.example.org")?;
    let build = move || {
        let received = Received {
            name: &name,
            client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 17)),
            by: &by,
            with: "ESMTPS",
            tls: Some("TLS13_AES_256_GCM_SHA384"),
            id: "1ABCDE-000123-4F",
            recipient: Some(&to),
            date: black_box(&date),
        };
        let (path, delivered) =
            (trace_fields::return_path(&from), trace_fields::delivered_to(&mailbox));
        black_box(format!("{path}{delivered}{}", received.field())).len()
    };
    let octets = build();
    Ok(Case::new("header, fields of a delivered copy built", octets, move || {
        build();
    }))
}

fn completed<'a>(date: ZonedDateTime) -> Outcome<Case<'a>> {
    // What a device sends: everything else has to be put there.
    let head =
        HEADER.lines().filter(|line| !line.starts_with("Date:") && !line.starts_with("Mess"));
    let head: String = head.map(|line| format!("{line}\n")).collect();
    let domain = Domain::parse("example.net")?;
    Ok(Case::new("header, of a submitted message completed", head.len(), move || {
        let with = Completion {
            date: &date,
            message_id: "1ABCDE@example.net",
            name: None,
            from: "zoe@example.net",
            sender: None,
            domain: Domains::Known(&domain, &domain),
        };
        if let Ok(Some(header)) = SubmittedHeader::read(black_box(head.as_bytes()), true) {
            black_box(header.completed(&with));
        }
    }))
}

fn outgoing<'a>(name: &'static str, mut octets: Vec<u8>) -> Case<'a> {
    octets.retain(|octet| *octet != b'\r');
    let mut wire = Vec::with_capacity(3 * octets.len());
    Case::new(name, octets.len(), move || {
        wire.clear();
        let mut encoder = Encoder::default();
        encoder.feed(black_box(&octets), &mut wire);
        encoder.finish(&mut wire);
        black_box(&wire);
    })
}
