//! What filters change in a message, and what they may not.

use super::MESSAGE;
use super::chain::{Message, SIZE, alone, chain, envelope, told, transaction};
use super::milterd::{Does, Milterd, options, packet, usual};
use crate::support::Place;
use facteur::config::MilterRights;
use facteur::filters::MessageOpinion;
use std::ops::Range;

/// A filter that asks for changes at the end, and accepts.
fn changing(place: &Place, name: &str, changes: &[&[u8]]) -> Milterd {
    let end: Vec<u8> = changes.iter().flat_map(packet).chain(packet("a")).collect();
    Milterd::unix(place, name, move |_, letter, _| match letter {
        b'E' => Does::Says(end.clone()),
        _ => usual(letter),
    })
}

/// What a message becomes, and what is told.
fn through(changes: &[&[u8]]) -> (String, Vec<String>) {
    let place = Place::new();
    let filter = changing(&place, "filter", changes);
    let mut chain = alone(&filter);
    envelope(&mut chain).unwrap();
    let message = Message::new(MESSAGE);
    let filtered = message.through(&mut chain);
    (message.delivered(&filtered), told(&mut chain))
}

#[test]
fn fields_by_their_position() {
    let (delivered, told) = through(&[
        b"hX-Last\0one\n\ttwo\0",
        b"i\0\0\0\0X-Above\x001\0",
        // Above, Received, and then it.
        b"i\0\0\0\x02X-Below\x002\0",
        b"m\0\0\0\x01subject\0changed\0",
        b"m\0\0\0\x01from\0\0",
        b"m\0\0\0\x02Subject\0another\0",
        b"m\0\0\0\x07Nowhere\0\0",
    ]);
    assert_eq!(
        delivered,
        "X-Above: 1\nReceived: us\nX-Below: 2\nsubject: changed\nX-Folded: a\n\tb\n\
         X-Last: one\n\ttwo\nSubject: another\n\nHello\n"
    );
    assert_eq!(told, ["one end of message: changed (7 changes of fields)"]);
}

#[test]
fn the_space_behind_a_colon_is_agreed_on() {
    for (steps, heard, put) in
        [(0x10_0000, " ann@example.org", "X:1\n"), (0, "ann@example.org", "X: 1\n")]
    {
        let place = Place::new();
        let filter = Milterd::unix(&place, "filter", move |_, letter, _| match letter {
            b'O' => Does::Says(options(6, 0x1ff, steps)),
            b'E' => Does::Says([packet("hX\x001\0"), packet("c")].concat()),
            _ => usual(letter),
        });
        let mut chain = alone(&filter);
        envelope(&mut chain).unwrap();
        let message = Message::new(MESSAGE);
        let filtered = message.through(&mut chain);
        assert!(message.delivered(&filtered).contains(&format!("\n{put}\nHello")));
        let field = (b'L', format!("From\0{heard}\0").into_bytes());
        assert!(filter.heard()[0].contains(&field));
        assert!(filter.heard()[0].contains(&(b'L', b"Subject\0no space\0".to_vec())));
    }
}

#[test]
fn our_results_are_the_first_field() {
    let place = Place::new();
    let filter = changing(&place, "filter", &[b"i\0\0\0\x01X\x001\0", b"i\0\0\0\0Y\x001\0"]);
    let mut chain = alone(&filter);
    envelope(&mut chain).unwrap();
    let message = Message::new(format!("Authentication-Results: mx.test; forged\n{MESSAGE}"));
    let forged: Vec<Range<u64>> = vec![Range { start: 0, end: 40 }];
    let input = message.input("Authentication-Results: mx.test; spf=pass\n", &forged);
    let filtered = chain.message(&input).unwrap();
    assert_eq!(
        message.delivered(&filtered),
        format!("Y: 1\nX: 1\nAuthentication-Results: mx.test; spf=pass\nReceived: us\n{MESSAGE}")
    );
    let fields = filter.heard().remove(0).into_iter().filter(|(letter, _)| *letter == b'L');
    let first: Vec<_> = fields.map(|(_, data)| data).take(2).collect();
    assert_eq!(first[0], b"Authentication-Results\0mx.test; spf=pass\0");
    assert_eq!(first[1], b"From\0ann@example.org\0");
}

#[test]
fn each_filter_sees_what_those_before_have_changed() {
    let place = Place::new();
    let one = changing(
        &place,
        "1",
        &[b"hX-One\x001\0", b"m\0\0\0\x01From\0\0", b"bother\r\nbo", b"bdy", b"+<carol@mx.test>\0"],
    );
    let two = changing(&place, "2", &[b"m\0\0\0\x01x-one\x002\0", b"i\0\0\0\x01X-Two\x001\0"]);
    let three = changing(&place, "3", &[b"blast\n", b"-<carol@mx.test>\0"]);
    let mut chain = chain(&[one.config("one"), two.config("two"), three.config("three")]);
    envelope(&mut chain).unwrap();
    let message = Message::new(MESSAGE);
    let filtered = message.through(&mut chain);
    assert_eq!(
        message.delivered(&filtered),
        "Received: us\nX-Two: 1\nSubject:no space\nX-Folded: a\n\tb\nx-one: 2\n\nlast\n"
    );
    assert!(filtered.added.is_empty() && filtered.removed.is_empty());
    let content = |filter: &Milterd| {
        let heard = filter.heard().remove(0).into_iter();
        let heard = heard.filter(|(letter, _)| matches!(letter, b'L' | b'B'));
        heard.map(|(_, data)| String::from_utf8(data).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(
        content(&two),
        ["Subject\0no space\0", "X-Folded\0a\n\tb\0", "X-One\x001\0", "other\r\nbody\r\n"]
    );
    assert_eq!(
        content(&three),
        [
            "X-Two\x001\0",
            "Subject\0no space\0",
            "X-Folded\0a\n\tb\0",
            "x-one\x002\0",
            "other\r\nbody\r\n"
        ]
    );
    let put: Vec<_> = filtered.put_fields().map(|(name, value)| [name, value].concat()).collect();
    assert_eq!(put, [b"X-Two 1".to_vec(), b"x-one 2".to_vec()]);
    let replaced = filtered.body.unwrap();
    assert_eq!(replaced.summary.received, 0);
}

#[test]
fn a_long_body_in_many_pieces() {
    let place = Place::new();
    let line = "0123456789".repeat(6) + "\r\n";
    let body = line.repeat(10_000);
    let pieces: Vec<Vec<u8>> = body.as_bytes().chunks(4099).map(|p| [b"b", p].concat()).collect();
    let end: Vec<u8> = pieces.iter().flat_map(packet).chain(packet("a")).collect();
    let filter = Milterd::unix(&place, "filter", move |_, letter, _| match letter {
        b'E' => Does::Says(end.clone()),
        _ => usual(letter),
    });
    let mut chain = alone(&filter);
    envelope(&mut chain).unwrap();
    let message = Message::new(format!("A: 1\n\n{}", "x".repeat(70_000)));
    let filtered = message.through(&mut chain);
    assert_eq!(
        message.delivered(&filtered),
        format!("Received: us\nA: 1\n\n{}", body.replace("\r\n", "\n"))
    );
    assert!(filtered.body.as_ref().is_some_and(|replaced| replaced.body.is_large()));
    let sent = filter.heard().remove(0).into_iter().filter(|(letter, _)| *letter == b'B');
    assert_eq!(sent.map(|(_, data)| data.len()).collect::<Vec<_>>(), [65_535, 4_465]);
}

#[test]
fn a_body_of_more_than_a_message_may_have_is_a_failure_of_this_message_alone() {
    let place = Place::new();
    let piece = packet([b"b", &vec![b'x'; 60_000][..]].concat());
    let end = [piece.repeat(SIZE as usize / 60_000 + 1), packet("a")].concat();
    let filter = Milterd::unix(&place, "filter", move |_, letter, _| match letter {
        b'E' => Does::Says(end.clone()),
        _ => usual(letter),
    });
    for is_passed in [false, true] {
        let mut config = filter.config("one");
        config.is_passed = is_passed;
        let mut chain = chain(&[config]);
        envelope(&mut chain).unwrap();
        let message = Message::new(MESSAGE);
        let filtered = chain.message(&message.input("", &[])).unwrap();
        let is_taken = filtered.opinion == MessageOpinion::Take;
        assert_eq!(is_taken, is_passed);
        assert_eq!(message.delivered(&filtered), format!("Received: us\n{MESSAGE}"));
        let expected =
            "one end of message: failed (it gave a body that is larger than a message may be)";
        assert_eq!(told(&mut chain), [expected]);
        // It does not rest.
        transaction(&mut chain).unwrap();
    }
}

#[test]
fn envelope_and_quarantine() {
    let place = Place::new();
    let filter = changing(
        &place,
        "filter",
        &[
            b"e<>\0",
            b"e<carol@example.org>\0SIZE=1\0",
            b"-<bob@mx.test>\0",
            b"+dave@mx.test\0",
            b"2<erin@mx.test>\0NOTIFY=NEVER\0",
            b"+<dave@mx.test>\0",
            b"qlooks \x1b bad\0",
        ],
    );
    let mut chain = alone(&filter);
    envelope(&mut chain).unwrap();
    let filtered = Message::new(MESSAGE).through(&mut chain);
    assert_eq!(filtered.sender, Some(super::from("<carol@example.org>")));
    assert_eq!(filtered.removed, [super::to("<bob@mx.test>")]);
    assert_eq!(filtered.added, [super::to("<dave@mx.test>"), super::to("<erin@mx.test>")]);
    let (by, why) = filtered.quarantine.unwrap();
    assert_eq!((by.as_str(), why.as_str()), ("one", "looks \\x1b bad"));
    assert_eq!(
        told(&mut chain),
        [
            "one end of message: changed (the sender, 4 changes of recipients)",
            "one end of message: quarantine (looks \\x1b bad)"
        ]
    );
}

#[test]
fn without_recipients_a_message_goes_nowhere() {
    let place = Place::new();
    let filter = changing(&place, "filter", &[b"-<bob@MX.test>\0"]);
    let mut chain = alone(&filter);
    envelope(&mut chain).unwrap();
    let filtered = chain.message(&Message::new(MESSAGE).input("", &[])).unwrap();
    assert_eq!(filtered.opinion, MessageOpinion::Discard { filter: "one".to_owned() });
    assert_eq!(told(&mut chain)[1], "one end of message: discard (no recipient is left)");
}

#[test]
fn what_makes_no_sense_is_left_undone() {
    let (delivered, told) = through(&[
        b"hX bad\x001\0",
        b"hX:\x001\0",
        b"i\0\0\0\0X\r\nY\x001\0",
        b"m\0\0\0\x01\0x\0",
        b"+<nobody>\0",
        b"+<a@b> x\0",
        b"-<carol@mx.test>\0",
        b"e<a@>\0",
        b"hX\0good\r\nEvil: x\n\n.\0",
    ]);
    let expected = MESSAGE.replace("\n\nHello", "\nX: good\n\tEvil: x\n\t.\n\nHello");
    assert_eq!(delivered, format!("Received: us\n{expected}"));
    assert_eq!(
        told,
        [
            "one end of message: changed (1 change of fields)",
            "one end of message: undone (field X bad: no name of a field)",
            "one end of message: undone (field X:: no name of a field)",
            "one end of message: undone (field X\\x0d\\x0aY: no name of a field)",
            "one end of message: undone (field : no name of a field)",
            "one end of message: undone (recipient <nobody>: the domain is missing)",
            "one end of message: undone (recipient <a@b> x: bad domain after the @)",
            "one end of message: undone (recipient <carol@mx.test>: it is none of this message's)",
            "one end of message: undone (sender <a@>: bad domain after the @)",
        ]
    );
}

#[test]
fn what_it_may_not_is_left_undone() {
    let place = Place::new();
    let filter = changing(
        &place,
        "filter",
        &[
            b"hX\x001\0",
            b"bother",
            b"b body",
            b"+<carol@mx.test>\0",
            b"-<bob@mx.test>\0",
            b"e<>\0",
            b"qbad\0",
        ],
    );
    let mut config = filter.config("one");
    config.may = MilterRights::default();
    let mut chain = chain(&[config]);
    envelope(&mut chain).unwrap();
    let message = Message::new(MESSAGE);
    let filtered = message.through(&mut chain);
    assert!(!filtered.is_changed() && filtered.quarantine.is_none() && filtered.sender.is_none());
    assert!(filtered.added.is_empty() && filtered.removed.is_empty());
    let wants = ["change the header", "add a recipient", "remove a recipient", "change the sender"];
    let wants = wants.into_iter().chain(["hold the message", "replace the body"]);
    let expected: Vec<String> = wants
        .map(|what| format!("one end of message: undone (it wants to {what}, which it may not)"))
        .collect();
    assert_eq!(told(&mut chain), expected);
}

#[test]
fn a_thousand_deletions_and_as_many_bad_ones() {
    let place = Place::new();
    let mut end = Vec::new();
    (0..1000).for_each(|_| end.extend(packet("m\0\0\0\x01X\0\0")));
    (0..1000).for_each(|_| end.extend(packet("m\0\0\0\x01X Y\0\0")));
    end.extend(packet("a"));
    let filter = Milterd::unix(&place, "filter", move |_, letter, _| match letter {
        b'O' => Does::Says(options(6, 0x1ff, 0x80)),
        b'E' => Does::Says(end.clone()),
        _ if letter == b'L' => Does::Says(Vec::new()),
        _ => usual(letter),
    });
    let mut chain = alone(&filter);
    envelope(&mut chain).unwrap();
    let message = Message::new(format!("{}\nbody\n", "X: 1\n".repeat(20_000)));
    let filtered = message.through(&mut chain);
    let delivered = message.delivered(&filtered);
    assert_eq!(delivered, format!("Received: us\n{}\nbody\n", "X: 1\n".repeat(19_000)));
    let told = told(&mut chain);
    assert_eq!(told.len(), 1 + 20 + 1);
    assert_eq!(told[21], "one end of message: undone (980 more changes)");
}
