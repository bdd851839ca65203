//! A policy as a web server gives it (RFC 8461 §3.2), and the MX hosts that it fits (§4.1).

use super::{BadSts, is_name};
use crate::limits::DNS_NAME_MAX;
use crate::limits::policies::{STS_AGE_MAX, STS_POLICY_MAX};
use crate::mail::address::is_label;
use crate::mail::tags::shown;
use std::fmt;
use std::time::Duration;

/// What a domain demands of those that send to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StsPolicy {
    pub mode: StsMode,
    /// In the order of the text; never empty but where the mode is none.
    pub mx: Vec<MxPattern>,
    /// How long the policy holds from when it was fetched, up to [`STS_AGE_MAX`].
    pub max_age: Duration,
    /// The lines of the text, without their ends and the white space before those.
    lines: Vec<String>,
}

/// What follows where a host does not fit a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StsMode {
    /// It gets no mail.
    Enforce,
    /// It gets mail, and the domain a report.
    Testing,
    /// Nothing: the domain has taken its policy back.
    None,
}

/// An MX host, or all hosts directly below a name. In lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MxPattern {
    /// Without `*.`.
    name: String,
    is_wildcard: bool,
}

impl StsPolicy {
    /// Reads a whole policy; its lines end in CR LF or LF, the last one perhaps in nothing. Of a field that
    /// stands twice the first one counts, but of `mx` each.
    ///
    /// Fails with the first thing that the grammar does not allow, or with what is missing.
    pub fn parse(octets: &[u8]) -> Result<StsPolicy, BadSts> {
        if octets.len() > STS_POLICY_MAX {
            return Err(BadSts::Long);
        }
        let text = str::from_utf8(octets).map_err(|_| BadSts::NoText)?;
        let (mut version, mut mode, mut max_age) = (false, None, None);
        let (mut mx, mut lines) = (Vec::new(), Vec::new());
        for line in text.split_inclusive('\n') {
            let line = line.strip_suffix("\r\n").or(line.strip_suffix('\n')).unwrap_or(line);
            let (name, value) = field(line).ok_or_else(|| BadSts::field(line.as_bytes()))?;
            match name {
                "version" if !version => {
                    version = value == "STSv1";
                    if !version {
                        return Err(BadSts::Version);
                    }
                }
                "mode" if mode.is_none() => {
                    let known = StsMode::parse(value);
                    mode = Some(known.ok_or_else(|| BadSts::Mode(shown(value.as_bytes())))?);
                }
                "max_age" if max_age.is_none() => {
                    let known = age(value);
                    max_age = Some(known.ok_or_else(|| BadSts::MaxAge(shown(value.as_bytes())))?);
                }
                "mx" => {
                    let pattern = MxPattern::parse(value);
                    mx.push(pattern.ok_or_else(|| BadSts::Mx(shown(value.as_bytes())))?);
                }
                _ => {}
            }
            lines.push(line.trim_end_matches([' ', '\t']).to_owned());
        }
        if !version {
            return Err(BadSts::Missing("version"));
        }
        let mode = mode.ok_or(BadSts::Missing("mode"))?;
        let max_age = max_age.ok_or(BadSts::Missing("max_age"))?;
        match mode != StsMode::None && mx.is_empty() {
            true => Err(BadSts::Missing("mx")),
            false => Ok(StsPolicy { mode, mx, max_age, lines }),
        }
    }

    /// Whether an MX host is one of those that the policy names. A trailing dot and case do not count.
    pub fn fits(&self, host: &str) -> bool {
        self.mx.iter().any(|pattern| pattern.fits(host))
    }

    /// The lines of the text, for reports (RFC 8460 §4.4, "policy-string"). Joined by LF they are the policy again.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

impl StsMode {
    fn parse(text: &str) -> Option<StsMode> {
        Some(match text {
            "enforce" => StsMode::Enforce,
            "testing" => StsMode::Testing,
            "none" => StsMode::None,
            _ => return None,
        })
    }
}

/// As the policy says it.
impl fmt::Display for StsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StsMode::Enforce => "enforce",
            StsMode::Testing => "testing",
            StsMode::None => "none",
        })
    }
}

impl MxPattern {
    /// A name of letters, digits and hyphens, perhaps behind `*.`; none where the text is neither.
    pub fn parse(text: &str) -> Option<MxPattern> {
        let (name, is_wildcard) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let is_label = |label: &str| is_label(label.as_bytes(), false);
        let is_good = name.len() <= DNS_NAME_MAX && name.split('.').all(is_label);
        is_good.then(|| MxPattern { name: name.to_ascii_lowercase(), is_wildcard })
    }

    /// Whether this host is meant. A wildcard stands for exactly one label.
    pub fn fits(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        match self.is_wildcard {
            false => host.eq_ignore_ascii_case(&self.name),
            true => host.split_once('.').is_some_and(|(label, above)| {
                !label.is_empty() && above.eq_ignore_ascii_case(&self.name)
            }),
        }
    }
}

/// As the policy says it.
impl fmt::Display for MxPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.is_wildcard { "*." } else { "" }, self.name)
    }
}

/// The name and the value of a line, without white space around the value.
fn field(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let value = value.trim_matches([' ', '\t']);
    let is_value = !value.is_empty() && !value.bytes().any(|octet| octet.is_ascii_control());
    (is_name(name.as_bytes()) && is_value).then_some((name, value))
}

/// 1 to 10 digits, up to a year.
fn age(text: &str) -> Option<Duration> {
    let is_number =
        (1..=10).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    let age = Duration::from_secs(text.parse().ok().filter(|_| is_number)?);
    (age <= STS_AGE_MAX).then_some(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<StsPolicy, BadSts> {
        StsPolicy::parse(text.as_bytes())
    }

    #[test]
    fn policies() {
        let policy = read(
            "max_age:\t0604800 \r\nmx: MX.a.test\nversion: STSv1\nx.y: \u{e4} b\nmx:*.b.test\t\n\
             mode: testing\nmode: bogus\nmax_age: x\nversion: STSv2\r\n",
        );
        let policy = policy.unwrap();
        assert_eq!((policy.mode, policy.max_age.as_secs()), (StsMode::Testing, 604_800));
        let mx: Vec<String> = policy.mx.iter().map(ToString::to_string).collect();
        assert_eq!(mx, ["mx.a.test", "*.b.test"]);
        assert_eq!(
            policy.lines()[..4],
            ["max_age:\t0604800", "mx: MX.a.test", "version: STSv1", "x.y: \u{e4} b"]
        );
        assert_eq!(policy.lines().len(), 9);
        assert_eq!(read(&policy.lines().join("\n")).unwrap(), policy);
        assert!(policy.fits("x.b.test.") && !policy.fits("b.test"));
        let none = read("version: STSv1\nmode: none\nmax_age: 31557600").unwrap();
        assert_eq!((none.max_age, none.fits("mx.a.test")), (STS_AGE_MAX, false));
    }

    #[test]
    fn what_is_no_policy() {
        let good = "version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 1";
        assert!(read(good).is_ok());
        for (old, new) in [
            ("version: STSv1", "version: stsv1"),
            ("version", "Version"),
            ("version", " version"),
            ("version:", "version :"),
            ("enforce", "Enforce"),
            ("max_age: 1", "max_age: -1"),
            ("max_age: 1", "max_age: 1 2"),
            ("max_age: 1", "max_age: 00000000001"),
            ("max_age: 1", "max_age: 31557601"),
            ("max_age: 1", "max_age: 1\n\n"),
            ("max_age: 1", "max_age: 1\r"),
            ("max_age: 1", "max_age: 1\n\nx: y"),
            ("max_age: 1", "max_age: 1\nx:"),
            ("max_age: 1", "max_age: 1\nx: \x01"),
            ("max_age: 1", "max_age: 1\nx: a\tb"),
            ("a.test", "a..test"),
            ("a.test", ".a.test"),
            ("a.test", "a.test."),
            ("a.test", "-a.test"),
            ("a.test", "a_b.test"),
            ("a.test", "*"),
            ("a.test", "*.*.test"),
            ("a.test", "a.*.test"),
            ("a.test", "*a.test"),
            ("a.test", "a.test, b.test"),
            ("a.test", "[192.0.2.1]"),
            ("mx: a.test\n", ""),
        ] {
            let text = good.replace(old, new);
            assert!(read(&text).is_err(), "{text:?}");
        }
        assert_eq!(StsPolicy::parse(b"version: STSv1\xff"), Err(BadSts::NoText));
        let long = format!("{good}\nx: {}", "y".repeat(STS_POLICY_MAX));
        assert_eq!(read(&long), Err(BadSts::Long));
    }

    #[test]
    fn a_wildcard_is_one_label() {
        let any = MxPattern::parse("*.A.test").unwrap();
        for (host, fits) in [
            ("x.a.test", true),
            ("X.A.TEST.", true),
            ("a.test", false),
            (".a.test", false),
            ("x.y.a.test", false),
            ("xa.test", false),
            ("x.a.test..", false),
            ("", false),
        ] {
            assert_eq!(any.fits(host), fits, "{host:?}");
        }
    }
}
