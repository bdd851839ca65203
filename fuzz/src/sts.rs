//! Records and policies of MTA-STS: what is read can be written again, and what is cut off is no policy by chance.

use facteur::limits::policies::{STS_AGE_MAX, STS_POLICY_MAX};
use facteur::limits::trust::STS_ID_MAX;
use facteur::mail::mta_sts::{MxPattern, StsId, StsMode, StsPolicy};

pub fn run(data: &[u8]) {
    record(data);
    policy(data);
}

fn record(data: &[u8]) {
    let lines = || data.split(|octet| *octet == b'\n');
    if let Ok(Some(id)) = StsId::in_records(lines()) {
        assert!((1..=STS_ID_MAX).contains(&id.as_str().len()));
        assert_eq!(StsId::parse(id.as_str()), Some(id.clone()));
        assert_eq!(StsId::in_record(format!("v=STSv1; id={id};").as_bytes()), Ok(id.clone()));
        // Others beside it change nothing, and the same twice is none.
        let beside = lines().chain([&b"v=spf1 -all"[..], b"v=STSv2; id=x"]);
        assert_eq!(StsId::in_records(beside), Ok(Some(id.clone())));
        let twice = format!("v=STSv1; id={id}");
        assert!(StsId::in_records(lines().chain([twice.as_bytes()])).is_err());
    }
}

fn policy(data: &[u8]) {
    let Ok(policy) = StsPolicy::parse(data) else { return };
    assert!(data.len() <= STS_POLICY_MAX && policy.max_age <= STS_AGE_MAX);
    assert!(!policy.mx.is_empty() || policy.mode == StsMode::None);
    assert_eq!(StsPolicy::parse(policy.lines().join("\n").as_bytes()).as_ref(), Ok(&policy));
    for pattern in &policy.mx {
        let written = pattern.to_string();
        assert_eq!(MxPattern::parse(&written).as_ref(), Some(pattern));
        let (host, above) = match written.strip_prefix("*.") {
            Some(name) => (format!("x.{name}."), format!("x.y.{name}")),
            None => (written.to_uppercase(), format!("x.{written}")),
        };
        assert!(pattern.fits(&host) && !pattern.fits(&above) && policy.fits(&host));
    }
}
