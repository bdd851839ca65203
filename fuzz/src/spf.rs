//! Records of SPF, as many as there are lines after the first, which is the sender's local part: an end
//! within the bounds, and nothing in a finding that could not be shown.

use facteur::limits::trust::{SPF_EXPLANATION_MAX, SPF_LOOKUPS_MAX, SPF_NAMES_MAX};
use facteur::mail::proof::name::Name;
use facteur::mail::proof::spf::{SpfClient, SpfFinding, SpfIdentity, SpfResult, check};
use facteur::mail::proof::{Ask, QueryAnswer, QueryType, ResourceRecord};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The first record and its includes; each term may ask for names and the address of each; the explanation.
const QUESTIONS_MAX: usize = 1 + SPF_LOOKUPS_MAX * (1 + SPF_NAMES_MAX) + 1;

/// Octets of a reason: a chain of includes, each with its term and its domain, escaped.
const REASON_MAX: usize = (SPF_LOOKUPS_MAX + 2) * 4 * (256 + 255 + 20);

/// Answers that follow from the octets of a name.
struct Lines<'a> {
    records: Vec<&'a [u8]>,
    asked: usize,
}

impl Ask for Lines<'_> {
    fn ask(&mut self, name: &Name, kind: QueryType) -> QueryAnswer {
        self.asked += 1;
        let sum: usize = name.as_bytes().iter().map(|octet| usize::from(*octet)).sum();
        let host = |number: usize| Name::parse(format!("h{number}.test").as_bytes());
        let hosts = || (0..sum % 12).filter_map(host);
        let records: Vec<ResourceRecord> = match kind {
            QueryType::Txt => {
                let record = match name.as_bytes() {
                    b"a.test" => self.records.first(),
                    _ => self.records.get(sum % (self.records.len() + 1)),
                };
                record.map(|text| ResourceRecord::Txt(text.to_vec())).into_iter().collect()
            }
            QueryType::A => vec![ResourceRecord::A(Ipv4Addr::from([192, 0, 2, (sum % 8) as u8]))],
            QueryType::Aaaa => vec![ResourceRecord::Aaaa(Ipv6Addr::from_bits(sum as u128 % 8))],
            QueryType::Mx => {
                hosts().map(|host| ResourceRecord::Mx { preference: 1, host }).collect()
            }
            QueryType::Ptr => hosts().map(ResourceRecord::Ptr).collect(),
        };
        match sum % 16 {
            15 if kind != QueryType::Txt => QueryAnswer::Failed("no answer".to_owned()),
            _ if records.is_empty() => QueryAnswer::NoName,
            _ => QueryAnswer::Records(records),
        }
    }
}

pub fn run(data: &[u8]) {
    let mut lines = data.split(|&octet| octet == b'\n');
    let local = lines.next().unwrap_or_default();
    let records: Vec<&[u8]> = lines.collect();
    let addresses: [IpAddr; 2] =
        [Ipv4Addr::from([192, 0, 2, 1]).into(), Ipv6Addr::from_bits(1).into()];
    for address in addresses {
        let client = SpfClient { address, helo: local, receiver: "mx.here.test", time: 0 };
        let sender = SpfIdentity::MailFrom { local, domain: b"a.test" };
        for identity in [sender, SpfIdentity::Helo] {
            let find = || {
                let mut ask = Lines { records: records.clone(), asked: 0 };
                let found = check(&mut ask, &client, identity);
                assert!(ask.asked <= QUESTIONS_MAX, "{} questions", ask.asked);
                found
            };
            let found = find();
            assert_eq!(found, find());
            look_at(&found);
        }
    }
}

fn look_at(found: &SpfFinding) {
    let visible = |text: &str| text.bytes().all(|octet| (b' '..=b'~').contains(&octet));
    assert!(visible(&found.reason) && visible(&found.domain), "{found:?}");
    assert!(!found.reason.is_empty() && found.reason.len() <= REASON_MAX, "{found:?}");
    if let Some(words) = &found.explanation {
        assert!(visible(words) && words.len() <= SPF_EXPLANATION_MAX, "{found:?}");
        assert_eq!(found.result, SpfResult::Fail);
    }
    assert!(found.name.is_some() || found.result == SpfResult::None, "{found:?}");
}
