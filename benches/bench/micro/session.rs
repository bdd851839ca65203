//! The language as a whole: every octet of a session with one message, and every reply to it.

use super::Case;
use crate::Outcome;
use crate::samples::message;
use facteur::mail::address::Domain;
use facteur::smtp::session::{Question, Reaction, Session, Settings};
use std::hint::black_box;

pub fn cases<'a>() -> Outcome<Vec<Case<'a>>> {
    let settings = Settings {
        hostname: Domain::parse("mx.bench.test")?,
        id: "s0".to_owned(),
        message_size: 50 * 1024 * 1024,
        recipients: 1000,
        errors: 20,
        tls: false,
        auth: Vec::new(),
        auth_failures: 3,
        is_filtered: false,
    };
    let mut octets = b"EHLO client.test\r\nMAIL FROM:<sender@client.test>\r\n\
                       RCPT TO:<u0@bench.test>\r\nDATA\r\n"
        .to_vec();
    octets.extend(message(0));
    octets.extend_from_slice(b".\r\nQUIT\r\n");
    let (mut body, mut replies) = (Vec::new(), Vec::new());
    play(&settings, &octets, &mut body, &mut replies);
    if !replies.ends_with(b"\r\n") || !String::from_utf8_lossy(&replies).contains("queued as") {
        let replies = String::from_utf8_lossy(&replies);
        return Err(format!("the session of the micro-benchmark goes wrong: {replies}").into());
    }
    Ok(vec![Case::new("session, one message, EHLO to QUIT", octets.len(), move || {
        play(&settings, black_box(&octets), &mut body, &mut replies);
        black_box((&body, &replies));
    })])
}

/// Says yes to everything.
fn play(settings: &Settings, mut octets: &[u8], body: &mut Vec<u8>, replies: &mut Vec<u8>) {
    body.clear();
    replies.clear();
    let mut session = Session::new(settings.clone());
    session.banner().write_to(replies);
    while !octets.is_empty() {
        let (used, action) = session.feed(octets, body);
        octets = &octets[used..];
        let action = match action {
            Some(Reaction::Ask(Question::Message(_))) => session.accepted("1ABCDE-000123-4F"),
            Some(Reaction::Ask(_)) => session.allow(),
            Some(action) => action,
            None => continue,
        };
        match action {
            Reaction::Send(reply) | Reaction::SendNow(reply) | Reaction::Close(reply) => {
                reply.write_to(replies);
            }
            Reaction::Ask(_) | Reaction::Listen | Reaction::StartTls(_) => {}
        }
    }
}
