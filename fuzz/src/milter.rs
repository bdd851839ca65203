//! What a filter says: the same however it is cut, bounded, and fit for a client, a log and a header.

use facteur::limits::{FILTER_REPLY_LINES_MAX, REPLY_LINE_MAX};
use facteur::mail::changed_header::{ChangedHeader, NewField};
use facteur::mail::header::{EndedBy, FieldPlaces, Header, HeaderEnd};
use facteur::mail::visible::is_hidden;
use facteur::smtp::milter::{
    BadFilterAnswer, FilterAnswer, FilterChange, FilterCommand, FilterMacros, FilterVerdict,
    MilterClient,
};

/// Commands of which one is answered, by the first octet.
const COMMANDS: [FilterCommand<'static>; 4] = [
    FilterCommand::EndOfMessage,
    FilterCommand::Helo(b"x"),
    FilterCommand::Body(b"x"),
    FilterCommand::Data,
];

/// Version 6, all actions, the body may end early.
const READY: &[u8] = b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\0\x04\0";

pub fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let mut whole = None;
    for pieces in super::cuts(rest) {
        let found = [None, Some(&COMMANDS[usize::from(*first) % COMMANDS.len()])]
            .map(|command| answers(command, &pieces));
        assert_eq!(whole.get_or_insert_with(|| found.clone()), &found);
    }
    for answer in whole.into_iter().flatten().flatten() {
        match answer {
            Err(bad) => assert!(!bad.to_string().contains(is_hidden), "{bad}"),
            Ok(FilterAnswer::Verdict(FilterVerdict::Reply(reply))) => {
                let mut wire = Vec::new();
                reply.to_reply().write_to(&mut wire);
                let wire = String::from_utf8(wire).unwrap();
                let lines: Vec<&str> = wire.split_terminator("\r\n").collect();
                assert!((1..=FILTER_REPLY_LINES_MAX).contains(&lines.len()));
                let enhanced = format!("{}.", reply.code() / 100);
                for line in lines {
                    assert!(line.len() + 2 <= REPLY_LINE_MAX && !line.contains(is_hidden));
                    assert!(line.starts_with(&reply.code().to_string()));
                    assert!(line[4..].starts_with(&enhanced), "{line}");
                }
            }
            Ok(FilterAnswer::Change(
                FilterChange::AddField { name, value }
                | FilterChange::InsertField { name, value, .. }
                | FilterChange::ChangeField { name, value, .. },
            )) => check_field(&name, &value),
            Ok(_) => {}
        }
    }
}

/// What a filter answers to a command, or to our offer.
fn answers(
    command: Option<&FilterCommand<'_>>,
    pieces: &[&[u8]],
) -> Vec<Result<FilterAnswer, BadFilterAnswer>> {
    let (mut client, mut found) = (MilterClient::default(), Vec::new());
    if let Some(command) = command {
        client.feed(READY);
        assert_eq!(client.answer(), Ok(Some(FilterAnswer::Ready)));
        assert_eq!(client.say(command, &FilterMacros::default(), &mut Vec::new()), Ok(true));
    }
    for piece in pieces {
        client.feed(piece);
        loop {
            match client.answer() {
                Ok(None) => break,
                Ok(Some(answer)) => found.push(Ok(answer)),
                Err(bad) => {
                    found.push(Err(bad));
                    return found;
                }
            }
        }
    }
    found
}

/// One field comes of it, or none.
fn check_field(name: &[u8], value: &[u8]) {
    for has_space in [false, true] {
        let Ok(field) = NewField::new(name, value, has_space) else { continue };
        let end = HeaderEnd { at: 0, body_at: 0, by: EndedBy::Message };
        let mut header = ChangedHeader::new(Vec::new(), &FieldPlaces::default(), end, "", &[]);
        header.add(field).unwrap();
        let (octets, _) = header.to_octets();
        let read = Header::read(&octets);
        assert_eq!(read.fields.len(), 1);
        assert_eq!(read.fields[0].name, name);
        assert_eq!((read.end.by, read.end.body_at), (EndedBy::EmptyLine, octets.len() as u64));
    }
}
