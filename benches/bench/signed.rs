//! Signed mail of a stranger: what it costs to find out who sent it. facteur takes turns with itself: clients
//! are gateways, whom nobody asks about, or strangers.

use crate::child::{Child, MAILDIR};
use crate::load::Case;
use crate::options::Options;
use crate::rounds::{Place, cells, measure, medians, row};
use crate::samples::{self, Sample};
use crate::shelf::BOXES;
use crate::table::{self, Cell};
use crate::{Outcome, names};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64ct::{Base64, Encoding};
use facteur::mail::proof::canonical::BodyHasher;
use facteur::mail::proof::dkim::sign::{self, Signer, SigningKey, strings};
use facteur::mail::proof::name::Name;
use facteur::mail::proof::raw::{RawField, RawHeader};

const CASE: Case =
    Case { name: "50 connections, kept", connections: 50, is_kept: true, boxes: BOXES };

const CELLS: [Cell; 8] = cells("signed mail of strangers", "of trusted");

/// Who judges, and for how many seconds the answers that it needs may be kept.
const JUDGES: [(&str, Option<u32>); 3] =
    [("trusted", None), ("known", Some(300)), ("asked", Some(0))];

pub fn run(options: &Options, place: &mut Place) -> Outcome<()> {
    let sender = Sender::new()?;
    let mail = Sample::Under(sender.text.into_bytes());
    let mut configs = Vec::new();
    for (_, ttl) in JUDGES {
        configs.push(match ttl {
            None => String::new(),
            Some(ttl) => {
                let dns = names::serve(sender.records.clone(), ttl)?;
                format!("[dns]\nservers = [\"{dns}\"]\n[trust]\ngateways = []\n")
            }
        });
    }
    table::say(&format!(
        "messages of {} octets with a signature (RSA 2048); trusted: nobody asks who sent them; known: SPF,\n\
         DKIM and DMARC find it out from answers of DNS that are kept; asked: from a local name server, again\n\
         for each message",
        mail.message(0).len()
    ))?;
    table::say("")?;
    table::head(&CELLS)?;
    let mut found = JUDGES.map(|_| Vec::new());
    for _ in 0..options.rounds {
        for ((config, found), (_, ttl)) in configs.iter().zip(&mut found).zip(JUDGES) {
            let dir = place.fresh()?;
            let server = Child::facteur(&dir, MAILDIR, config)?;
            let holds = if ttl.is_some() { "dkim=pass" } else { "" };
            found.push(measure(server, &dir, &CASE, &mail, options.time, holds)?);
        }
    }
    let trusted = medians(&found[0]);
    for (at, ((name, ttl), rounds)) in JUDGES.iter().zip(&found).enumerate() {
        let of = medians(rounds);
        let share = ttl.map(|_| format!("{:.2}", of.rate / trusted.rate)).unwrap_or_default();
        row(&CELLS, if at == 0 { CASE.name } else { "" }, name, rounds, &share)?;
    }
    Ok(table::say("")?)
}

/// A new key.
pub fn rsa_key() -> Outcome<SigningKey> {
    let pair = KeyPair::generate(KeySize::Rsa2048)?;
    let der: Pkcs8V1Der = pair.as_der()?;
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        Base64::encode_string(der.as_ref())
    );
    Ok(SigningKey::from_pem(pem.as_bytes()).map_err(|error| error.to_string())?)
}

/// A message under its signature, and what DNS says of its domain.
pub struct Sender {
    /// With CR LF.
    pub text: String,
    pub records: Vec<(String, Vec<String>)>,
}

impl Sender {
    pub fn new() -> Outcome<Sender> {
        let key = rsa_key()?;
        let name = |text: &str| Name::parse(text.as_bytes()).ok_or("no name");
        let (domain, selector) = (name("client.test")?, name("mail")?);
        let (fields, body) = (samples::fields(), samples::lines(samples::LINE, samples::SIGNED));
        let raw: Vec<RawField> = fields
            .iter()
            .map(|(name, whole)| RawField { name: name.as_bytes(), whole: whole.as_bytes() })
            .collect();
        let mut hasher = BodyHasher::new(&[sign::BODY]);
        hasher.feed(&body);
        let hash = hasher.finish().get(sign::BODY).ok_or("no hash")?;
        let signer = Signer { key: &key, domain: &domain, selector: &selector };
        let field = sign::sign(&signer, &RawHeader::new(&raw), &hash, 1_700_000_000)
            .map_err(|error| error.to_string())?;
        let fields: String = fields.iter().map(|(_, whole)| *whole).collect();
        let text = format!("{field}{fields}\n{}", String::from_utf8(body)?).replace('\n', "\r\n");
        let record = strings(&key.record().map_err(|error| error.to_string())?)
            .iter()
            .map(|&one| one.to_owned())
            .collect();
        let one = |text: &str| vec![text.to_owned()];
        let records = vec![
            ("client.test".to_owned(), one("v=spf1 ip4:127.0.0.1 -all")),
            ("mail._domainkey.client.test".to_owned(), record),
            ("_dmarc.client.test".to_owned(), one("v=DMARC1; p=reject")),
        ];
        Ok(Sender { text, records })
    }
}
