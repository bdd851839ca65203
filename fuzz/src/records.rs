//! What DNS says of our own records, and what a next hop says when it refuses mail for them: anything.

use facteur::config::Config;
use facteur::mail::address::Domain;
use facteur::net::dns::{DnsAnswer, DnsError, Record, RecordKind, Records, Resolver};
use facteur::records::{
    AddressSource, HostFacts, OwnAddress, RecordState, RecordsAsker, Want, WantedRecord, compare,
    is_about_records, wanted, zone,
};
use facteur::signing::Signing;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

/// Gives each line as a text, whatever is asked for.
#[derive(Debug)]
struct Lines(Vec<Record>);

impl Resolver for Lines {
    fn lookup(&self, _: &[u8], kind: RecordKind) -> Result<DnsAnswer, DnsError> {
        let records = match kind {
            RecordKind::Txt if !self.0.is_empty() => Records::Found(self.0.clone()),
            _ => Records::Absent,
        };
        Ok(DnsAnswer { records, secure: false })
    }
}

static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let text = "hostname = \"mx.test\"\n[domain.\"a.test\"]\nany_user = true\n";
    Config::parse(text, Path::new("/facteur.toml")).expect("a configuration")
});

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // Addresses have nothing to say, whatever stands in them: without all words that have a sign of one.
    if is_about_records(&format!("550 x@{}", text.replace(char::is_whitespace, "@"))) {
        panic!("an address is taken for a reason: {text}");
    }
    is_about_records(&text);
    let lines = data.split(|octet| *octet == b'\n').take(20);
    let texts: Vec<Record> = lines.map(|line| Record::Txt(line.to_vec())).collect();
    let address = "9.9.9.9".parse().expect("an address");
    let own = OwnAddress { address, source: AddressSource::Interface };
    let facts = HostFacts { addresses: vec![own], chain: None };
    let domain = Domain::parse("a.test").expect("a domain");
    let records = wanted(&CONFIG, &Signing::new(&CONFIG), &facts, &[domain]);
    let resolver = Lines(texts.clone());
    let mut asker = RecordsAsker::new(&resolver, 1_000, Duration::from_secs(60));
    for row in compare(&CONFIG, &facts, &records, &mut asker) {
        match row.state {
            RecordState::Missing => assert!(row.have.is_empty(), "{row:?}"),
            RecordState::Differs => assert!(!row.have.is_empty(), "{row:?}"),
            RecordState::Ok => assert!(row.have.contains(&row.want), "{row:?}"),
            RecordState::Unknown => {}
        }
    }
    // A zone file holds a record a line, printable, its strings as short as DNS has them.
    let Some(template) = records.into_iter().next() else { return };
    let of_text = |record| WantedRecord { want: Want::Record(record), ..template.clone() };
    let all: Vec<WantedRecord> = texts.into_iter().map(of_text).collect();
    let zone = zone(&all, &CONFIG.hostname);
    assert_eq!(zone.lines().count(), all.len(), "{zone}");
    for (line, record) in zone.lines().zip(&all) {
        let Want::Record(Record::Txt(text)) = &record.want else { continue };
        let (_, data) = line.split_once(" IN TXT ").expect("a TXT record");
        assert_eq!(strings(data).concat(), *text, "{line}");
        assert!(strings(data).iter().all(|string| string.len() <= 255), "{line}");
    }
}

/// The strings of a record as a name server reads them (RFC 1035 §5.1).
fn strings(data: &str) -> Vec<Vec<u8>> {
    assert!(data.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{data}");
    let (mut strings, mut octets) = (Vec::new(), data.bytes());
    while let Some(quote) = octets.find(|octet| *octet != b' ') {
        assert_eq!(quote, b'"', "{data}");
        let mut string = Vec::new();
        loop {
            match octets.next().expect("an end of the string") {
                b'"' => break,
                b'\\' => match octets.next().expect("an escaped octet") {
                    first @ b'0'..=b'9' => {
                        let mut digit = || u32::from(octets.next().expect("a digit") - b'0');
                        let value = u32::from(first - b'0') * 100 + digit() * 10 + digit();
                        string.push(u8::try_from(value).expect("an octet"));
                    }
                    octet => string.push(octet),
                },
                octet => string.push(octet),
            }
        }
        strings.push(string);
    }
    strings
}
