//! Records as text: for people and scripts, and as a zone file has them (RFC 1035 §5.1).

use crate::limits::records::TXT_STRING_MAX;
use crate::net::dns::{Record, RecordKind};
use std::fmt::Write as _;
use std::net::IpAddr;

/// The kind of a record.
pub fn kind(record: &Record) -> RecordKind {
    match record {
        Record::Mx(_) => RecordKind::Mx,
        Record::Address(IpAddr::V4(_)) => RecordKind::A,
        Record::Address(IpAddr::V6(_)) => RecordKind::Aaaa,
        Record::Txt(_) => RecordKind::Txt,
        Record::Ptr(_) => RecordKind::Ptr,
        Record::Tlsa { .. } => RecordKind::Tlsa,
        Record::Srv { .. } => RecordKind::Srv,
        Record::Cname(_) => RecordKind::Cname,
    }
}

/// As zone files write it; other words for a kind name both kinds of addresses alike.
pub fn word(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::Mx => "MX",
        RecordKind::A => "A",
        RecordKind::Aaaa => "AAAA",
        RecordKind::Txt => "TXT",
        RecordKind::Ptr => "PTR",
        RecordKind::Tlsa => "TLSA",
        RecordKind::Srv => "SRV",
        RecordKind::Cname => "CNAME",
    }
}

/// What a record says, names without their last dot. A TXT record is its text, which may hold any character.
pub fn shown(record: &Record) -> String {
    match record {
        Record::Txt(text) => String::from_utf8_lossy(text).into_owned(),
        other => data(other, ""),
    }
}

/// What a record says, as a zone file has it: names are absolute, and a text is in quotes and in strings of
/// at most [`TXT_STRING_MAX`] octets.
pub fn in_zone(record: &Record) -> String {
    match record {
        Record::Txt(text) => {
            let strings: Vec<String> = text.chunks(TXT_STRING_MAX).map(quoted).collect();
            if strings.is_empty() { "\"\"".to_owned() } else { strings.join(" ") }
        }
        other => data(other, "."),
    }
}

/// `end`: what stands behind a name; the root is a dot in any case.
fn data(record: &Record, end: &str) -> String {
    let host = |name: &str| if name.is_empty() { ".".to_owned() } else { format!("{name}{end}") };
    match record {
        Record::Mx(mx) => format!("{} {}", mx.preference, host(&mx.host)),
        Record::Address(address) => address.to_string(),
        Record::Txt(text) => quoted(text),
        Record::Ptr(name) | Record::Cname(name) => host(name),
        Record::Tlsa { .. } => record.tlsa_text().unwrap_or_default(),
        Record::Srv { priority, weight, port, target } => {
            format!("{priority} {weight} {port} {}", host(target))
        }
    }
}

/// One string in quotes.
fn quoted(octets: &[u8]) -> String {
    let mut text = "\"".to_owned();
    for &octet in octets {
        match octet {
            b'"' | b'\\' => text.extend(['\\', char::from(octet)]),
            b' '..=b'~' => text.push(char::from(octet)),
            _ => {
                let _ = write!(text, "\\{octet:03}");
            }
        }
    }
    text + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::dns::MxHost;

    #[test]
    fn texts_of_each_kind() {
        let mx = |host: &str| Record::Mx(MxHost { preference: 10, host: host.to_owned() });
        let target = "mx.test".to_owned();
        let srv = Record::Srv { priority: 0, weight: 1, port: 465, target };
        let tlsa = Record::Tlsa { usage: 3, selector: 1, matching: 1, data: vec![0, 0xab] };
        for (record, for_people, for_zones) in [
            (mx("mx.test"), "10 mx.test", "10 mx.test."),
            (mx(""), "10 .", "10 ."),
            (Record::Ptr("mx.test".to_owned()), "mx.test", "mx.test."),
            (srv, "0 1 465 mx.test", "0 1 465 mx.test."),
            (tlsa, "3 1 1 00ab", "3 1 1 00ab"),
            (Record::Address("2001:db8::1".parse().unwrap()), "2001:db8::1", "2001:db8::1"),
            (
                Record::Txt(b"a \"b\\; \xc3\xa9".to_vec()),
                "a \"b\\; \u{e9}",
                r#""a \"b\\; \195\169""#,
            ),
            (Record::Txt(Vec::new()), "", "\"\""),
        ] {
            assert_eq!((shown(&record), in_zone(&record)), (for_people.into(), for_zones.into()));
        }
        let long = in_zone(&Record::Txt(vec![b'x'; 600]));
        let lengths: Vec<usize> = long.split(' ').map(|string| string.len() - 2).collect();
        assert_eq!(lengths, [255, 255, 90]);
    }
}
