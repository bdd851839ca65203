//! Records as lines of a zone file (RFC 1035 §5.1), which name servers read: every name is absolute, and what
//! only a person can know is a comment.

use super::form::{in_zone, word};
use super::mta_sts_place;
use super::policies::mta_sts_policy;
use super::{RecordPurpose, Want, WantedRecord};
use crate::limits::records::ZONE_TTL;
use crate::mail::address::Domain;

/// The lines of all records, in their order.
pub fn zone(records: &[WantedRecord], hostname: &Domain) -> String {
    let mut text = String::new();
    for record in records.iter().filter(|record| record.purpose != RecordPurpose::Retired) {
        let (name, kind) = (&record.name, word(record.kind));
        let mark = record.mark.as_ref().map(|mark| format!(" ; {}", comment(mark)));
        let mark = mark.unwrap_or_default();
        match &record.want {
            // It lies in another zone, that of the network; some name servers take no line of another zone.
            Want::Record(want) if record.purpose == RecordPurpose::Reverse => {
                text += &format!("; {name}. {ZONE_TTL} IN {kind} {}{mark}\n", in_zone(want));
            }
            Want::Record(want) => {
                text += &format!("{name}. {ZONE_TTL} IN {kind} {}{mark}\n", in_zone(want));
            }
            Want::Words(words) => text += &format!("; {name}. {kind}: {}{mark}\n", comment(words)),
        }
        if record.purpose == RecordPurpose::MtaSts {
            let place = mta_sts_place(&record.owner);
            text += &format!("; for the record above, a web server has to give at {place}\n");
            let policy = mta_sts_policy(&[hostname.as_str()]);
            text.extend(policy.lines().map(|line| format!(";   {line}\n")));
        }
    }
    text
}

/// Text on one line.
fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() { c } else { ' ' }).collect()
}
