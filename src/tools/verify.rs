//! `facteur verify`: what the server would find out about a message, by the functions that it asks itself
//! ([`crate::proof`], [`crate::policy::verdict`]).
//!
//! Any client is taken for a stranger. The message is read in pieces, whatever its size; nothing is kept.

use super::listing::json_lines;
use super::terminal::escape;
use super::{Failure, Request, config, print, route};
use crate::limits::{COPY_CHUNK, HEADER_MAX};
use crate::mail::address::ReversePath;
use crate::mail::header::{EndedBy, Reader};
use crate::mail::proof::dkim;
use crate::mail::proof::findings::ProofFindings;
use crate::mail::proof::gather::{Gathered, Gatherer};
use crate::mail::proof::name::Name;
use crate::mail::proof::results::MethodResult;
use crate::mail::proof::spf;
use crate::net::dns::DnsResolver;
use crate::policy::verdict::{Verdict, judge};
use crate::proof::Proof;
use jiff::Timestamp;
use serde::Serialize;
use std::fs::File;
use std::io::{self, ErrorKind, Read};

/// Prints what is found, and the verdict; fails where that is no.
pub fn run(request: &Request, file: &str) -> Result<(), Failure> {
    let address = route::client(request)?
        .ok_or_else(|| Failure::Usage("verify needs --client IP".to_owned()))?;
    let from = route::sender(request)?.unwrap_or(ReversePath::Null);
    let config = config(request)?;
    let mut proof = Proof::new(&config.trust);
    let gathered = gather(file, proof.as_ref().and_then(Proof::gatherer))?;
    let time = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
    let client = spf::SpfClient {
        address,
        helo: request.helo.as_deref().unwrap_or_default().as_bytes(),
        receiver: config.hostname.as_str(),
        time,
    };
    let resolver = DnsResolver::new(&config.dns);
    if let Some(proof) = &mut proof {
        proof.ask_spf(&resolver, &client, &from);
    }
    let findings = proof.map(|proof| proof.finish(&resolver, gathered.as_ref(), time));
    let findings = findings.unwrap_or_default();
    let verdict = judge(&findings, &config.trust).verdict;
    let text = match request.json {
        true => {
            let lines = json_lines(&[VerifyRow::of(&findings, verdict)]);
            lines.map_err(|error| Failure::Failed(error.to_string()))?
        }
        false => {
            let lines = findings.all_entries();
            let lines: String =
                lines.iter().map(|entry| format!("{}\n", escape(&line(entry)))).collect();
            format!("{lines}verdict={verdict}\n")
        }
    };
    print(&text)?;
    match verdict {
        Verdict::Accept | Verdict::Junk => Ok(()),
        Verdict::Reject(_) | Verdict::Defer => Err(Failure::Told),
    }
}

/// Reads a message, with LF for the line ends of either kind.
fn gather(file: &str, gatherer: Option<Gatherer>) -> Result<Option<Gathered>, Failure> {
    let failed = |error: io::Error| Failure::Failed(format!("{}: {error}", escape(file)));
    let mut input: Box<dyn Read> = match file {
        "-" => Box::new(io::stdin().lock()),
        path => Box::new(File::open(path).map_err(failed)?),
    };
    let mut reader = Reader::new(gatherer);
    let mut chunk = vec![0; COPY_CHUNK];
    // A CR waits until it is seen what follows.
    let mut has_cr = false;
    loop {
        let octets = match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => &chunk[..count],
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        for line in octets.split_inclusive(|octet| *octet == b'\n') {
            if std::mem::take(&mut has_cr) && line != b"\n" {
                reader.feed(b"\r");
            }
            match line {
                [line @ .., b'\r', b'\n'] => {
                    reader.feed(line);
                    reader.feed(b"\n");
                }
                [line @ .., b'\r'] => {
                    reader.feed(line);
                    has_cr = true;
                }
                line => reader.feed(line),
            }
        }
    }
    if has_cr {
        reader.feed(b"\r");
    }
    let (gatherer, end) = reader.finish();
    if end.by == EndedBy::Bound {
        let why = format!("{}: its header is longer than {HEADER_MAX} octets", escape(file));
        return Err(Failure::Failed(why));
    }
    Ok(gatherer.map(Gatherer::finish))
}

/// `spf=pass smtp.mailfrom=example.net (reason)`
fn line(entry: &MethodResult) -> String {
    let properties = entry.properties.iter().map(|(name, value)| format!(" {name}={value}"));
    let reason = entry.reason.iter().map(|reason| format!(" ({reason})"));
    let rest: String = properties.chain(reason).collect();
    format!("{}={}{rest}", entry.method, entry.result)
}

/// What is found, for scripts.
#[derive(Serialize)]
struct VerifyRow {
    helo: Option<SenderRow>,
    spf: Option<SenderRow>,
    dkim: Option<Vec<SignatureRow>>,
    arc: Option<ChainRow>,
    dmarc: Option<AuthorRow>,
    verdict: String,
}

#[derive(Serialize)]
struct SenderRow {
    result: String,
    domain: String,
    reason: String,
    explanation: Option<String>,
}

#[derive(Serialize)]
struct SignatureRow {
    result: String,
    domain: Option<String>,
    selector: Option<String>,
    reason: String,
}

#[derive(Serialize)]
struct ChainRow {
    result: String,
    reason: String,
}

#[derive(Serialize)]
struct AuthorRow {
    result: String,
    policy: Option<String>,
    domain: Option<String>,
    reason: String,
}

impl VerifyRow {
    fn of(findings: &ProofFindings, verdict: Verdict) -> VerifyRow {
        let name = |name: &Option<Name>| name.as_ref().map(Name::to_string);
        let signature = |found: &dkim::DkimFinding| SignatureRow {
            result: found.result.to_string(),
            domain: name(&found.domain),
            selector: name(&found.selector),
            reason: found.reason.to_string(),
        };
        let signatures = |found: &Vec<dkim::DkimFinding>| found.iter().map(signature).collect();
        VerifyRow {
            helo: findings.helo.as_ref().map(SenderRow::of),
            spf: findings.sender().map(SenderRow::of),
            dkim: findings.dkim.as_ref().map(signatures),
            arc: findings.arc.as_ref().map(|found| ChainRow {
                result: found.result.to_string(),
                reason: found.reason.to_string(),
            }),
            dmarc: findings.dmarc.as_ref().map(|found| AuthorRow {
                result: found.result.to_string(),
                policy: found.policy.map(|policy| policy.to_string()),
                domain: name(&found.domain),
                reason: found.reason.clone(),
            }),
            verdict: verdict.to_string(),
        }
    }
}

impl SenderRow {
    fn of(found: &spf::SpfFinding) -> SenderRow {
        SenderRow {
            result: found.result.to_string(),
            domain: found.domain.clone(),
            reason: found.reason.clone(),
            explanation: found.explanation.clone(),
        }
    }
}
