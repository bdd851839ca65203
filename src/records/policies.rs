//! Texts by which a domain says what others are to do: DMARC (RFC 9989), MTA-STS (RFC 8461), reports on TLS
//! (RFC 8460). What is proposed is mild: nothing is refused before somebody wants it to be.

use crate::mail::address::Domain;
use crate::mail::mta_sts::StsId;
use crate::mail::tls_report::record::ReportRecord;
use aws_lc_rs::digest::{SHA256, digest};
use std::fmt::Write as _;

/// Nothing is refused, and failures are reported.
pub fn dmarc(domain: &Domain) -> String {
    format!("v=DMARC1; p=none; rua=mailto:postmaster@{domain}")
}

pub fn tls_reports(domain: &Domain) -> String {
    format!("v=TLSRPTv1; rua=mailto:postmaster@{domain}")
}

/// The policy that a web server has to give for a domain with these MX hosts (RFC 8461 §3.2), a week long.
pub fn mta_sts_policy(hosts: &[&str]) -> String {
    let hosts: String = hosts.iter().map(|host| format!("mx: {host}\n")).collect();
    format!("version: STSv1\nmode: testing\n{hosts}max_age: 604800\n")
}

/// The record that tells that there is such a policy. Its id changes with the policy.
pub fn mta_sts_record(policy: &str) -> String {
    let mut id = String::new();
    for octet in &digest(&SHA256, policy.as_bytes()).as_ref()[..8] {
        // Writing to a String cannot fail.
        let _ = write!(id, "{octet:02x}");
    }
    format!("v=STSv1; id={id};")
}

/// Whether a text is meant as such a record, good or not.
pub fn is_meant(text: &[u8], version: &str) -> bool {
    text.get(..version.len()).is_some_and(|start| start.eq_ignore_ascii_case(version.as_bytes()))
}

/// RFC 8461 §3.1: the version first, and an id of letters and digits.
pub fn is_mta_sts(text: &[u8]) -> bool {
    StsId::in_record(text).is_ok()
}

/// RFC 8460 §3: a record by which reports come, at each address that it names.
pub fn is_tls_reports(text: &[u8]) -> bool {
    let found = ReportRecord::find(std::iter::once(text));
    matches!(found, Ok(Some(record)) if record.bad.is_empty() && !record.addresses.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::trust::STS_ID_MAX;
    use crate::mail::mta_sts::StsPolicy;

    #[test]
    fn what_is_proposed_is_valid() {
        let domain = Domain::parse("a.test").unwrap();
        let policy = mta_sts_policy(&["mx.a.test", "mx2.a.test"]);
        assert_eq!(
            policy,
            "version: STSv1\nmode: testing\nmx: mx.a.test\nmx: mx2.a.test\nmax_age: 604800\n"
        );
        assert!(StsPolicy::parse(policy.as_bytes()).unwrap().fits("mx2.a.test"));
        assert!(is_mta_sts(mta_sts_record(&policy).as_bytes()));
        assert_ne!(mta_sts_record(&policy), mta_sts_record(&mta_sts_policy(&["mx.a.test"])));
        assert!(is_tls_reports(tls_reports(&domain).as_bytes()));
    }

    #[test]
    fn what_is_no_record() {
        for good in ["v=STSv1; id=1", "v=STSv1;id=20260101a; x=y;"] {
            assert!(is_mta_sts(good.as_bytes()), "{good}");
        }
        let long = format!("v=STSv1; id={}", "1".repeat(STS_ID_MAX + 1));
        for bad in [
            "",
            "v=STSv1",
            "v=STSv1; id=",
            "v=STSv1; id=a-b",
            "id=1; v=STSv1",
            "v=STSv2; id=1",
            &long,
        ] {
            assert!(!is_mta_sts(bad.as_bytes()), "{bad}");
        }
        for good in
            ["v=TLSRPTv1; rua=mailto:a@b", "v=TLSRPTv1;rua=https://a.test/x, MAILTO:a@b.test"]
        {
            assert!(is_tls_reports(good.as_bytes()), "{good}");
        }
        for bad in [
            "v=TLSRPTv1",
            "v=TLSRPTv1; rua=",
            "v=TLSRPTv1; rua=a@b.test",
            "v=TLSRPTv1; rua=mailto:",
            "v=TLSRPTv1; rua=mailto:@b",
            "v=TLSRPTv1; rua=mailto:a@b, ftp://x.test",
            "rua=mailto:a@b.test; v=TLSRPTv1",
        ] {
            assert!(!is_tls_reports(bad.as_bytes()), "{bad}");
        }
    }
}
