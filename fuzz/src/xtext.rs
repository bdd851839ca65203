//! The parameters of MAIL and RCPT and the codes they are written in (RFC 3461 §4, RFC 6533 §3): what is
//! encoded decodes to itself, and what is taken is within its bounds.

use facteur::limits::{ENVID_MAX, ORCPT_MAX};
use facteur::mail::xtext;
use facteur::smtp::parameter;

pub fn run(data: &[u8]) {
    let encoded = xtext::encode(data);
    assert!(encoded.bytes().all(|octet| octet.is_ascii_graphic()));
    assert_eq!(xtext::decode(encoded.as_bytes()).as_deref(), Some(data));
    if let Some(decoded) = xtext::decode(data) {
        let again = xtext::encode(&decoded);
        assert_eq!(xtext::decode(again.as_bytes()), Some(decoded));
    }
    if xtext::is_envid(data) {
        assert!((1..=ENVID_MAX).contains(&data.len()) && data.iter().all(u8::is_ascii_graphic));
    }
    if let Ok(text) = str::from_utf8(data) {
        let encoded = xtext::encode_unicode(text);
        assert!(encoded.bytes().all(|octet| octet.is_ascii_graphic()), "{encoded}");
        assert_eq!(xtext::decode_unicode(&encoded).as_deref(), Some(text));
        xtext::decode_unicode(text);
    }
    parameters(data);
}

fn parameters(data: &[u8]) {
    let found = match parameter::parse(data) {
        Ok(found) => found,
        Err(reply) => return assert_eq!(super::check_reply(&reply), 501),
    };
    for (index, parameter) in found.iter().enumerate() {
        assert!(found[..index].iter().all(|other| other.name != parameter.name));
        for smtputf8 in [false, true] {
            let Some(orcpt) = parameter.orcpt(smtputf8) else { continue };
            assert!(orcpt.len() <= ORCPT_MAX && orcpt.split_once(';').is_some(), "{orcpt}");
            assert!(smtputf8 || orcpt.is_ascii(), "{orcpt}");
            // Spaces beyond ASCII are letters like others there (RFC 6533 §3, QUCHAR), and end no word.
            let ends_it = |c: char| c.is_ascii_whitespace() || c.is_control();
            assert!(!orcpt.contains(ends_it), "{orcpt}");
        }
        let envid = parameter.envid();
        assert!(envid.is_none_or(|envid| xtext::is_envid(envid.as_bytes())));
        let results = [
            parameter.size().map(drop),
            parameter.body().map(drop),
            parameter.smtputf8().map(drop),
            parameter.ret().map(drop),
            parameter.auth(),
            parameter.notify().map(drop),
            Err(parameter.unknown()),
        ];
        for reply in results.into_iter().filter_map(Result::err) {
            assert!(matches!(super::check_reply(&reply), 501 | 555), "{reply}");
        }
    }
}
