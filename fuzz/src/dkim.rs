//! Messages with signatures and seals of any kind, all keys known: a finding for each, none that proves
//! what it did not verify, and words that can be shown.

use facteur::limits::trust::{SIGNATURES_MAX, SIGNATURES_READ_MAX};
use facteur::mail::proof::canonical::BodyHasher;
use facteur::mail::proof::name::Name;
use facteur::mail::proof::raw::{RawField, RawHeader};
use facteur::mail::proof::{Ask, QueryAnswer, QueryType, ResourceRecord, arc, dkim};

/// The keys of RFC 8463, appendix A, at every name that does not end in `test`.
const KEYS: [&str; 2] = [
    "v=DKIM1; k=ed25519; t=s; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bd\
     OKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLz\
     BfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
];

struct Keys(usize);

impl Ask for Keys {
    fn ask(&mut self, name: &Name, kind: QueryType) -> QueryAnswer {
        self.0 += 1;
        assert_eq!(kind, QueryType::Txt);
        match name.as_bytes().ends_with(b"test") {
            true => QueryAnswer::Failed("no answer".to_owned()),
            false => {
                let record = |text: &str| ResourceRecord::Txt(text.as_bytes().to_vec());
                QueryAnswer::Records(KEYS.into_iter().map(record).collect())
            }
        }
    }
}

/// Fields up to the first line that begins none, and the rest.
fn split(data: &[u8]) -> (Vec<RawField<'_>>, &[u8]) {
    let (mut fields, mut rest) = (Vec::new(), data);
    loop {
        let mut end = line(rest);
        let Some(colon) = rest[..end].iter().position(|&octet| octet == b':') else { break };
        while matches!(rest.get(end), Some(b' ' | b'\t')) {
            end += line(&rest[end..]);
        }
        fields.push(RawField { name: rest[..colon].trim_ascii_end(), whole: &rest[..end] });
        rest = &rest[end..];
    }
    (fields, rest.strip_prefix(b"\n").unwrap_or(rest))
}

/// Octets of the first line, with its end.
fn line(text: &[u8]) -> usize {
    text.iter().position(|&octet| octet == b'\n').map_or(text.len(), |at| at + 1)
}

pub fn run(data: &[u8]) {
    let (fields, body) = split(data);
    let header = RawHeader::new(&fields);
    let author = Name::parse(b"football.example.com");
    let signatures = dkim::read(&fields, author.as_slice());
    let chain = arc::read(&fields);
    let mut forms = dkim::forms(&signatures);
    assert!(forms.len() <= SIGNATURES_MAX && signatures.len() <= SIGNATURES_READ_MAX);
    forms.extend(chain.form());
    let mut hasher = BodyHasher::new(&forms);
    hasher.feed(body);
    let hashes = hasher.finish();
    let time = 1_700_000_000;
    let mut keys = Keys(0);
    let found = dkim::verify(&mut keys, &signatures, author.as_slice(), &header, &hashes, time);
    assert!(found.len() == signatures.len() && keys.0 <= SIGNATURES_MAX);
    for (finding, signature) in found.iter().zip(&signatures) {
        let passes = finding.result == dkim::DkimResult::Pass;
        assert!(!passes || signature.parsed.is_ok());
        assert!(finding.proves().is_none() || passes && finding.is_whole);
        let reason = finding.reason.to_string();
        assert!(!reason.contains(char::is_control) && reason.len() < 1_000, "{reason}");
    }
    let found = arc::verify(&mut keys, &chain, &header, &hashes, time);
    let reason = found.reason.to_string();
    assert!(!reason.contains(char::is_control) && reason.len() < 1_000, "{reason}");
    assert!(found.result != arc::ArcResult::Pass || !found.sealers.is_empty());
}
