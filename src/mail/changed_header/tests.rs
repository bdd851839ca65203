use super::*;
use crate::mail::edits::Piece;
use crate::mail::header::Reader;

fn header(message: &str, results: &str, without: &[Range<u64>]) -> ChangedHeader {
    let mut reader = Reader::new(FieldPlaces::default());
    reader.feed(message.as_bytes());
    let (places, end) = reader.finish();
    let octets = message.as_bytes()[..end.at as usize].to_vec();
    ChangedHeader::new(octets, &places, end, results, without)
}

fn view(header: &ChangedHeader, message: &str) -> String {
    let edits = header.edits("Received: us\n");
    let mut view = String::new();
    for piece in edits.pieces(message.len() as u64) {
        match piece {
            Piece::Put(octets) => view.push_str(std::str::from_utf8(octets).unwrap()),
            Piece::Kept(range) => view.push_str(&message[range.start as usize..range.end as usize]),
        }
    }
    view
}

fn field(text: &str) -> NewField {
    let (name, value) = text.split_once(':').unwrap();
    NewField::new(name.as_bytes(), value.as_bytes(), true).unwrap()
}

const MESSAGE: &str = "A: 1\nB: 2\na: 3\n 4\nC: 5\n\nbody\n";

#[test]
fn each_change_counts_what_is_there_then() {
    let mut changed = header(MESSAGE, "", &[]);
    assert_eq!(view(&changed, MESSAGE), format!("Received: us\n{MESSAGE}"));
    changed.insert(1, field("X: below Received")).unwrap();
    changed.insert(0, field("Y: above")).unwrap();
    // Y, Received, X, A, B
    changed.insert(4, field("Z: before B")).unwrap();
    changed.insert(100, field("E: end")).unwrap();
    changed.delete(1, b"A");
    changed.change(1, field("A: three")).unwrap();
    changed.change(2, field("a: new")).unwrap();
    changed.change(0, field("z: changed")).unwrap();
    changed.delete(2, b"B");
    changed.delete(1, b"Received");
    assert_eq!(
        view(&changed, MESSAGE),
        "Y: above\nReceived: us\nX: below Received\nz: changed\nB: 2\nA: three\nC: 5\nE: end\na: new\n\nbody\n"
    );
    let (octets, at) = changed.to_octets();
    let whole = String::from_utf8(octets).unwrap();
    let (above, below) = whole.split_at(at as usize);
    assert_eq!(format!("{above}Received: us\n{below}body\n"), view(&changed, MESSAGE));
}

#[test]
fn our_results_are_the_first_field_and_received_stands_below() {
    let forged = vec![Range { start: 0, end: 5 }];
    let mut changed = header(MESSAGE, "Authentication-Results: us\n", &forged);
    let names: Vec<_> = changed.fields().map(|(name, value)| [name, value].concat()).collect();
    assert_eq!(names[..2], [b"Authentication-Results us".to_vec(), b"B 2".to_vec()]);
    let top = "Authentication-Results: us\nReceived: us\n";
    let rest = MESSAGE.strip_prefix("A: 1\n").unwrap();
    assert_eq!(view(&changed, MESSAGE), format!("{top}{rest}"));
    for at in [1, 0] {
        changed.insert(at, field("X: 1")).unwrap();
    }
    changed.insert(4, field("Y: 1")).unwrap();
    assert_eq!(view(&changed, MESSAGE), format!("X: 1\nX: 1\n{top}Y: 1\n{rest}"));
    changed.delete(1, b"authentication-results");
    assert_eq!(view(&changed, MESSAGE), format!("X: 1\nReceived: us\nX: 1\nY: 1\n{rest}"));
    assert_eq!(changed.put_fields().count(), 3);
}

#[test]
fn values_cannot_begin_fields_or_end_the_header() {
    let lines = |value: &[u8]| {
        NewField::new(b"X", value, false).map(|field| String::from_utf8(field.lines).unwrap())
    };
    assert_eq!(lines(b"a\n\tb\r\n c\n"), Ok("X: a\n\tb\n c\n".to_owned()));
    assert_eq!(lines(b"a\r\nEvil: b\n\n \n\nc\rd\0"), Ok("X: a\n\tEvil: b\n\tcd\n".to_owned()));
    assert_eq!(lines(b""), Ok("X: \n".to_owned()));
    for name in [&b""[..], b"a b", b"a:", b"a\r\nb", b"\xe9", b" a", b"a\t", &[b'a'; 998]] {
        assert_eq!(NewField::new(name, b"x", true), Err(BadNewField::Name), "{name:?}");
    }
    assert_eq!(field("X:y").lines, b"X:y\n");
}

#[test]
fn odd_headers() {
    for (message, expected) in [
        ("", "Received: us\nX: 1\n"),
        ("\nbody", "Received: us\nX: 1\n\nbody"),
        (" folded\nA: 1\n", "Received: us\nX: 1\n\n folded\nA: 1\n"),
        ("text\n", "Received: us\nX: 1\n\ntext\n"),
        ("A: torn", "Received: us\nA: torn\nX: 1\n"),
        ("From ann\nA: 1\n\nb\n", "Received: us\nFrom ann\nA: 1\nX: 1\n\nb\n"),
        ("From ann\nA: 1\nb\n", "Received: us\nFrom ann\nA: 1\nX: 1\n\nb\n"),
    ] {
        let mut changed = header(message, "", &[]);
        changed.add(field("X: 1")).unwrap();
        assert_eq!(view(&changed, message), expected);
    }
    assert_eq!(view(&header("text\n", "", &[]), "text\n"), "Received: us\ntext\n");
    let mut changed = header("From ann\nA: 1\n\nb\n", "", &[]);
    changed.delete(1, b"A");
    assert_eq!(view(&changed, "From ann\nA: 1\n\nb\n"), "Received: us\nFrom ann\n\nb\n");
}

#[test]
fn many_changes_of_many_fields_are_bounded() {
    let message = "X: 1\n".repeat(200_000);
    let mut changed = header(&message, "", &[]);
    (0..1000).for_each(|at| changed.delete(1000 - at, b"x"));
    (0..1000).for_each(|at| changed.insert(at, field("Y: 1")).unwrap());
    assert_eq!(changed.fields().count(), 200_000);
    let long = NewField::new(b"Z", &vec![b'z'; HEADER_MAX], true).unwrap();
    assert_eq!(changed.add(long), Err(BadNewField::Room));
    assert_eq!(view(&changed, &message).len(), message.len() + "Received: us\n".len());
}
