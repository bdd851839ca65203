//! A table in place of DNS, for the suites of SPF and DMARC.

use facteur::mail::proof::name::Name;
use facteur::mail::proof::{Ask, QueryAnswer, QueryType, ResourceRecord};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Aliases that are followed.
const ALIASES_MAX: usize = 10;

/// What is at one name.
#[derive(Clone, Default)]
struct Node {
    records: Vec<(QueryType, ResourceRecord)>,
    /// Kinds that fail.
    failing: Vec<QueryType>,
    /// Whether all fail that have no records.
    fails: bool,
    alias: Option<Name>,
}

/// Names that are not there do not exist. What was asked is kept, in order.
#[derive(Clone, Default)]
pub struct Zone {
    nodes: BTreeMap<Name, Node>,
    pub asked: Vec<(Name, QueryType)>,
}

/// The file `tests/trust/PATH`.
pub fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trust").join(path);
    fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// The same as JSON.
pub fn json(path: &str) -> Vec<Value> {
    serde_json::from_str(&file(path)).unwrap()
}

/// Code points to U+00FF as octets.
pub fn octets(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

pub fn name(text: &str) -> Option<Name> {
    Name::parse(&octets(text))
}

impl Zone {
    /// A zone as the SPF suites have it: lists of types and values.
    pub fn of_lists(zone: &Value) -> Zone {
        let mut made = Zone::default();
        for (owner, entries) in zone.as_object().unwrap() {
            made.node(owner);
            for entry in entries.as_array().unwrap() {
                let kind = entry[0].as_str().unwrap();
                match (kind, &entry[1]) {
                    ("TIMEOUT" | "SERVFAIL", _) => made.fail(owner),
                    (kind, Value::String(value)) if value == "TIMEOUT" => {
                        let kind = kind_of(kind);
                        if let Some(node) = made.node(owner) {
                            node.failing.push(kind);
                        }
                    }
                    (kind, value) => made.add(owner, kind, value),
                }
            }
        }
        made
    }

    /// A zone as the DMARC cases have it: objects of types.
    pub fn of_objects(zone: &Value) -> Zone {
        let mut made = Zone::default();
        for (owner, types) in zone.as_object().unwrap() {
            made.node(owner);
            let Some(types) = types.as_object() else {
                made.fail(owner);
                continue;
            };
            for (kind, values) in types {
                for value in values.as_array().unwrap() {
                    made.add(owner, kind, value);
                }
            }
        }
        made
    }

    /// The node of a name; none where DNS can have no such name.
    fn node(&mut self, owner: &str) -> Option<&mut Node> {
        Some(self.nodes.entry(name(owner)?).or_default())
    }

    pub fn fail(&mut self, owner: &str) {
        if let Some(node) = self.node(owner) {
            node.fails = true;
        }
    }

    /// All records of one kind go.
    pub fn clear(&mut self, owner: &str, kind: &str) {
        let kind = kind_of(kind);
        if let Some(node) = self.node(owner) {
            node.records.retain(|(known, _)| *known != kind);
        }
    }

    /// A null MX, and a name that is none, adds nothing but the owner.
    pub fn add(&mut self, owner: &str, kind: &str, value: &Value) {
        let text = || value.as_str().unwrap().to_owned();
        let Some(node) = self.node(owner) else { return };
        let record = match kind {
            "CNAME" => {
                node.alias = name(&text());
                return;
            }
            "A" => Some(ResourceRecord::A(text().parse().unwrap())),
            "AAAA" => Some(ResourceRecord::Aaaa(text().parse().unwrap())),
            "PTR" => name(&text()).map(ResourceRecord::Ptr),
            "MX" => {
                let (preference, host) = match value {
                    Value::String(both) => {
                        let (preference, host) = both.split_once(' ').unwrap();
                        (preference.parse().unwrap(), host.to_owned())
                    }
                    both => (both[0].as_u64().unwrap(), both[1].as_str().unwrap().to_owned()),
                };
                let preference = u16::try_from(preference).unwrap();
                name(&host).map(|host| ResourceRecord::Mx { preference, host })
            }
            "TXT" => {
                let strings = match value {
                    Value::Array(strings) => strings.iter().map(|s| s.as_str().unwrap()).collect(),
                    one => one.as_str().unwrap().to_owned(),
                };
                Some(ResourceRecord::Txt(octets(&strings)))
            }
            other => panic!("{other}"),
        };
        if let Some(record) = record {
            node.records.push((kind_of(kind), record));
        }
    }

    fn answer(&self, name: &Name, kind: QueryType, aliases: usize) -> QueryAnswer {
        let fail = |why: &str| QueryAnswer::Failed(why.to_owned());
        if name.as_bytes().starts_with(b"error.") || name.as_bytes().starts_with(b"_dns_error.") {
            return fail("an error of the server");
        }
        let Some(node) = self.nodes.get(name) else { return QueryAnswer::NoName };
        let of_kind = node.records.iter().filter(|(known, _)| *known == kind);
        let records: Vec<ResourceRecord> = of_kind.map(|(_, record)| record.clone()).collect();
        match &node.alias {
            _ if !records.is_empty() => QueryAnswer::Records(records),
            _ if node.fails || node.failing.contains(&kind) => fail("no answer"),
            Some(_) if aliases == ALIASES_MAX => fail("a chain of aliases without end"),
            Some(alias) => self.answer(alias, kind, aliases + 1),
            None => QueryAnswer::NoRecords,
        }
    }
}

impl Ask for Zone {
    fn ask(&mut self, name: &Name, kind: QueryType) -> QueryAnswer {
        self.asked.push((name.clone(), kind));
        self.answer(name, kind, 0)
    }
}

fn kind_of(text: &str) -> QueryType {
    match text {
        "A" => QueryType::A,
        "AAAA" => QueryType::Aaaa,
        "MX" => QueryType::Mx,
        "PTR" => QueryType::Ptr,
        "TXT" => QueryType::Txt,
        other => panic!("{other}"),
    }
}
