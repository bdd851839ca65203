//! The header of a message: found the same however it comes, and a message that one of our users sends is
//! completed once, keeps its body, and shows no blind copy.

use facteur::limits::{CUTS_MAX, DELIVERED_TO_MAX, FIELD_VALUE_MAX, FROM_ADDRESSES_MAX};
use facteur::mail::address::{Domain, Mailbox};
use facteur::mail::header::{Header, Reader};
use facteur::mail::repair::{Completion, Domains, SubmittedHeader};
use facteur::mail::summary::{Summarizer, Summary};
use facteur::mail::visible::is_hidden;

pub fn run(data: &[u8]) {
    scanned(data);
    let Ok(Some(header)) = SubmittedHeader::read(data, true) else { return };
    // As soon as the end is seen, it is seen where it is.
    for length in [data.len() / 3, data.len() / 2, data.len().saturating_sub(1), data.len()] {
        if let Ok(Some(early)) = SubmittedHeader::read(&data[..length], false) {
            assert_eq!(early.body_at(), header.body_at(), "of {length} octets");
        }
    }
    completed(&header);
    let domain = Domain::parse("mx.test").unwrap();
    match header.recipients(&domain, 50) {
        Ok(found) => {
            assert!(found.len() <= 50 && found.iter().all(|found| found.check_length().is_ok()));
            found.iter().for_each(check);
        }
        Err(bad) => assert!(!bad.piece.contains(is_hidden), "{bad}"),
    }
    if let Ok(found) = header.authors(&domain) {
        assert!(found.len() <= FROM_ADDRESSES_MAX);
        found.iter().for_each(check);
    }
}

fn check(mailbox: &Mailbox) {
    assert!(!mailbox.to_string().contains(char::is_control), "{mailbox}");
}

fn scan(pieces: &[&[u8]]) -> Summary {
    let mut reader = Reader::new(Summarizer::default());
    pieces.iter().for_each(|piece| reader.feed(piece));
    reader.finish().0.summary
}

fn scanned(data: &[u8]) {
    let found = scan(&[data]);
    for pieces in super::cuts(data) {
        assert_eq!(scan(&pieces), found);
    }
    assert!(found.delivered_to.len() <= DELIVERED_TO_MAX);
    assert!(found.delivered_to.iter().all(|value| value.len() <= 3 * FIELD_VALUE_MAX));
    assert!(found.return_paths.len() <= CUTS_MAX);
    let (mut kept, mut done) = (b"X: y\n".to_vec(), 0);
    for cut in &found.return_paths {
        let (start, end) = (cut.start as usize, cut.end as usize);
        assert!(done <= start && start < end && end <= data.len());
        let line = &data[start..end];
        assert!(line[..11].eq_ignore_ascii_case(b"Return-Path"));
        assert!(end == data.len() || line.ends_with(b"\n"));
        kept.extend_from_slice(&data[done..start]);
        done = end;
    }
    kept.extend_from_slice(&data[done..]);
    // Under a field of ours, as it is delivered; what begins with no field would be read otherwise.
    let header = Header::read(data);
    let on_top = header.fields.first().is_none_or(|first| first.at > 0);
    if found.return_paths.len() < CUTS_MAX && !on_top {
        let again = scan(&[&kept]);
        assert!(again.return_paths.is_empty(), "one is left");
        assert_eq!((again.received, again.delivered_to), (found.received, found.delivered_to));
    }
}

fn completed(header: &SubmittedHeader) {
    let ann = Mailbox::parse("ann@mx.test").unwrap();
    let domain = Domain::parse("mx.test").unwrap();
    let date = "2026-02-03T04:05:06+01:00[+01:00]".parse().unwrap();
    for sender in [None, Some(&ann)] {
        for domain in [Domains::Later, Domains::Known(&domain, &domain)] {
            let with = Completion {
                date: &date,
                message_id: "1@mx.test",
                name: None,
                from: "ann@mx.test",
                sender,
                domain,
            };
            let written = header.completed(&with);
            let read = SubmittedHeader::read(&written, true);
            let Ok(Some(read)) = read else { return };
            assert_eq!(read.body_at(), written.len(), "it ends early");
            assert_eq!(read.is_resent(), header.is_resent());
            assert!(read.completed(&with) == written, "completed twice it differs");
            let mut fields = Header::read(&written).fields.into_iter();
            assert!(!fields.any(|field| field.is_any(&["Bcc", "Resent-Bcc"])), "a blind copy");
        }
    }
}
