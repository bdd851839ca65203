//! Bodies in pieces: the hashes are those of the canonical body, made here once more as the RFC tells it,
//! however the octets come. The first line chooses lengths.

use facteur::mail::proof::canonical::{BodyForm, BodyHasher, BodyHashes, Form, sha256};

pub fn run(data: &[u8]) {
    let end = data.iter().position(|&octet| octet == b'\n').unwrap_or(data.len());
    let (choice, body) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let mut wanted = Vec::new();
    for form in [Form::Simple, Form::Relaxed] {
        wanted.push(BodyForm { form, length: None });
        let lengths = choice.iter().take(3).map(|octet| Some(u64::from(*octet)));
        wanted.extend(lengths.map(|length| BodyForm { form, length }));
    }
    let expected: Vec<_> = wanted.iter().map(|form| (form, canonical(form.form, body))).collect();
    for pieces in super::cuts(body) {
        let hashes = hashes(&wanted, &pieces);
        for (form, canonical) in &expected {
            let hash = hashes.get(**form).expect("it was wanted, and there is room");
            let most = form.length.map_or(canonical.len(), |length| length as usize);
            let hashed = &canonical[..most.min(canonical.len())];
            assert_eq!(hash.sha256, sha256(hashed), "{form:?} of {canonical:?}");
            assert_eq!(hash.octets, canonical.len() as u64);
        }
    }
}

fn hashes(wanted: &[BodyForm], pieces: &[&[u8]]) -> BodyHashes {
    let mut hasher = BodyHasher::new(wanted);
    pieces.iter().for_each(|piece| hasher.feed(piece));
    hasher.finish()
}

/// RFC 6376 §3.4.3 and §3.4.4, line by line.
fn canonical(form: Form, body: &[u8]) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = body.split(|&octet| octet == b'\n').map(<[u8]>::to_vec).collect();
    if form == Form::Relaxed {
        for line in &mut lines {
            let white = |octet: &u8| matches!(octet, b' ' | b'\t');
            line.iter_mut().filter(|octet| white(octet)).for_each(|octet| *octet = b' ');
            line.dedup_by(|one, other| *one == b' ' && *other == b' ');
            if line.last() == Some(&b' ') {
                line.pop();
            }
        }
    }
    while lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    if lines.is_empty() && form == Form::Simple {
        lines.push(Vec::new());
    }
    lines.iter().flat_map(|line| [line, &b"\r\n"[..]].concat()).collect()
}
