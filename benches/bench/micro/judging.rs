//! What is found out about a signed message of [`Sender`](crate::signed::Sender) when DNS answers at once.

use super::Case;
use crate::Outcome;
use crate::signed::Sender;
use facteur::mail::proof::canonical::{BodyHasher, BodyHashes};
use facteur::mail::proof::dkim::{self, DkimResult as Word};
use facteur::mail::proof::name::Name;
use facteur::mail::proof::raw::{RawField, RawHeader};
use facteur::mail::proof::{Ask, QueryAnswer, QueryType, ResourceRecord};
use std::hint::black_box;

/// Each name has one TXT record.
struct Known(Vec<(Name, Vec<u8>)>);

impl Ask for Known {
    fn ask(&mut self, name: &Name, kind: QueryType) -> QueryAnswer {
        match self.0.iter().find(|(known, _)| kind == QueryType::Txt && known == name) {
            Some((_, text)) => QueryAnswer::Records(vec![ResourceRecord::Txt(text.clone())]),
            None => QueryAnswer::NoName,
        }
    }
}

pub fn cases<'a>() -> Outcome<Vec<Case<'a>>> {
    let sender = Sender::new()?;
    let text = sender.text.replace("\r\n", "\n");
    let (header, body) = text.split_once("\n\n").ok_or("no body")?;
    // A field is a line and those that begin with a space.
    let mut fields: Vec<String> = Vec::new();
    for line in header.lines() {
        match fields.last_mut() {
            Some(field) if line.starts_with(' ') => field.push_str(&format!("{line}\n")),
            _ => fields.push(format!("{line}\n")),
        }
    }
    let mut known = Known(Vec::new());
    for (name, strings) in &sender.records {
        let name = Name::parse(name.as_bytes()).ok_or("no name")?;
        known.0.push((name, strings.concat().into_bytes()));
    }
    let forms = dkim::forms(&dkim::read(&raw(&fields), &[]));
    let body = body.as_bytes().to_vec();
    let hash = {
        let body = body.clone();
        move || -> BodyHashes {
            let mut hasher = BodyHasher::new(&forms);
            hasher.feed(black_box(&body));
            hasher.finish()
        }
    };
    let hashes = hash();
    let judge = move |known: &mut Known| {
        let fields = raw(&fields);
        let signatures = dkim::read(&fields, &[]);
        dkim::verify(known, &signatures, &[], &RawHeader::new(&fields), &hashes, 1_800_000_000)
    };
    if !judge(&mut known).iter().any(|finding| finding.result == Word::Pass) {
        return Err("the signature does not hold".into());
    }
    Ok(vec![
        Case::new("signed body, hashed", body.len(), move || drop(black_box(hash()))),
        Case::new("signature, verified (RSA 2048)", header.len(), move || {
            black_box(judge(&mut known));
        }),
    ])
}

fn raw(fields: &[String]) -> Vec<RawField<'_>> {
    let colon = |field: &String| field.find(':').unwrap_or(field.len());
    fields
        .iter()
        .map(|field| RawField { name: &field.as_bytes()[..colon(field)], whole: field.as_bytes() })
        .collect()
}
