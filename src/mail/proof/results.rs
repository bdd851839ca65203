//! The field Authentication-Results: ours written, and those of others read (RFC 8601). Pure.
//!
//! Two readers: [`read`] takes a field as the grammar has it, [`is_of`] finds who a field says it is from,
//! however broken it is, because one with our name that came from outside has to go (RFC 8601 §5).

mod words;

use crate::limits::trust::RESULT_REASON_MAX;
use crate::limits::trust::RESULTS_DKIM_MAX;
use crate::limits::trust::RESULTS_READ_MAX;
use crate::mail::proof::name::Name;
use crate::mail::proof::raw::RawField;
use crate::mail::proof::{arc, dkim, dmarc, spf};
use std::fmt;
use words::ResultWords;

/// The name of the field.
pub const FIELD: &str = "Authentication-Results";

/// Columns of a line, where words allow that; one more is for the `;` behind it.
const COLUMNS: usize = 76;

/// What one method found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodResult {
    /// `spf`, `dkim`, `arc`, `dmarc`, or what else others know; in lower case where it was read.
    pub method: String,
    /// The word for what was found; in lower case where it was read.
    pub result: String,
    pub reason: Option<String>,
    /// Names as `smtp.mailfrom` (in lower case where they were read), with their values, in order.
    pub properties: Vec<(String, String)>,
}

impl MethodResult {
    pub fn new(method: &str, result: impl fmt::Display, reason: &str) -> MethodResult {
        let reason = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
        MethodResult {
            method: method.to_owned(),
            result: result.to_string(),
            reason,
            properties: Vec::new(),
        }
    }

    /// With a property, where it has a value.
    pub fn with(mut self, name: &str, value: Option<impl fmt::Display>) -> MethodResult {
        if let Some(value) = value {
            self.properties.push((name.to_owned(), value.to_string()));
        }
        self
    }

    /// The value of a property, which is named in lower case.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// What SPF says of the name that the client gave itself.
    pub fn helo(finding: &spf::SpfFinding) -> MethodResult {
        MethodResult::new("spf", finding.result, &finding.reason)
            .with("smtp.helo", some(&finding.domain))
    }

    /// What SPF says of the sender's domain.
    pub fn mail_from(finding: &spf::SpfFinding) -> MethodResult {
        let entry = MethodResult::new("spf", finding.result, &finding.reason);
        entry.with("smtp.mailfrom", some(&finding.domain))
    }

    /// What signatures prove, in their order: those that pass, and up to [`RESULTS_DKIM_MAX`] in all. Without
    /// any signature one entry says that.
    pub fn dkim(findings: &[dkim::DkimFinding]) -> Vec<MethodResult> {
        if findings.is_empty() {
            return vec![MethodResult::new("dkim", "none", "")];
        }
        let passes = |one: &dkim::DkimFinding| one.result == dkim::DkimResult::Pass;
        let passing = findings.iter().filter(|one| passes(one)).count();
        let mut room = RESULTS_DKIM_MAX.saturating_sub(passing);
        let mut entries = Vec::new();
        for finding in findings {
            if !passes(finding) {
                if room == 0 {
                    continue;
                }
                room -= 1;
            }
            entries.push(MethodResult::signature(finding));
        }
        entries
    }

    /// What one signature proves.
    pub fn signature(finding: &dkim::DkimFinding) -> MethodResult {
        let entry = MethodResult::new("dkim", finding.result, &finding.reason.to_string());
        let entry = entry.with("header.d", finding.domain.as_ref());
        entry.with("header.s", finding.selector.as_ref())
    }

    /// What a chain of forwarders proves.
    pub fn arc(finding: &arc::ArcFinding) -> MethodResult {
        MethodResult::new("arc", finding.result, &finding.reason.to_string())
    }

    /// What the author's domain asks for.
    pub fn dmarc(finding: &dmarc::DmarcFinding) -> MethodResult {
        let entry = MethodResult::new("dmarc", finding.result, &finding.reason);
        let entry = entry.with("header.from", finding.domain.as_ref());
        entry.with("policy.dmarc", finding.policy.as_ref())
    }
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Writes the field of the host `authserv_id`, with LF line ends and one at its end: an entry a line, folded
/// where that is too long. Without entries it says `none`.
pub fn write(authserv_id: &str, entries: &[MethodResult]) -> String {
    let mut text = format!("{FIELD}: {}", value(authserv_id));
    if entries.is_empty() {
        text.push_str("; none");
    }
    for entry in entries {
        text.push_str(";\n ");
        let mut column = 1;
        let mut add = |text: &mut String, word: &str| {
            let is_first = column == 1;
            if !is_first && column + 1 + word.len() > COLUMNS {
                text.push_str("\n ");
                column = 1;
            } else if !is_first {
                text.push(' ');
                column += 1;
            }
            text.push_str(word);
            column += word.len();
        };
        add(&mut text, &format!("{}={}", entry.method, entry.result));
        if let Some(reason) = &entry.reason {
            // White space inside quotes may be folded, too.
            for word in format!("reason={}", quoted(&cut(reason))).split(' ') {
                add(&mut text, word);
            }
        }
        for (name, property) in &entry.properties {
            add(&mut text, &format!("{name}={}", value(property)));
        }
    }
    text.push('\n');
    text
}

/// A reason of one line, of single spaces, in visible ASCII, as long as it may be.
fn cut(reason: &str) -> String {
    let words: Vec<&str> = reason.split_whitespace().collect();
    let visible = |one: char| if one.is_ascii_graphic() || one == ' ' { one } else { '?' };
    words.join(" ").chars().take(RESULT_REASON_MAX).map(visible).collect()
}

/// A value as it is, where it is a token, a domain or a mailbox that needs no quotes; else in quotes.
fn value(text: &str) -> String {
    let atom = |one: char| {
        one.is_ascii_alphanumeric() || "!#$%&'*+-./=?^_`{|}~".contains(one) || !one.is_ascii()
    };
    let plain = |text: &str, good: fn(char) -> bool| !text.is_empty() && text.chars().all(good);
    let token =
        |one: char| !one.is_control() && !one.is_whitespace() && !"()<>@,;:\\\"/[]?=".contains(one);
    let is_mailbox = text.split_once('@').is_some_and(|(local, domain)| {
        (local.is_empty() || local.chars().all(atom) && !has_hidden(local)) && plain(domain, token)
    });
    if plain(text, token) || is_mailbox { text.to_owned() } else { quoted(text) }
}

fn has_hidden(text: &str) -> bool {
    text.chars().any(|one| one.is_control() || one.is_whitespace())
}

/// In quotes; what may not stand there becomes `?`.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for one in text.chars() {
        match one {
            '"' | '\\' => quoted.extend(['\\', one]),
            _ if one.is_control() => quoted.push('?'),
            _ => quoted.push(one),
        }
    }
    quoted.push('"');
    quoted
}

/// A field as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Results {
    /// Who found it.
    pub authserv_id: String,
    /// What was found, [`RESULTS_READ_MAX`] entries and properties at most; nothing where the field says
    /// `none`.
    pub entries: Vec<MethodResult>,
}

/// A field that the grammar does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadResults;

impl fmt::Display for BadResults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no authentication results can be read")
    }
}

/// Reads the value of a field (RFC 8601 §2.2), all behind the colon. Properties without a type before them,
/// which old programs wrote, are read under the name they have.
///
/// Fails where the grammar is left, and for versions other than 1.
pub fn read(value: &[u8]) -> Result<Results, BadResults> {
    let mut words = ResultWords::new(value);
    let authserv_id = words.value().ok_or(BadResults)?;
    if let Some(version) = words.keyword()
        && version != "1"
    {
        return Err(BadResults);
    }
    let mut entries = Vec::new();
    let mut room = RESULTS_READ_MAX;
    while words.sign(b';') {
        if words.is_over() {
            break;
        }
        let method = words.keyword().ok_or(BadResults)?;
        if method == "none" && entries.is_empty() && words.is_over() {
            break;
        }
        if words.sign(b'/') {
            words.keyword().ok_or(BadResults)?;
        }
        let result = if words.sign(b'=') { words.keyword() } else { None };
        let mut entry = MethodResult {
            method,
            result: result.ok_or(BadResults)?,
            reason: None,
            properties: Vec::new(),
        };
        let is_kept = take(&mut room);
        while !words.is_over() && !words.is_at(b';') {
            let mut name = words.keyword().ok_or(BadResults)?;
            if words.sign(b'.') {
                name = format!("{name}.{}", words.keyword().ok_or(BadResults)?);
            }
            let value = if words.sign(b'=') { words.value() } else { None };
            let value = value.ok_or(BadResults)?;
            match name.as_str() {
                "reason" => entry.reason = Some(value),
                _ if is_kept && take(&mut room) => entry.properties.push((name, value)),
                _ => {}
            }
        }
        if is_kept {
            entries.push(entry);
        }
    }
    if words.is_over() { Ok(Results { authserv_id, entries }) } else { Err(BadResults) }
}

/// The number of its set before the value of ARC-Authentication-Results, and the value behind it, which is
/// one for [`read`] (RFC 8617 §4.1.1).
pub fn numbered(value: &[u8]) -> Option<(String, &[u8])> {
    let mut words = ResultWords::new(value);
    let is_number = words.keyword()? == "i" && words.sign(b'=');
    let number = words.keyword()?;
    (is_number && words.sign(b';')).then(|| (number, words.rest()))
}

/// Takes one of what there is room for, where there is any.
fn take(room: &mut usize) -> bool {
    let is_there = *room > 0;
    *room = room.saturating_sub(1);
    is_there
}

/// Whether a field is an Authentication-Results of the host `authserv_id`, or says so: without regard to
/// case, to a final dot, and to how a name of other letters than ASCII is written. Where comments or quotes
/// before the first `;` are broken, so that programs may read it in different ways, each word there may be
/// the name.
pub fn is_of(field: &RawField, authserv_id: &str) -> bool {
    let name = field.name.trim_ascii();
    if !name.eq_ignore_ascii_case(FIELD.as_bytes()) {
        return false;
    }
    let bare = |text: &[u8]| text.strip_suffix(b".").unwrap_or(text).to_ascii_lowercase();
    let ours = bare(authserv_id.as_bytes());
    let our_name = Name::of_unicode(&ours);
    let is_ours = |found: &[u8]| {
        let found = bare(found);
        found == ours || our_name.is_some() && Name::of_unicode(&found) == our_name
    };
    words::first(field.value()).iter().any(|found| is_ours(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ours(text: &str) -> bool {
        let (name, _) = text.split_once(':').unwrap();
        let field = RawField { name: name.as_bytes(), whole: text.as_bytes() };
        is_of(&field, "mx.b\u{fc}cher.test")
    }

    #[test]
    fn ours() {
        for value in [
            "mx.b\u{fc}cher.test; none",
            " (a (b\\) c) d)\n MX.XN--BCHER-KVA.TEST\n ; spf=pass",
            "\"mx.xn--bcher-kva.test\" 1; none",
            "\"mx.xn--\\bcher-kva.test\"(x); none",
            "mx.xn--bcher-kva.test.",
            "mx.xn--bcher-kva.test 2; unknown",
            "mx.xn--bcher-kva.test/1; none",
            "mx.xn--bcher-kva.test=",
            "mx.B\u{dc}CHER.test(",
            "(a mx.b\u{fc}cher.test; dkim=pass",
            "(a (b) mx.b\u{fc}cher.test; dkim=pass",
            "\"mx.b\u{fc}cher.test; dkim=pass",
            "(\\) mx.b\u{fc}cher.test",
            "\tmx.b\u{fc}cher.test\r;",
            "mx.b\u{fc}cher.test,; spf=pass",
            "mx.\"b\u{fc}cher\".test; spf=pass",
            "\"mx.\"b\u{fc}cher.test; spf=pass",
        ] {
            assert!(is_ours(&format!("Authentication-results :{value}")), "{value}");
        }
        for value in [
            "",
            ";",
            "; mx.b\u{fc}cher.test",
            "other.test; mx.b\u{fc}cher.test",
            "other.test (mx.b\u{fc}cher.test); none",
            "(mx.b\u{fc}cher.test) other.test; none",
            "xmx.b\u{fc}cher.test; none",
            "mx.b\u{fc}cher.test.evil.test; none",
            "mx.b\u{fc}cher.testx; none",
            "(other.test; (mx.b\u{fc}cher.test",
        ] {
            assert!(!is_ours(&format!("Authentication-Results:{value}")), "{value}");
        }
        assert!(!is_ours("X-Authentication-Results: mx.b\u{fc}cher.test; none"));
        assert!(!is_ours("ARC-Authentication-Results: mx.b\u{fc}cher.test; none"));
    }

    #[test]
    fn written() {
        let entries = [
            MethodResult::new("spf", "pass", "192.0.2.1 is \"in\" ip4:192.0.2.0/24")
                .with("smtp.helo", Some("a.test")),
            MethodResult::new("spf", "none", "").with("smtp.mailfrom", Some("a b@c.test")),
            MethodResult::new("dkim", "fail", "\u{fc}\0\n x").with("header.d", None::<&str>),
            MethodResult::new("dmarc", "fail", &"long ".repeat(20))
                .with("header.from", Some("x=y@b.test")),
        ];
        let written = write("mx.test", &entries);
        let expected = "Authentication-Results: mx.test;\n \
            spf=pass reason=\"192.0.2.1 is \\\"in\\\" ip4:192.0.2.0/24\" smtp.helo=a.test;\n \
            spf=none smtp.mailfrom=\"a b@c.test\";\n \
            dkim=fail reason=\"?? x\";\n \
            dmarc=fail reason=\"long long long long long long long long long long long\n \
            long long long long long long long long long\" header.from=x=y@b.test\n";
        assert_eq!(written, expected);
        assert!(written.lines().all(|line| line.len() < 78));
        assert_eq!(write("mx.test", &[]), "Authentication-Results: mx.test; none\n");
        assert!(write("a b", &[]).starts_with("Authentication-Results: \"a b\"; none"));
    }

    #[test]
    fn what_is_written_is_read() {
        let entries = [
            MethodResult::new("spf", "softfail", "a \\ \"b\"")
                .with("smtp.mailfrom", Some("\"a b\"@c.test")),
            MethodResult::new("dkim", "none", ""),
            MethodResult::new("dmarc", "pass", "x")
                .with("header.from", Some(""))
                .with("policy.dmarc", Some("none")),
        ];
        let written = write("mx.test", &entries);
        let (_, value) = written.split_once(':').unwrap();
        let read = read(value.as_bytes()).unwrap();
        assert_eq!((read.authserv_id.as_str(), &read.entries[..]), ("mx.test", &entries[..]));
        assert_eq!(read.entries[2].property("policy.dmarc"), Some("none"));
    }

    #[test]
    fn numbers_of_sets() {
        let found = |text: &'static str| numbered(text.as_bytes());
        let expected =
            |number: &str, rest: &'static str| Some((number.to_owned(), rest.as_bytes()));
        assert_eq!(found(" (a) i (b)=\n 1 (c); mx.test; none"), expected("1", " mx.test; none"));
        for text in
            ["", "i=1", "i=1 mx.test; none", "j=1; x", "mx.test; i=1; none", "i=; x", "i(=1;"]
        {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_field() {
        for text in [
            "",
            ";",
            "a",
            "a 2; none",
            "a; spf",
            "a; spf=",
            "a; =pass",
            "a; spf=pass smtp",
            "a b c; none",
            "a; spf=pass smtp.=x",
            "a; spf=pass (",
            "a; spf=pass x=\"y",
            "a; none; spf=pass",
            "a; spf/=x",
        ] {
            // A field that names its host and nothing else is short, but no harm.
            assert_eq!(read(text.as_bytes()).is_ok(), text == "a", "{text}");
        }
        let many = format!("a{}", "; spf=pass a.b=c".repeat(100_000));
        let entries = read(many.as_bytes()).unwrap().entries;
        assert_eq!(entries.len(), RESULTS_READ_MAX / 2);
    }
}
