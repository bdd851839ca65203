//! `facteur verify` over a DNS server of the suite: each voice, the verdict, and what a script gets.

use crate::commands::run_clean;
use crate::dnsd::Dnsd;
use crate::servers::FACTEUR;
use crate::support::{Place, config, text};
use crate::trust_dkim::{ed25519, signed_at};
use crate::trust_mail::Mail;
use crate::trust_zone::json;
use facteur::mail::proof::dkim::sign::strings;
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const CLIENT: &str = "192.0.2.1";

/// A message of one author, with LF line ends.
const MAIL: &str = "From: Ann <ann@a.test>\nTo: bob@mx.test\nSubject: hello\n\nHello Bob\n";

/// A place with a name server, and what `[trust]` says beside.
struct Trial {
    place: Place,
    dns: Dnsd,
}

/// What a command said.
struct Said {
    status: i32,
    out: String,
    err: String,
}

impl Trial {
    fn new(zone: &str, trust: &str) -> Trial {
        let (place, dns) = (Place::new(), Dnsd::new(zone));
        let servers = format!("servers = [\"{}\"]\ntimeout = \"20s\"", dns.address());
        place.write("facteur.toml", config(&format!("[dns]\n{servers}\n[trust]\n{trust}")));
        place.write("mail.eml", MAIL);
        Trial { place, dns }
    }

    /// `facteur verify mail.eml --client 192.0.2.1`, with more.
    fn verify(&self, more: &[&str]) -> Said {
        self.run(&[&["verify", "mail.eml", "--client", CLIENT], more].concat())
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let (status, out, err) = run_clean(&self.place, arguments);
        Said { status, out, err }
    }

    /// As ann@a.test, by a client that calls itself mx.a.test.
    fn of_ann(&self) -> Said {
        self.verify(&["--helo", "mx.a.test", "--from", "ann@a.test"])
    }

    fn json(&self, more: &[&str]) -> Value {
        let said = self.verify(&[&["--json"], more].concat());
        assert!(said.out.ends_with("}\n") && said.out.lines().count() == 1, "{}", said.out);
        serde_json::from_str(&said.out).unwrap()
    }
}

impl Said {
    /// The lines, each without its reason.
    #[track_caller]
    fn lines(&self) -> Vec<&str> {
        assert_eq!(self.err, "", "{}", self.out);
        self.out.lines().map(|line| line.split(" (").next().unwrap()).collect()
    }

    #[track_caller]
    fn has(&self, what: &str) {
        assert!(self.out.contains(what), "{what}: {}{}", self.out, self.err);
    }

    #[track_caller]
    fn ends(&self, verdict: &str) {
        let status = i32::from(matches!(verdict, "reject" | "defer"));
        assert!(self.out.ends_with(&format!("\nverdict={verdict}\n")), "{}", self.out);
        assert_eq!((self.status, self.err.as_str()), (status, ""));
    }
}

/// The record of the key that signs in these tests, at a selector of a.test.
fn key(selector: &str) -> String {
    let record = ed25519().record().unwrap();
    format!("{selector}._domainkey.a.test TXT {}\n", strings(&record).join("|"))
}

fn signed(selectors: &[&str]) -> Vec<u8> {
    let mail = Mail::new(MAIL.as_bytes());
    let sign = |mail: Mail, selector: &&str| signed_at(&mail, &ed25519(), selector);
    selectors.iter().fold(mail, sign).text().to_vec()
}

const SPF_PASS: &str = "a.test TXT v=spf1 ip4:192.0.2.0/28 -all\nmx.a.test A 192.0.2.1\n\
    mx.a.test TXT v=spf1 a -all\n";
const REJECT: &str = "_dmarc.a.test TXT v=DMARC1; p=reject\n";

#[test]
fn all_pass() {
    let trial = Trial::new(&format!("{SPF_PASS}{REJECT}{}", key("s1")), "");
    trial.place.write("mail.eml", signed(&["s1"]));
    let said = trial.of_ann();
    assert_eq!(
        said.lines(),
        [
            "spf=pass smtp.helo=mx.a.test",
            "spf=pass smtp.mailfrom=a.test",
            "dkim=pass header.d=a.test header.s=s1",
            "arc=none",
            "dmarc=pass header.from=a.test policy.dmarc=reject",
            "verdict=accept",
        ]
    );
    said.has("(`ip4:192.0.2.0/28` of a.test)");
    said.ends("accept");
    // Each question once.
    let log = trial.dns.log();
    let mut asked: Vec<_> = log.iter().map(|asked| (&asked.name, &asked.kind)).collect();
    asked.sort_unstable();
    let all = asked.len();
    asked.dedup();
    assert_eq!(asked.len(), all, "{log:?}");

    let crlf = text(&signed(&["s1"])).replace('\n', "\r\n");
    trial.place.write("mail.eml", &crlf);
    trial.of_ann().has("dkim=pass");
    let mut command = Command::new(FACTEUR);
    command.args(["verify", "-", "--client", CLIENT]).current_dir(trial.place.path());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(crlf.as_bytes()).unwrap();
    assert!(
        text(&child.wait_with_output().unwrap().stdout).contains("\ndkim=pass header.d=a.test")
    );
}

#[test]
fn a_null_sender_and_no_name() {
    let trial = Trial::new(SPF_PASS, "");
    let said = trial.verify(&["--helo", "mx.a.test", "--from", ""]);
    let lines = ["spf=pass smtp.helo=mx.a.test", "dkim=none", "arc=none"];
    assert_eq!(said.lines()[..3], lines);
    let said = trial.verify(&[]);
    assert_eq!(said.lines()[..3], ["spf=none", "dkim=none", "arc=none"]);
    assert_eq!(said.lines()[3..], ["dmarc=none header.from=a.test", "verdict=accept"]);
}

#[test]
fn what_spf_says() {
    for (record, word, verdict) in [
        ("a.test TXT v=spf1 -all", "fail", "reject"),
        ("a.test TXT v=spf1 ~all", "softfail", "accept"),
        ("a.test TXT v=spf1 ?all", "neutral", "accept"),
        ("a.test MX 0 .", "none", "accept"),
        ("a.test TXT v=spf1 nonsense:", "permerror", "accept"),
        ("a.test !servfail", "temperror", "accept"),
        // Nobody vouches for the absence on which the fail rests.
        ("a.test TXT v=spf1 exists:x.a.test -all\nx.a.test !empty", "fail", "accept"),
    ] {
        let trial = Trial::new(record, "spf = \"reject\"");
        let said = trial.of_ann();
        said.has(&format!("\nspf={word} smtp.mailfrom=a.test ("));
        said.ends(verdict);
    }
    // The name that the client gives itself only marks.
    let trial = Trial::new("mx.a.test TXT v=spf1 -all", "spf = \"reject\"");
    let said = trial.verify(&["--helo", "mx.a.test"]);
    said.has("spf=fail smtp.helo=mx.a.test");
    said.ends("accept");
    let zone = "a.test TXT v=spf1 -all exp=e.a.test\ne.a.test TXT %{i} may not, %{d}";
    let found = Trial::new(zone, "").json(&["--from", "ann@a.test"]);
    assert_eq!(found["spf"]["explanation"], "192.0.2.1 may not, a.test");
}

#[test]
fn what_signatures_prove() {
    let changed = text(&signed(&["s1"])).replace("Hello Bob", "Hello Eve");
    let forged = text(&signed(&["s1"])).replace("Subject: hello", "Subject: hell");
    for (zone, mail, word) in [
        (key("s1"), changed, "fail"),
        (key("s1"), forged, "fail"),
        ("a.test A 192.0.2.9".to_owned(), text(&signed(&["s1"])), "permerror"),
        ("s1._domainkey.a.test !servfail".to_owned(), text(&signed(&["s1"])), "temperror"),
    ] {
        let trial = Trial::new(&format!("{zone}\n{REJECT}"), "");
        trial.place.write("mail.eml", mail);
        let said = trial.of_ann();
        said.has(&format!("\ndkim={word} header.d=a.test header.s=s1 ("));
        let dmarc = if word == "temperror" { "temperror" } else { "fail" };
        said.has(&format!("\ndmarc={dmarc} header.from=a.test policy.dmarc=reject ("));
        said.ends(if word == "temperror" { "accept" } else { "junk" });
        if word == "temperror" {
            // The question and the server.
            said.has("TXT s1._domainkey.a.test: ");
            said.has(&format!("{} answered SERVFAIL", trial.dns.address()));
        }
    }
}

#[test]
fn many_signatures() {
    let selectors: Vec<String> = (0..12).map(|at| format!("s{at}")).collect();
    let selectors: Vec<&str> = selectors.iter().map(String::as_str).collect();
    let zone: String = selectors.iter().map(|selector| key(selector)).collect();
    let trial = Trial::new(&zone, "");
    trial.place.write("mail.eml", signed(&selectors));
    let found = trial.json(&[]);
    let found = found["dkim"].as_array().unwrap();
    // The last one signed stands on top.
    let names: Vec<&str> = found.iter().map(|one| one["selector"].as_str().unwrap()).collect();
    assert!(names.iter().rev().eq(&selectors), "{names:?}");
    let words: Vec<&str> = found.iter().map(|one| one["result"].as_str().unwrap()).collect();
    assert!(words[..8].iter().all(|word| *word == "pass"), "{words:?}");
    assert!(words[8..].iter().all(|word| *word == "policy"), "{words:?}");
    assert_eq!(trial.verify(&[]).out.matches("\ndkim=").count(), 12);
}

#[test]
fn what_a_chain_proves() {
    let suite = &json("arc/validation.json")[0];
    let record = suite["txt-records"]["dummy._domainkey.example.org"].as_str().unwrap();
    let zone = format!("dummy._domainkey.example.org TXT {}", strings(record).join("|"));
    let mail = suite["tests"]["cv_pass_i1_1"]["message"].as_str().unwrap();
    let trial = Trial::new(&zone, "");
    trial.place.write("mail.eml", mail);
    trial.verify(&[]).has("\narc=pass (one seal)\n");
    trial.place.write("mail.eml", mail.replace("Example 1", "Example 2"));
    trial.verify(&[]).has("\narc=fail (");
    trial.place.write("mail.eml", mail);
    trial.dns.set("* !servfail");
    trial.verify(&[]).has("\narc=temperror (");
}

#[test]
fn what_authors_ask_for() {
    let sub = MAIL.replace("ann@a.test", "ann@sub.a.test");
    let two = MAIL.replace("\nTo:", "\nFrom: eve@b.test\nTo:");
    let none = MAIL.replace("From: Ann <ann@a.test>\n", "");
    let at = |record: &str| format!("_dmarc.a.test TXT v=DMARC1; {record}\nsub.a.test A 192.0.2.9");
    for (zone, mail, word, policy, verdict) in [
        (at("p=none"), MAIL, "fail", "none", "accept"),
        (at("p=quarantine"), MAIL, "fail", "quarantine", "junk"),
        (at("p=reject"), MAIL, "fail", "reject", "reject"),
        (at("p=reject; t=y"), MAIL, "fail", "quarantine", "junk"),
        (at("p=quarantine; t=y"), MAIL, "fail", "none", "accept"),
        (at("p=reject; sp=none"), MAIL, "fail", "reject", "reject"),
        (at("p=reject; sp=none"), &sub, "fail", "none", "accept"),
        (at("p=none; sp=quarantine"), &sub, "fail", "quarantine", "junk"),
        ("_dmarc.a.test !servfail".to_owned(), MAIL, "temperror", "", "accept"),
        ("a.test A 192.0.2.9".to_owned(), MAIL, "none", "", "accept"),
        (at("p=none").replace("a.test", "b.test"), &two, "fail", "none", "accept"),
        (at("p=reject"), &two, "fail", "reject", "reject"),
        (String::new(), &none, "fail", "quarantine", "junk"),
    ] {
        let trial = Trial::new(&zone, "dmarc = \"reject\"");
        trial.place.write("mail.eml", mail);
        let said = trial.verify(&[]);
        said.has(&format!("\ndmarc={word}"));
        let shown =
            if policy.is_empty() { String::new() } else { format!(" policy.dmarc={policy} (") };
        said.has(&shown);
        assert!(policy.len() + usize::from(!said.out.contains("policy.dmarc")) > 0, "{}", said.out);
        said.ends(verdict);
    }
}

#[test]
fn what_the_configuration_makes_of_it() {
    for (trust, zone, verdict) in [
        ("", "", "junk"),
        ("dmarc = \"mark\"", "", "accept"),
        ("dmarc = \"off\"", "", "accept"),
        ("dmarc = \"reject\"", "", "reject"),
        ("dmarc = \"reject\"\nspf = \"off\"", "", "accept"),
        ("dmarc = \"reject\"\ndkim = \"off\"", "", "accept"),
        ("dmarc = \"reject\"\nallow = [\"b.test\"]", "b.test TXT v=spf1 +all", "accept"),
        ("dmarc = \"reject\"\nallow = [\"c.test\"]", "b.test TXT v=spf1 +all", "reject"),
        ("dmarc = \"reject\"\nallow = [\"b.test\"]", "b.test !servfail", "junk"),
        (
            "dmarc = \"reject\"\nallow = [\"b.test\"]\ntemperror = \"defer\"",
            "b.test !servfail",
            "defer",
        ),
        ("temperror = \"defer\"", "b.test !servfail", "junk"),
        ("temperror = \"defer\"\nspf = \"reject\"", "b.test !servfail", "defer"),
        ("temperror = \"defer\"", "_dmarc.a.test !servfail", "defer"),
        ("temperror = \"defer\"\ndmarc = \"mark\"", "_dmarc.a.test !servfail", "accept"),
        // That the sender is not known to pass rests on the word of no zone.
        ("dmarc = \"reject\"", "a.test !empty", "reject"),
    ] {
        let zone =
            if zone.contains("_dmarc") { zone.to_owned() } else { format!("{REJECT}{zone}") };
        let trial = Trial::new(&zone, trust);
        let said = trial.verify(&["--from", "bounce@b.test"]);
        assert!(said.out.ends_with(&format!("verdict={verdict}\n")), "{trust}: {}", said.out);
    }
    let zone = format!("{REJECT}a.test !empty");
    let said = Trial::new(&zone, "dmarc = \"reject\"").verify(&["--from", "ann@a.test"]);
    said.has("dmarc=fail");
    said.ends("junk");
}

#[test]
fn what_is_off_asks_nothing() {
    let off = "spf = \"off\"\ndkim = \"off\"\narc = \"off\"\ndmarc = \"off\"";
    let trial = Trial::new("", off);
    trial.place.write("mail.eml", signed(&["s1"]));
    let said = trial.of_ann();
    assert_eq!((said.out.as_str(), said.status), ("verdict=accept\n", 0));
    let found = trial.json(&[]);
    for key in ["helo", "spf", "dkim", "arc", "dmarc"] {
        assert!(found[key].is_null(), "{found}");
    }
    assert!(trial.dns.log().is_empty());
}

#[test]
fn for_scripts() {
    let trial = Trial::new(&format!("{SPF_PASS}{REJECT}"), "");
    let found = trial.json(&["--from", "ann@b.test", "--helo", "mx.a.test"]);
    let keys = |value: &Value| -> Vec<String> {
        let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(&found), ["arc", "dkim", "dmarc", "helo", "spf", "verdict"]);
    for sender in ["helo", "spf"] {
        assert_eq!(keys(&found[sender]), ["domain", "explanation", "reason", "result"]);
    }
    assert_eq!(keys(&found["arc"]), ["reason", "result"]);
    assert_eq!(keys(&found["dmarc"]), ["domain", "policy", "reason", "result"]);
    assert_eq!(found["helo"]["result"], "pass");
    assert_eq!(
        (&found["spf"]["result"], &found["spf"]["domain"]),
        (&"none".into(), &"b.test".into())
    );
    assert_eq!(found["dkim"], Value::Array(Vec::new()));
    assert_eq!((&found["dmarc"]["policy"], &found["verdict"]), (&"reject".into(), &"junk".into()));
    // The null sender's domain is that of HELO.
    let found = trial.json(&["--helo", "mx.a.test"]);
    assert_eq!(found["helo"], found["spf"]);
}

#[test]
fn wrong_usage_and_what_cannot_be_read() {
    let trial = Trial::new("", "");
    for wrong in [
        &["verify"][..],
        &["verify", "mail.eml"],
        &["verify", "mail.eml", "--client", "nowhere"],
        &["verify", "--client", CLIENT],
        &["verify", "mail.eml", "more", "--client", CLIENT],
        &["verify", "mail.eml", "--client", CLIENT, "--all"],
        &["route", "ann@mx.test", "--helo", "mx.a.test"],
    ] {
        let said = trial.run(wrong);
        assert!(said.status == 2 && said.out.is_empty(), "{wrong:?}: {}{}", said.out, said.err);
    }
    let long = format!("X: {}\n\n", "x".repeat(1024 * 1024));
    trial.place.write("long.eml", long);
    for (file, why) in
        [("none.eml", "none.eml: "), (".", "."), ("long.eml", "longer than 1048576 octets")]
    {
        let said = trial.run(&["verify", file, "--client", CLIENT]);
        assert!(said.status == 1 && said.out.is_empty() && said.err.contains(why), "{}", said.err);
    }
    let said = trial.verify(&["--from", "no address"]);
    assert!(said.status == 1 && said.out.is_empty(), "{}", said.err);
    let (status, out, _) = run_clean(&trial.place, &["verify", "--help"]);
    assert!(status == 0 && out.starts_with("usage: facteur [-c FILE] verify "));
}

/// A silent name server: what is not known is said, within the time that a message has.
#[test]
fn nobody_answers() {
    let trial = Trial::new("* !silent", "");
    let servers = format!("servers = [\"{}\"]\ntimeout = \"1s\"", trial.dns.address());
    trial.place.write("facteur.toml", config(&format!("[dns]\n{servers}")));
    trial.place.write("mail.eml", signed(&["s1", "s2"]));
    let began = Instant::now();
    let said = trial.of_ann();
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    for line in ["spf=temperror smtp.helo", "dkim=temperror", "dmarc=temperror header.from=a.test"]
    {
        said.has(line);
    }
    said.has("was silent for ");
    said.ends("accept");
}

/// Endless records of a stranger leave enough to ask what the author's domain says.
#[test]
fn a_sender_that_costs_all_there_is() {
    let mut zone = REJECT.to_owned();
    for name in ["b.test", "mx.b.test"] {
        let terms: String = (0..10).map(|at| format!("mx:m{at}.{name} ")).collect();
        zone += &format!("{name} TXT v=spf1 {terms}-all\n");
        for (host, at) in (0..100).map(|host| (host, host / 10)) {
            zone +=
                &format!("m{at}.{name} MX {host} h{host}.{name}\nh{host}.{name} A 192.0.2.200\n");
        }
    }
    let trial = Trial::new(&zone, "");
    let said = trial.verify(&["--from", "ann@b.test", "--helo", "mx.b.test"]);
    said.has("spf=temperror smtp.mailfrom=b.test (");
    said.has("one message has 150 questions");
    said.has("dmarc=fail header.from=a.test policy.dmarc=reject");
    said.ends("junk");
    assert!(trial.dns.log().len() <= 150, "{}", trial.dns.log().len());
}
