//! SubmittedHeader fields as a listing shows them: whatever stands in one, it is read within bounds; and a name of
//! ours that is put into From comes out of it.

use facteur::limits::HEADER_MAX;
use facteur::limits::QUOTED_MAX;
use facteur::mail::address::{Domain, Mailbox};
use facteur::mail::fields::Fields;
use facteur::mail::header::{EndedBy, Header};
use facteur::mail::repair::{Completion, Domains, SubmittedHeader};
use facteur::mail::visible::is_hidden;
use facteur::mail::words::{VALUE_MAX, decode};

pub fn run(data: &[u8]) {
    // No charset makes more than a character of an octet.
    assert!(decode(data).len() <= 4 * VALUE_MAX);
    if data.is_ascii() && data.len() <= VALUE_MAX && !data.windows(2).any(|two| two == b"=?") {
        assert_eq!(decode(data).as_bytes(), data);
    }
    let fields = Fields::read(data);
    for value in [&fields.from, &fields.subject].into_iter().flatten() {
        assert!(value.len() <= VALUE_MAX && !value.contains(&b'\n') && value.trim_ascii() == value);
    }
    // What comes behind a complete header changes nothing.
    let header = Header::bounded(data, false, HEADER_MAX);
    if header.is_some_and(|header| header.end.by == EndedBy::EmptyLine) {
        let more = [data, b"\nSubject: other\nFrom: other\n"].concat();
        assert_eq!(Fields::read(&more), fields);
    }
    if let Ok(name) = str::from_utf8(data) {
        named(name);
    }
}

fn named(name: &str) {
    let ann = Mailbox::parse("ann@mx.test").unwrap();
    let date = "2026-02-03T04:05:06+01:00[+01:00]".parse().unwrap();
    let with = Completion {
        date: &date,
        message_id: "1@mx.test",
        name: Some(name),
        from: "ann@mx.test",
        sender: None,
        domain: Domains::Later,
    };
    let header = SubmittedHeader::read(b"\n", true).unwrap().expect("it is whole").completed(&with);
    let read = SubmittedHeader::read(&header, true).unwrap().expect("it is whole");
    // Whatever a name holds, it adds no field and no author.
    assert_eq!(read.body_at(), header.len(), "{name:?}");
    let domain = Domain::parse("mx.test").unwrap();
    assert_eq!(read.authors(&domain).as_deref(), Ok(&[ann.clone()][..]), "{name:?}");
    assert_eq!(read.completed(&with), header, "{name:?}");
    let spaced = name.chars().map(|c| if c.is_whitespace() { ' ' } else { c });
    let visible: String = spaced.filter(|c| !is_hidden(*c)).take(QUOTED_MAX).collect();
    let visible = visible.trim();
    if !visible.is_ascii() {
        let from = Fields::read(&header).from.expect("it was added");
        assert_eq!(decode(&from), format!("{visible} <ann@mx.test>"));
    }
}
