//! The parameters of MAIL and RCPT, `KEYWORD[=value]` (RFC 5321 §4.1.2; values: RFC 1870, 3461,
//! 6152, 6531, 6533, 8689).
//!
//! Says what a value means, never whether it suits: that a size is too large is said in
//! [`super::session`].

use super::reply::{Reply, quoted};
use crate::limits::ORCPT_MAX;
use crate::mail::address::{Mailbox, is_atext};
use crate::mail::envelope::{BodyType, Notify, Ret, TlsWish};
use crate::mail::visible::is_hidden;
use crate::mail::xtext;

/// One parameter as it was written.
pub struct Parameter<'a> {
    /// In upper case.
    pub name: String,
    /// What stands behind `=`; none without it, empty only in ENVID and ORCPT.
    value: Option<&'a [u8]>,
}

/// All parameters behind an address, each name once.
pub fn parse(rest: &[u8]) -> Result<Vec<Parameter<'_>>, Reply> {
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    let is_blank = |b: &u8| matches!(b, b' ' | b'\t');
    if !rest.first().is_some_and(is_blank) {
        return Err(bad("a space stands between the address and its parameters"));
    }
    let mut found: Vec<Parameter<'_>> = Vec::new();
    // More than one space is tolerated, as Postfix and others do.
    for word in rest.split(is_blank).filter(|word| !word.is_empty()) {
        let parameter = Parameter::parse(word)?;
        // RFC 1870 §6 forbids it for SIZE; for the others it would be unclear which one counts.
        if found.iter().any(|other| other.name == parameter.name) {
            return Err(bad(format!("{} is given twice", parameter.name)));
        }
        found.push(parameter);
    }
    Ok(found)
}

/// A refusal of what stands behind an address or a verb: 5.5.4, invalid arguments (RFC 3463 §3.6).
pub fn bad(text: impl Into<String>) -> Reply {
    Reply::new(501, "5.5.4", text)
}

impl<'a> Parameter<'a> {
    fn parse(word: &'a [u8]) -> Result<Parameter<'a>, Reply> {
        let (name, value) = match word.iter().position(|&b| b == b'=') {
            Some(at) => (&word[..at], Some(&word[at + 1..])),
            None => (word, None),
        };
        let good_name = name.first().is_some_and(u8::is_ascii_alphanumeric)
            && name.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'-');
        // Octets over 127 are allowed only in ORCPT, whose own parser checks them.
        let good_value = value
            .is_none_or(|v| !v.is_empty() && v.iter().all(|&b| b > 32 && b != 127 && b != b'='));
        let name = upper(name);
        // ENVID and ORCPT only serve notices: a malformed value is dropped later, and refuses no mail.
        let serves_reports = matches!(name.as_str(), "ENVID" | "ORCPT");
        match good_name && (good_value || serves_reports) {
            true => Ok(Parameter { name, value }),
            false => Err(bad(format!("{}: no parameter has this form", quoted(word)))),
        }
    }

    /// The reply to a parameter that nobody here knows (RFC 5321 §4.1.1.11).
    pub fn unknown(&self) -> Reply {
        Reply::new(555, "5.5.4", format!("parameter {} is not known here", self.name))
    }

    /// SIZE=: 1 to 20 digits (RFC 1870 §3); a number too large for u64 is over any limit.
    pub fn size(&self) -> Result<u64, Reply> {
        decimal(self.value()).ok_or_else(|| bad("SIZE= takes a number of octets"))
    }

    /// BODY= (RFC 6152). BINARYMIME is not taken: it needs an extension we do not offer (RFC 3030
    /// §3).
    pub fn body(&self) -> Result<BodyType, Reply> {
        match upper(self.value()).as_str() {
            "7BIT" => Ok(BodyType::SevenBit),
            "8BITMIME" => Ok(BodyType::EightBitMime),
            _ => Err(bad("BODY= takes 7BIT or 8BITMIME")),
        }
    }

    /// SMTPUTF8, which takes no value (RFC 6531 §3.4).
    pub fn smtputf8(&self) -> Result<bool, Reply> {
        match self.value {
            None => Ok(true),
            Some(_) => Err(bad("SMTPUTF8 takes no value")),
        }
    }

    /// REQUIRETLS, which takes no value (RFC 8689 §2).
    pub fn require_tls(&self) -> Result<TlsWish, Reply> {
        match self.value {
            None => Ok(TlsWish::Required),
            Some(_) => Err(bad("REQUIRETLS takes no value")),
        }
    }

    /// RET= (RFC 3461 §4.3).
    pub fn ret(&self) -> Result<Ret, Reply> {
        match upper(self.value()).as_str() {
            "FULL" => Ok(Ret::Full),
            "HDRS" => Ok(Ret::Headers),
            _ => Err(bad("RET= takes FULL or HDRS")),
        }
    }

    /// ENVID=: printable text in xtext, at most 100 octets (RFC 3461 §4.4). Kept as it was written,
    /// the form in which it is handed on. None where it is malformed, which is no reason to refuse mail.
    pub fn envid(&self) -> Option<String> {
        let value = self.value();
        xtext::is_envid(value).then(|| String::from_utf8_lossy(value).into_owned())
    }

    /// AUTH=: who submitted the message first, in xtext, or `<>` (RFC 4954 §5).
    pub fn auth(&self) -> Result<(), Reply> {
        let decoded = xtext::decode(self.value()).and_then(|text| String::from_utf8(text).ok());
        match decoded.is_some_and(|text| text == "<>" || Mailbox::parse(&text).is_ok()) {
            true => Ok(()),
            false => Err(bad("AUTH= takes <> or an address in xtext")),
        }
    }

    /// NOTIFY=: NEVER alone, or a list of SUCCESS, FAILURE, DELAY (RFC 3461 §4.1).
    pub fn notify(&self) -> Result<Notify, Reply> {
        let value = upper(self.value());
        let mut notify = Notify::default();
        if value == "NEVER" {
            // No notice of any kind is what NEVER means.
            return Ok(notify);
        }
        for word in value.split(',') {
            match word {
                "SUCCESS" => notify.success = true,
                "FAILURE" => notify.failure = true,
                "DELAY" => notify.delay = true,
                _ => return Err(bad("NOTIFY= takes NEVER alone, or SUCCESS, FAILURE and DELAY")),
            }
        }
        Ok(notify)
    }

    /// ORCPT=: a type, a semicolon, an address in xtext, at most 500 octets (RFC 3461 §4.2). The
    /// type `utf-8` may hold UTF-8 as it is when the transaction does (RFC 6533 §3). None where it is
    /// malformed, which is no reason to refuse mail.
    pub fn orcpt(&self, smtputf8: bool) -> Option<String> {
        let value = self.value();
        let text = str::from_utf8(value).ok()?;
        let (kind, address) = text.split_once(';')?;
        let good_kind = !kind.is_empty() && kind.bytes().all(is_atext);
        let raw = smtputf8 && kind.eq_ignore_ascii_case("utf-8");
        let ascii: Vec<u8> = address.bytes().filter(|b| !raw || b.is_ascii()).collect();
        let decoded = xtext::decode(&ascii)?;
        let unicode =
            !kind.eq_ignore_ascii_case("utf-8") || xtext::decode_unicode(address).is_some();
        let printable = unicode
            && !address.contains(is_hidden)
            && decoded.iter().all(|b| (32..=126).contains(b));
        let is_good = good_kind && !address.is_empty() && printable && value.len() <= ORCPT_MAX;
        is_good.then(|| text.to_owned())
    }

    fn value(&self) -> &'a [u8] {
        self.value.unwrap_or_default()
    }
}

/// 1 to 20 decimal digits; a number too large for u64 becomes its maximum.
pub fn decimal(digits: &[u8]) -> Option<u64> {
    let good = (1..=20).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    good.then(|| String::from_utf8_lossy(digits).parse().unwrap_or(u64::MAX))
}

fn upper(text: &[u8]) -> String {
    String::from_utf8_lossy(text).to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Parameter<'_> {
        Parameter::parse(text.as_bytes()).map_err(|reply| reply.to_string()).unwrap()
    }

    #[test]
    fn notify_ret_envid() {
        let set = |success, failure, delay| Notify { success, failure, delay };
        assert_eq!(only("NOTIFY=never").notify(), Ok(set(false, false, false)));
        assert_eq!(only("NOTIFY=SUCCESS,delay").notify(), Ok(set(true, false, true)));
        for bad in ["NEVER,SUCCESS", "SUCCESS,", ",", "ALWAYS", "SUCCESS;DELAY"] {
            assert!(only(&format!("NOTIFY={bad}")).notify().is_err(), "{bad}");
        }
        assert!(only("NOTIFY").notify().is_err() && only("RET=BOTH").ret().is_err());
        assert_eq!(only("ENVID=QQ+20314").envid(), Some("QQ+20314".to_owned()));
        assert!(only(&format!("ENVID={}", "x".repeat(100))).envid().is_some());
        for bad in [&"x".repeat(101), "a+0Ab", "a+zz", "\u{e9}", "ab+3dcd", "a=b", ""] {
            assert_eq!(only(&format!("ENVID={bad}")).envid(), None, "{bad}");
        }
    }

    #[test]
    fn auth() {
        for (text, good) in [
            ("AUTH=<>", true),
            ("AUTH=ann@mx.test", true),
            ("AUTH=e+3Dmc2@example.com", true),
            ("AUTH=ann", false),
            ("AUTH=a+zz@mx.test", false),
            ("AUTH", false),
        ] {
            assert_eq!(only(text).auth().is_ok(), good, "{text}");
        }
    }

    #[test]
    fn orcpt() {
        for (text, utf8, good) in [
            ("rfc822;ann@mx.test", false, true),
            ("RFC822;a+2Bb@mx.test", false, true),
            ("x400;/C+3DUS", false, true),
            ("rfc822;", false, false),
            (";ann@mx.test", false, false),
            ("ann@mx.test", false, false),
            ("rfc822;a+0Ab", false, false),
            ("utf-8;\u{e9}@mx.test", true, true),
            ("utf-8;\u{e9}@mx.test", false, false),
            ("rfc822;\u{e9}@mx.test", true, false),
            ("utf-8;\\x{e9}@mx.test", false, true),
            ("rfc822;bounce=x@b.test", false, false),
        ] {
            assert_eq!(only(&format!("ORCPT={text}")).orcpt(utf8).is_some(), good, "{text}");
        }
        let long = |n: usize| format!("ORCPT=rfc822;{}", "x".repeat(n - 7));
        assert!(only(&long(500)).orcpt(false).is_some() && only(&long(501)).orcpt(false).is_none());
    }
}
