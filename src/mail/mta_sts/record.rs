//! The record at `_mta-sts.DOMAIN` (RFC 8461 §3.1), and the id of the policy in it.

use super::{BadSts, is_name, is_wsp, without_wsp};
use crate::limits::trust::STS_ID_MAX;
use std::fmt;

/// The id of a policy, 1 to 32 letters and digits: another id tells of another policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StsId(String);

impl StsId {
    /// The id alone; none where the text is no id.
    pub fn parse(text: &str) -> Option<StsId> {
        let is_id = (1..=STS_ID_MAX).contains(&text.len())
            && text.bytes().all(|octet| octet.is_ascii_alphanumeric());
        is_id.then(|| StsId(text.to_owned()))
    }

    /// The id in the TXT records of a name, the strings of each joined. None where none of them is meant as a
    /// record of MTA-STS.
    ///
    /// Fails where there are several, or the one is broken: then the domain has no policy either.
    pub fn in_records<'a>(
        texts: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Option<StsId>, BadSts> {
        let mut meant = texts.into_iter().filter(|text| fields(text).is_some());
        match (meant.next(), meant.next()) {
            (None, _) => Ok(None),
            (Some(only), None) => StsId::in_record(only).map(Some),
            (Some(_), Some(_)) => Err(BadSts::Several),
        }
    }

    /// The id in one record. Of a field that stands twice the first one counts.
    pub fn in_record(text: &[u8]) -> Result<StsId, BadSts> {
        let mut rest = fields(text).ok_or(BadSts::Version)?;
        let mut id = None;
        while !rest.is_empty() {
            let end = rest.iter().position(|octet| is_wsp(*octet) || *octet == b';');
            let (field, after) = rest.split_at(end.unwrap_or(rest.len()));
            let value = value(field).ok_or_else(|| BadSts::field(field))?;
            if field.starts_with(b"id=") && id.is_none() {
                let value = str::from_utf8(value).ok().and_then(StsId::parse);
                id = Some(value.ok_or_else(|| BadSts::field(field))?);
            }
            rest = match after {
                [] => after,
                _ => after_delimiter(after).ok_or_else(|| BadSts::field(after))?,
            };
        }
        id.ok_or(BadSts::Missing("id"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The fields behind the version; none where the text is meant as something else.
fn fields(text: &[u8]) -> Option<&[u8]> {
    after_delimiter(text.strip_prefix(b"v=STSv1")?)
}

/// What stands behind a `;` with white space around it.
fn after_delimiter(text: &[u8]) -> Option<&[u8]> {
    without_wsp(text).strip_prefix(b";").map(without_wsp)
}

/// The value of a field; none where the field is not of the grammar.
fn value(field: &[u8]) -> Option<&[u8]> {
    let equals = field.iter().position(|octet| *octet == b'=')?;
    let (name, value) = (&field[..equals], &field[equals + 1..]);
    let is_value =
        !value.is_empty() && value.iter().all(|octet| octet.is_ascii_graphic() && *octet != b'=');
    (is_name(name) && is_value).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(texts: &[&str]) -> Result<Option<String>, BadSts> {
        let id = StsId::in_records(texts.iter().map(|text| text.as_bytes()));
        id.map(|id| id.map(|id| id.to_string()))
    }

    #[test]
    fn the_one_record_counts() {
        for (texts, id) in [
            (&["v=STSv1; id=1"][..], Some("1")),
            (&["v=STSv1;id=1"], Some("1")),
            (&["v=STSv1 \t;\t id=1 ; \t"], Some("1")),
            (&["v=STSv1; x=y; id=a1; id=b2"], Some("a1")),
            (&["v=STSv1; 1.b_c-d=!~; id=Z9"], Some("Z9")),
            (&["v=spf1 -all", "v=STSv1; id=1", "v=STSv2; id=2", "V=STSv1; id=3"], Some("1")),
            (&["v=STSv1", " v=STSv1; id=1", "v=STSv1x; id=1", "v = STSv1; id=1", ""], None),
            (&[], None),
        ] {
            assert_eq!(found(texts), Ok(id.map(str::to_owned)), "{texts:?}");
        }
    }

    #[test]
    fn what_is_no_record() {
        let long = format!("v=STSv1; id={}", "1".repeat(STS_ID_MAX + 1));
        for text in [
            "v=STSv1;",
            "v=STSv1; x=1",
            "v=STSv1; id=",
            "v=STSv1; id=a-b",
            "v=STSv1; id = 1",
            "v=STSv1; id=1 x",
            "v=STSv1; id=1 ",
            "v=STSv1; id=1;;",
            "v=STSv1;; id=1",
            "v=STSv1; ID=1",
            "v=STSv1; id=1; _x=1",
            "v=STSv1; id=1; x",
            "v=STSv1; id=1; x=a=b",
            "v=STSv1; id=1; x=\u{e4}",
            "v=STSv1; id=-; id=1",
            &long,
        ] {
            assert!(StsId::in_record(text.as_bytes()).is_err(), "{text:?}");
            assert!(found(&[text]).is_err(), "{text:?}");
        }
        assert_eq!(found(&["v=STSv1; id=1", "v=STSv1; id=1"]), Err(BadSts::Several));
        // One that is broken is a record as well.
        assert_eq!(found(&["v=STSv1; id=1", "v=STSv1;"]), Err(BadSts::Several));
    }
}
