//! MTA-STS: the records, policies and patterns of others (`tests/trust/mta-sts`).

use crate::trust_zone::file;
use facteur::mail::mta_sts::{MxPattern, StsId, StsPolicy};
use serde_json::{Value, json};

/// A table of the file.
pub fn table(name: &str) -> Vec<Value> {
    let tables: Value = serde_json::from_str(&file("mta-sts/policies.json")).unwrap();
    tables[name].as_array().unwrap().clone()
}

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap()
}

#[test]
fn records() {
    let cases = table("records");
    assert_eq!(cases.len(), 18);
    for case in cases {
        let found = StsId::in_records([text(&case, "txt").as_bytes()]);
        let id = found.ok().flatten();
        assert_eq!(id.as_ref().map(StsId::as_str), case["want"].as_str(), "{case}");
    }
}

#[test]
fn policies() {
    let cases = table("policies");
    assert_eq!(cases.len(), 24);
    for case in cases {
        let found = StsPolicy::parse(text(&case, "body").as_bytes()).map(|policy| {
            let mx: Vec<String> = policy.mx.iter().map(MxPattern::to_string).collect();
            json!({ "mode": policy.mode.to_string(), "mx": mx, "max_age": policy.max_age.as_secs() })
        });
        assert_eq!(found.unwrap_or(Value::Null), case["want"], "{case}");
    }
}

#[test]
fn matches() {
    let cases = table("matches");
    assert_eq!(cases.len(), 8);
    for case in cases {
        let pattern = MxPattern::parse(text(&case, "mx")).unwrap();
        assert_eq!(pattern.fits(text(&case, "host")), case["want"].as_bool().unwrap(), "{case}");
    }
}
