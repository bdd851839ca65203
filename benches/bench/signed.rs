//! Signed mail of a stranger: what it costs to find out who sent it. facteur takes turns with itself, whose clients
//! are gateways, whom nobody asks about, or strangers; and with Postfix and the programs that judge for it.

use crate::arrival::{self, Shelves};
use crate::child::{Child, MAILDIR};
use crate::judges::{self, Judges, judged, world};
use crate::load::Case;
use crate::options::{Mail, Options};
use crate::peers::{Duty, Postfix};
use crate::rounds::{Figures, Place, cells, measure, medians, row};
use crate::samples::{self, Sample};
use crate::shelf::BOXES;
use crate::table::{self, Cell};
use crate::{Outcome, audit, names};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64ct::{Base64, Encoding};
use facteur::mail::proof::canonical::BodyHasher;
use facteur::mail::proof::dkim::sign::{self, Signer, SigningKey, strings};
use facteur::mail::proof::name::Name;
use facteur::mail::proof::raw::{RawField, RawHeader};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

const CASE: Case =
    Case { name: "50 connections, kept", connections: 50, is_kept: true, boxes: BOXES };

const ALONE: [Cell; 8] = cells("signed mail of strangers", "of trusted");

const BESIDE: [Cell; 9] = {
    let [what, server, rate, range, share, p50, p99, cpu] = ALONE;
    [what, server, rate, range, share, Cell { title: "x Postfix", width: 11 }, p50, p99, cpu]
};

/// Who judges, and for how many seconds the answers that it needs may be kept.
const JUDGES: [(&str, Option<u32>); 3] =
    [("trusted", None), ("known", Some(KEPT)), ("asked", Some(0))];
const KEPT: u32 = 300;

/// What a message has to say that was judged.
const PASSED: [&str; 3] = ["spf=pass", "dkim=pass", "dmarc=pass"];

pub fn run(options: &Options, place: &mut Place) -> Outcome<()> {
    let sender = Sender::new()?;
    let mail = Sample::Under(sender.text.into_bytes());
    let mut configs = Vec::new();
    for (_, ttl) in JUDGES {
        configs.push(match ttl {
            None => String::new(),
            Some(ttl) => {
                let dns = names::serve(names::ANY, sender.records.clone(), ttl)?;
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
    // All that is measured needs nothing installed; alone there is time for a peer.
    let names = match options.mail {
        Mail::Signed => names_of_postfix(&sender.records)?,
        _ => None,
    };
    table::say("")?;
    let columns = if names.is_some() { &BESIDE[..] } else { &ALONE };
    table::head(columns)?;
    let (mut found, mut postfix) = (JUDGES.map(|_| Vec::new()), Vec::new());
    for _ in 0..options.rounds {
        for ((config, found), (_, ttl)) in configs.iter().zip(&mut found).zip(JUDGES) {
            let dir = place.fresh()?;
            let server = Child::facteur(&dir, MAILDIR, config)?;
            let holds = if ttl.is_some() { &PASSED[..] } else { &[] };
            found.push(measure(server, &dir, &CASE, &mail, options.time, holds)?);
        }
        if let Some(names) = names {
            // It has to fill its queue and to empty it.
            let figures = beside(&place.fresh()?, names, &mail, options.time * 2);
            postfix.push(figures.map_err(|error| format!("Postfix: {error}"))?);
        }
    }
    let (trusted, peer) = (medians(&found[0]).rate, medians(&postfix).rate);
    let beside = |rate: f64| names.map(|_| format!("{:.1}", rate / peer));
    for (at, ((name, ttl), rounds)) in JUDGES.iter().zip(&found).enumerate() {
        let rate = medians(rounds).rate;
        let share = ttl.map(|_| format!("{:.2}", rate / trusted)).unwrap_or_default();
        let shares: Vec<String> = [Some(share), beside(rate)].into_iter().flatten().collect();
        row(columns, if at == 0 { CASE.name } else { "" }, name, rounds, &shares)?;
    }
    if names.is_some() {
        let shares = [format!("{:.2}", peer / trusted), String::new()];
        row(columns, "", "Postfix", &postfix, &shares)?;
    }
    Ok(table::say("")?)
}

/// A name server that Postfix's judges can ask, and a word about them; none, and why, where one is missing.
fn names_of_postfix(records: &[(String, Vec<String>)]) -> Outcome<Option<Ipv4Addr>> {
    let at = judges::own_address();
    let found = judges::missing().map_or(Ok(()), Err).and_then(|()| {
        let served = names::serve(at.into(), records.to_vec(), KEPT);
        served.map_err(|error| format!("no name server can listen at {at}: {error}"))
    });
    if let Err(why) = found {
        table::say(&format!("Postfix is left out: {why}"))?;
        return Ok(None);
    }
    table::say(
        "Postfix: with opendkim, opendmarc and policyd-spf, which find out the same from a local name server, whose\n\
         answers may be kept; its messages count when they are in new/, its ms are those until its 250",
    )?;
    Ok(Some(*at.ip()))
}

/// Postfix and its judges in one round.
fn beside(dir: &Path, names: Ipv4Addr, mail: &Sample, time: Duration) -> Outcome<Figures> {
    let judges = Judges::start(dir, names)?;
    let duty = judged(dir, Duty::deliver(dir, BOXES)?)?;
    let postfix = Postfix::start(dir, &duty, world)?;
    let boxes = dir.join("mail");
    let shelves = Shelves { mail: &boxes, folder: "new" };
    let cost = || Ok(postfix.cpu()? + judges.cpu()?);
    let arrived = arrival::watch(postfix.address, (&CASE, mail), shelves, time, cost)?;
    drop((postfix, judges));
    audit::check(&boxes, "new", &arrived.sent, &PASSED)?;
    let [before, after] = arrived.costs;
    Ok(Figures {
        rate: arrived.rate(),
        p50: arrived.load.share(0.5),
        p99: arrived.load.share(0.99),
        cpu: (after - before).as_secs_f64() * 1e3 / arrived.count() as f64,
    })
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
        let (domain, selector) = (name("client.example")?, name("mail")?);
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
            ("client.example".to_owned(), one("v=spf1 ip4:127.0.0.1 -all")),
            ("mail._domainkey.client.example".to_owned(), record),
            ("_dmarc.client.example".to_owned(), one("v=DMARC1; p=reject")),
        ];
        Ok(Sender { text, records })
    }
}
