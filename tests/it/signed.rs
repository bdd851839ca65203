//! A site that signs what its users send, and who looks at the signatures: our verifier, dkimpy and opendkim. The
//! cases are in `signed_ways`.

use crate::abuse::connect_from;
use crate::client::{Client, stuffed};
use crate::dnsd::Dnsd;
use crate::hosts::Host;
use crate::outside::{PYTHON, has_modules, installed};
use crate::secrecy::{self, Pair, TLS};
use crate::servers::Binary;
use crate::support::{Place, config, files, text, until};
use crate::tls::address;
use crate::trust_dkim::{ed25519_pem, rsa_pems};
use crate::trust_mail::Mail;
use crate::trust_oracles_dkim::ask;
use crate::trust_zone::Zone;
use facteur::mail::proof::dkim::DkimResult;
use facteur::mail::proof::dkim::sign::{SigningKey, strings};
use facteur::mail::proof::name::Name;
use facteur::smtp::auth::encode;
use serde_json::{Value, json};
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Two keys of one domain.
pub struct Keys {
    pems: [(&'static str, Vec<u8>); 2],
}

/// The selectors, in the order in which they sign.
const SELECTORS: [&str; 2] = ["r1", "e1"];

impl Keys {
    pub fn new() -> Keys {
        let [rsa, _] = rsa_pems();
        Keys { pems: [("r1.rsa.pem", rsa), ("e1.ed25519.pem", ed25519_pem())] }
    }

    /// Puts them where `dkim` looks for them.
    pub fn write(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        for (name, pem) in &self.pems {
            let path = dir.join(name);
            fs::write(&path, pem).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    /// The records of both: their names, and what stands there.
    pub fn records(&self, domain: &str) -> Vec<(String, String)> {
        let pairs = SELECTORS.iter().zip(&self.pems);
        let record = |(selector, (_, pem)): (&&str, &(&str, Vec<u8>))| {
            let key = SigningKey::from_pem(pem).unwrap();
            (format!("{selector}._domainkey.{domain}"), key.record().unwrap())
        };
        pairs.map(record).collect()
    }

    /// The same for a name server of ours.
    pub fn zone(&self, domain: &str) -> String {
        let line = |(owner, record): (String, String)| {
            format!("{owner} TXT {}\n", strings(&record).join("|"))
        };
        self.records(domain).into_iter().map(line).collect()
    }
}

/// A server of `mx.test` with the users ann and bob (whose alias is `info`), an alias to the outside, keys that DNS
/// shows, also for `customer.test`, which lives elsewhere, and a next hop for `far.test`. Clients at 127.0.0.1 are `relay.networks`, others strangers.
pub struct Signers {
    pub place: Place,
    pub keys: Keys,
    pub dns: Dnsd,
    pub far: Host,
    pub config: String,
    pub server: Binary,
}

impl Signers {
    /// `script`: of the next hop; `relay`: more keys of `[relay]`.
    pub fn new(script: &str, relay: &str) -> Signers {
        let (place, keys, far) = (Place::new(), Keys::new(), Host::start(script));
        keys.write(&place.at("keys"));
        Pair::of(&["mx.test"]).write(&place);
        place.write("users", "ann:{PLAIN}right\nbob:{PLAIN}right\n");
        place.write("aliases", "info: bob\naway: carol@far.test\n");
        let dns = Dnsd::new(&(keys.zone("mx.test") + &keys.zone("customer.test")));
        let (resolver, next) = (dns.address(), far.address);
        let more = format!(
            "users = \"users\"\naliases = \"aliases\"\ndkim = \"keys\"\n\
             [sign.\"customer.test\"]\ndkim = \"keys\"\n\
             [relay]\nnetworks = [\"127.0.0.1/32\"]\n{relay}\n[relay.route]\n\"far.test\" = \"{next}\"\n\
             [dns]\nservers = [\"{resolver}\"]\n[trust]\ngateways = []\n{TLS}"
        );
        let config = config(&more)
            .replacen("[domain", "submissions = [\"127.0.0.1:0\"]\n[domain", 1)
            .replace("any_user = true\n", "");
        let server = Binary::serve(&place, &config);
        let signers = Signers { place, keys, dns, far, config, server };
        until_both_sign(&signers.server, &signers.place, "ann@mx.test", "bob");
        signers
    }

    /// Begins a session as a user.
    pub fn user(&self, name: &str) -> Client {
        let mut client =
            Client::connect_tls(address(&self.server, "submissions"), &secrecy::client());
        assert!(client.reply().starts_with("220 "));
        client.expect("EHLO client.test", "250");
        let login = encode(format!("\0{name}@mx.test\0right").as_bytes());
        client.expect(&format!("AUTH PLAIN {login}"), "235 ");
        client
    }

    /// Begins a session as a stranger.
    pub fn stranger(&self) -> Client {
        let own = Ipv4Addr::new(127, 0, 0, 2);
        let mut client = Client::of(connect_from(own.into(), self.server.address));
        assert!(client.reply().starts_with("220 "));
        client.expect("EHLO client.test", "250");
        client
    }

    /// What the next hop has got, once it is so many messages.
    pub fn left(&self, count: usize) -> Vec<Vec<u8>> {
        // A refused transaction may end in an empty message.
        let taken = || self.far.mail().into_iter().filter(|mail| !mail.to.is_empty());
        until(&format!("{count} messages left"), || taken().count() >= count);
        taken().map(|mail| mail.octets).collect()
    }

    /// All look at signed messages, and find that both signatures hold.
    pub fn assert_signed(&self, mails: &[Vec<u8>]) {
        let records = self.keys.records("mx.test");
        let mut zone = Zone::default();
        for (owner, record) in &records {
            zone.add(owner, "TXT", &json!(record));
        }
        for mail in mails {
            let found = Mail::new(mail).verified(&mut zone, &[], now());
            let said: Vec<_> = found
                .iter()
                .map(|one| (one.selector.as_ref().map(Name::to_string).unwrap(), one.result))
                .collect();
            let both = SELECTORS.map(|selector| (selector.to_owned(), DkimResult::Pass));
            let mut sorted = said.clone();
            sorted.sort_by_key(|(selector, _)| selector != "r1");
            assert_eq!(sorted, both, "{}\n{found:?}", text(mail));
        }
        by_dkimpy(mails, &records);
        self.by_opendkim(mails, &records);
    }

    /// What it says of Ed25519 is not asked, nor of a NUL, at which it ends a line that it reads from a file.
    fn by_opendkim(&self, mails: &[Vec<u8>], records: &[(String, String)]) {
        if !installed(&["opendkim"]) {
            return;
        }
        let line = |(owner, record): &(String, String)| format!("{owner} {record}\n");
        let keys = self.place.write("opendkim.keys", records.iter().map(line).collect::<String>());
        let settings = format!("Mode v\nSyslog no\nTestPublicKeys {}\n", keys.display());
        let settings = self.place.write("opendkim.conf", settings);
        let mut wrong = Vec::new();
        for mail in mails.iter().filter(|mail| !mail.contains(&0)) {
            let mut command = Command::new("opendkim");
            let file = self.place.write("opendkim.eml", only(mail, "s=r1;"));
            command.arg("-x").arg(&settings).arg("-f").arg("-t").arg(file);
            let output = command.output().unwrap();
            let said = text(&output.stdout) + &text(&output.stderr);
            if !said.contains("(s=r1, d=mx.test, 2048-bit key) succeeded") {
                wrong.push(format!("{said}\n{}", text(mail)));
            }
        }
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), mails.len(), wrong.join("\n"));
    }
}

/// dkimpy, where it is installed, finds that both signatures of each message hold.
pub fn by_dkimpy(mails: &[Vec<u8>], records: &[(String, String)]) {
    if !has_modules("dkim, nacl.signing") {
        return;
    }
    let mut keys = json!({});
    records.iter().for_each(|(owner, record)| keys[owner] = json!(record));
    let works: Vec<Value> = mails
        .iter()
        .flat_map(|mail| [0, 1].map(|index| json!({"verify": latin(mail), "index": index})))
        .collect();
    for (at, said) in ask(&keys, &works).iter().enumerate() {
        assert_eq!(*said, json!(true), "{PYTHON}: {} of {}", at % 2, text(&mails[at / 2]));
    }
}

/// The message without signatures of other selectors, because opendkim speaks of one alone.
fn only(mail: &[u8], selector: &str) -> Vec<u8> {
    let mail = Mail::new(mail);
    let (mut out, mut end) = (Vec::new(), 0);
    for field in mail.fields() {
        let whole = text(field.whole);
        if !whole.starts_with("DKIM-Signature:") || whole.contains(selector) {
            out.extend_from_slice(field.whole);
        }
        end += field.whole.len();
    }
    out.extend_from_slice(&mail.text()[end..]);
    let lines = out.split_inclusive(|&octet| octet == b'\n');
    lines
        .flat_map(|line| match line.strip_suffix(b"\n") {
            Some(line) => [line, b"\r\n"].concat(),
            None => line.to_vec(),
        })
        .collect()
}

/// An octet a character, with LF, as the oracle is given messages.
fn latin(octets: &[u8]) -> String {
    Mail::new(octets).text().iter().map(|&octet| char::from(octet)).collect()
}

pub fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap()
}

/// Until DNS has shown both keys with which this author's mail is signed. This user of mx.test gets probes, and
/// keeps none.
pub fn until_both_sign(server: &Binary, place: &Place, author: &str, user: &str) {
    let (mut client, to) = (server.client(), format!("{user}@mx.test"));
    let probe = format!("From: {author}\r\n\r\nprobe\r\n");
    until("both keys sign", || {
        client.delivered(&[&to], probe.as_bytes());
        signatures(&place.mail(user).pop().unwrap()) == 2
    });
    let probes = files(&place.maildir(user).join("new"));
    probes.iter().for_each(|probe| fs::remove_file(probe).unwrap());
}

/// The selectors of the signatures that hold by these records, as our own verifier finds.
pub fn holding(mail: &[u8], records: &[(String, String)]) -> Vec<String> {
    let mut zone = Zone::default();
    for (owner, record) in records {
        zone.add(owner, "TXT", &json!(record));
    }
    let found = Mail::new(mail).verified(&mut zone, &[], now());
    let holds = found.iter().filter(|one| one.result == DkimResult::Pass);
    holds.map(|one| one.selector.as_ref().unwrap().to_string()).collect()
}

/// Sends a message (with CR LF) and gives the reply to its end.
pub fn send(client: &mut Client, from: &str, to: &[&str], message: &[u8]) -> String {
    client.expect(&format!("MAIL FROM:<{from}>"), "250");
    for to in to {
        client.expect(&format!("RCPT TO:<{to}>"), "250");
    }
    client.expect("DATA", "354");
    client.send(&stuffed(message));
    client.reply()
}

/// How many signatures a message has.
pub fn signatures(mail: &[u8]) -> usize {
    let mail = Mail::new(mail);
    mail.fields().iter().filter(|field| field.is("DKIM-Signature")).count()
}
