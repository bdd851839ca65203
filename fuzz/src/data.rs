//! A message on its way in: DATA and BDAT mean the same however they are cut, and what a model reads
//! that has the whole of it; and what goes out comes in again.

use facteur::mail::header::Reader;
use facteur::mail::survey::Surveyor;
use facteur::smtp::chunk::Chunks;
use facteur::smtp::dot_stuffing::Decoder;
use facteur::smtp::outgoing::Encoder;

pub fn run(data: &[u8]) {
    by_data(data);
    by_bdat(data);
    out_and_in(data);
}

/// What was found: body, octets taken, whether the message ended, size, whether something is bare.
type Found = (Vec<u8>, usize, bool, u64, bool);

fn by_data(data: &[u8]) {
    let model = model(data);
    for pieces in super::cuts(data) {
        let (mut decoder, mut body, mut taken, mut ended) =
            (Decoder::default(), Vec::new(), 0, false);
        for piece in pieces {
            let (used, end) = decoder.feed(piece, &mut body);
            assert!(used == piece.len() || end);
            taken += used;
            ended = end;
            if end {
                break;
            }
        }
        let found: Found = (body, taken, ended, decoder.wire_size(), decoder.has_bare());
        match &model {
            // A message with a bare octet is refused: of it only the end counts, and that it is.
            Some((_, taken, _, _, true)) => {
                assert_eq!((found.1, found.2, found.4), (*taken, true, true));
            }
            Some(model) => assert!(found == *model, "{found:?} is not {model:?}"),
            None => assert!(!found.2 && found.1 == data.len(), "{found:?} has no end"),
        }
    }
}

/// The end of data is the first line with a dot alone, and only CR LF ends a line (RFC 5321 §4.1.1.4).
fn model(data: &[u8]) -> Option<Found> {
    let end = match data.starts_with(b".\r\n") {
        true => 0,
        false => data.windows(5).position(|window| window == b"\r\n.\r\n")? + 2,
    };
    let (mut body, mut size, mut bare, mut rest) = (Vec::new(), 0, false, &data[..end]);
    while !rest.is_empty() {
        let length = rest.windows(2).position(|two| two == b"\r\n").unwrap_or(rest.len());
        let line = &rest[..length];
        let line = line.strip_prefix(b".").unwrap_or(line);
        bare |= line.contains(&b'\r') || line.contains(&b'\n');
        body.extend_from_slice(line);
        body.push(b'\n');
        size += line.len() as u64 + 2;
        rest = rest.get(length + 2..).unwrap_or_default();
    }
    Some((body, end + 3, true, size, bare))
}

fn by_bdat(data: &[u8]) {
    // The model: each CR LF is an LF, and any other CR or LF is bare.
    let (mut expected, mut bare, mut rest) = (Vec::new(), false, data);
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'\r', [b'\n', after @ ..]) => {
                expected.push(b'\n');
                rest = after;
            }
            (b'\r' | b'\n', _) => bare = true,
            (other, _) => expected.push(*other),
        }
    }
    for pieces in super::cuts(data) {
        let (mut chunks, mut body) = (Chunks::default(), Vec::new());
        pieces.iter().for_each(|piece| chunks.feed(piece, &mut body));
        assert_eq!((chunks.wire_size(), chunks.has_bare()), (data.len() as u64, bare));
        assert!(bare || body == expected, "{body:?} is not {expected:?}");
        assert!(body.len() <= data.len());
    }
}

/// A message of ours has LF; a CR in it is one that the way in would refuse, so there is none.
fn out_and_in(data: &[u8]) {
    let message: Vec<u8> = data.iter().copied().filter(|&octet| octet != b'\r').collect();
    let mut whole: Option<Vec<u8>> = None;
    for pieces in super::cuts(&message) {
        let (mut encoder, mut survey, mut wire) =
            (Encoder::default(), Reader::new(Surveyor::default()), Vec::new());
        for piece in pieces {
            encoder.feed(piece, &mut wire);
            survey.feed(piece);
        }
        encoder.finish(&mut wire);
        let content = survey.finish().0.whole();
        let (mut decoder, mut body) = (Decoder::default(), Vec::new());
        assert_eq!(decoder.feed(&wire, &mut body), (wire.len(), true));
        assert_eq!((decoder.wire_size(), decoder.has_bare()), (content.size, false));
        assert_eq!(content.is_eight_bit, !message.is_ascii());
        let line_end: &[u8] = match message.last() {
            None | Some(b'\n') => b"",
            Some(_) => b"\n",
        };
        assert!(body == [&message[..], line_end].concat());
        assert_eq!(whole.get_or_insert_with(|| wire.clone()), &wire);
    }
}
