//! Messages as the verifiers of signatures get them: fields and body, LF for line ends.

use facteur::mail::proof::canonical::{BodyForm, BodyHasher, BodyHashes};
use facteur::mail::proof::dkim::{self, DkimFinding};
use facteur::mail::proof::name::Name;
use facteur::mail::proof::raw::{RawField, RawHeader};
use facteur::mail::proof::{Ask, QueryAnswer, QueryType};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// When the suites are read, in seconds since 1970: later than all their dates.
pub const NOW: u64 = 1_900_000_000;

/// The path `tests/trust/PATH`.
pub fn path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trust").join(path)
}

/// The octets of the file `tests/trust/PATH`.
pub fn octets(of: &str) -> Vec<u8> {
    let path = path(of);
    fs::read(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// A message with LF for line ends, and where its fields lie.
pub struct Mail {
    text: Vec<u8>,
    /// Of each field: its name, and all of it.
    fields: Vec<(Range<usize>, Range<usize>)>,
    body_at: usize,
}

impl Mail {
    /// CR LF or LF may end its lines.
    pub fn new(text: &[u8]) -> Mail {
        let mut text = text.to_vec();
        let has_cr: Vec<bool> = text.windows(2).map(|two| two == b"\r\n").collect();
        let mut at = 0;
        text.retain(|_| {
            at += 1;
            !has_cr.get(at - 1).copied().unwrap_or(false)
        });
        Mail::of_lf(text)
    }

    /// LF alone ends its lines; CR is an octet like others.
    pub fn of_lf(text: Vec<u8>) -> Mail {
        let mut fields = Vec::<(Range<usize>, Range<usize>)>::new();
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            let end = rest.iter().position(|&octet| octet == b'\n').map_or(rest.len(), |at| at + 1);
            let line = &rest[..end];
            if line == b"\n" {
                at += 1;
                break;
            }
            match (line[0], fields.last_mut()) {
                (b' ' | b'\t', Some((_, whole))) => whole.end += end,
                (b' ' | b'\t', None) => break,
                _ => {
                    let colon = line.iter().position(|&octet| octet == b':');
                    let Some(colon) = colon else { break };
                    let name = line[..colon].trim_ascii_end().len();
                    fields.push((at..at + name, at..at + end));
                }
            }
            at += end;
        }
        Mail { text, fields, body_at: at }
    }

    /// With fields on top, which end in LF.
    pub fn under(&self, fields: &str) -> Mail {
        Mail::of_lf([fields.as_bytes(), &self.text].concat())
    }

    pub fn fields(&self) -> Vec<RawField<'_>> {
        let cut = |range: &Range<usize>| &self.text[range.clone()];
        self.fields
            .iter()
            .map(|(name, whole)| RawField { name: cut(name), whole: cut(whole) })
            .collect()
    }

    pub fn text(&self) -> &[u8] {
        &self.text
    }

    pub fn body(&self) -> &[u8] {
        &self.text[self.body_at..]
    }

    pub fn hashes(&self, forms: &[BodyForm]) -> BodyHashes {
        let mut hasher = BodyHasher::new(forms);
        self.body().chunks(100).for_each(|piece| hasher.feed(piece));
        hasher.finish()
    }

    /// What DKIM finds.
    pub fn verified(&self, ask: &mut dyn Ask, authors: &[Name], now: u64) -> Vec<DkimFinding> {
        let fields = self.fields();
        let signatures = dkim::read(&fields, authors);
        let hashes = self.hashes(&dkim::forms(&signatures));
        dkim::verify(ask, &signatures, authors, &RawHeader::new(&fields), &hashes, now)
    }
}

/// DNS that answers nothing.
pub struct Silent;

impl Ask for Silent {
    fn ask(&mut self, name: &Name, _: QueryType) -> QueryAnswer {
        QueryAnswer::Failed(format!("nobody says what {name} is"))
    }
}
