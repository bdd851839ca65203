use super::*;
use crate::config::Config;
use crate::mail::address::Mailbox;
use crate::mail::header::Reader;
use crate::net::dns::{DnsAnswer, DnsError, DnsFault, Record, RecordKind, Records};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

/// Names that have text, and what was asked, with the time that its asker had.
#[derive(Debug, Default)]
struct Names {
    texts: Vec<(&'static str, String)>,
    /// Names without records for which no zone vouches.
    unsure: Vec<&'static str>,
    asked: Mutex<Vec<(String, Duration)>>,
}

impl Resolver for Names {
    fn lookup(&self, name: &[u8], kind: RecordKind) -> Result<DnsAnswer, DnsError> {
        self.lookup_within(name, kind, Duration::MAX)
    }

    fn lookup_within(
        &self,
        name: &[u8],
        kind: RecordKind,
        time: Duration,
    ) -> Result<DnsAnswer, DnsError> {
        let name = String::from_utf8_lossy(name).into_owned();
        let texts = self.texts.iter().filter(|(known, _)| *known == name);
        let found: Vec<Record> = match kind {
            RecordKind::Txt => texts.map(|(_, text)| Record::Txt(text.clone().into())).collect(),
            _ => Vec::new(),
        };
        let what = DnsFault::Broken("no SOA".to_owned());
        let error = DnsError { name: name.clone(), what, servers: String::new() };
        let records = match found.is_empty() {
            true if self.unsure.contains(&&*name) => Records::Unsure(error),
            true => Records::NoName,
            false => Records::Found(found),
        };
        self.asked.lock().unwrap().push((name, time));
        Ok(DnsAnswer { records, secure: false })
    }
}

fn trust(lines: &str) -> Trust {
    let text = format!("hostname = \"mx.test\"\n[domain.\"mx.test\"]\n[trust]\n{lines}");
    Config::parse(&text, Path::new("facteur.toml")).unwrap().trust
}

const MAIL: &[u8] = b"From: ann@a.test\n\nHello\n";

/// What is found about [`MAIL`] of this sender.
fn found(names: &Names, lines: &str, from: &str) -> ProofFindings {
    let mut proof = Proof::new(&trust(lines)).unwrap();
    let from = match from {
        "" => ReversePath::Null,
        from => ReversePath::Mailbox(Mailbox::parse(from).unwrap()),
    };
    let address = "192.0.2.1".parse().unwrap();
    let client = SpfClient { address, helo: b"mx.b.test", receiver: "mx.test", time: 0 };
    proof.ask_spf(names, &client, &from);
    let mut reader = Reader::new(proof.gatherer());
    reader.feed(MAIL);
    let gathered = reader.finish().0.map(Gatherer::finish);
    proof.finish(names, gathered.as_ref(), 0)
}

fn texts(list: &[(&'static str, &str)]) -> Names {
    let texts = list.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
    Names { texts, ..Names::default() }
}

#[test]
fn each_voice_leaves_time_to_those_behind() {
    let names = texts(&[("_dmarc.a.test", "v=DMARC1; p=reject")]);
    found(&names, "", "ann@b.test");
    let asked = names.asked.lock().unwrap();
    let time = |name: &str| asked.iter().find(|(known, _)| known == name).unwrap().1.as_secs_f64();
    assert!((7.0..=7.5).contains(&time("b.test")), "{asked:?}");
    assert!((7.0..=7.5).contains(&time("mx.b.test")), "{asked:?}");
    assert!((14.0..=15.0).contains(&time("_dmarc.a.test")), "{asked:?}");
    // The sender before the name that the client gives itself.
    assert_eq!(asked[0].0, "b.test");
}

#[test]
fn what_is_off_is_not_asked() {
    let off =
        |keys: &[&str]| -> String { keys.iter().map(|key| format!("{key} = \"off\"\n")).collect() };
    let names = texts(&[]);
    let findings = found(&names, &off(&["spf", "dmarc"]), "ann@b.test");
    assert!(findings.helo.is_none() && findings.dmarc.is_none());
    assert_eq!(findings.dkim, Some(Vec::new()));
    assert!(names.asked.lock().unwrap().is_empty());
    assert!(Proof::new(&trust(&off(&["spf", "dkim", "arc", "dmarc"]))).is_none());
    let spf_alone = Proof::new(&trust(&off(&["dkim", "arc", "dmarc"]))).unwrap();
    assert!(spf_alone.gatherer().is_none());
}

#[test]
fn what_no_zone_vouches_for_is_a_doubt() {
    let mut names = texts(&[("_dmarc.a.test", "v=DMARC1; p=reject")]);
    names.unsure = vec!["a.test"];
    let findings = found(&names, "", "ann@a.test");
    // It is said to be absent, and is taken for that; but it may be there, and pass.
    assert_eq!(findings.mail_from.as_ref().unwrap().result, spf::SpfResult::None);
    assert_eq!(findings.dmarc.as_ref().unwrap().result, dmarc::DmarcResult::Fail);
    assert!(findings.doubts.dmarc.is_some() && findings.doubts.spf.is_none());
    // Where it could not matter there is no doubt.
    let findings = found(&names, "", "ann@b.test");
    assert_eq!(findings.dmarc.unwrap().result, dmarc::DmarcResult::Fail);
    assert_eq!(findings.doubts.dmarc, None);

    let mut names = texts(&[("a.test", "v=spf1 exists:x.a.test -all")]);
    names.unsure = vec!["x.a.test"];
    let findings = found(&names, "", "ann@a.test");
    assert_eq!(findings.mail_from.unwrap().result, spf::SpfResult::Fail);
    assert!(findings.doubts.spf.unwrap().contains("no SOA"));
    // Each was asked once.
    let asked = names.asked.lock().unwrap();
    assert_eq!(asked.iter().filter(|(name, _)| name == "x.a.test").count(), 1, "{asked:?}");
}

#[test]
fn a_null_sender_is_that_of_helo() {
    let names = texts(&[("mx.b.test", "v=spf1 +all"), ("_dmarc.a.test", "v=DMARC1; p=reject")]);
    let findings = found(&names, "", "");
    assert!(findings.mail_from.is_none());
    assert_eq!(findings.sender().unwrap().result, spf::SpfResult::Pass);
    assert_eq!(findings.evidence().passed.len(), 1);
    // Beside a sender it is no evidence.
    assert!(found(&names, "", "ann@b.test").evidence().passed.is_empty());
}
