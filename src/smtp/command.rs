//! One command line → [`Command`], or the reply that says what is wrong with it
//! (RFC 5321 §4.1.1, §4.1.2; parameters: RFC 1870, 6152).
//!
//! Knows the language only: whether a command comes in its order is [`super::session`]'s business.

use super::reply::{Reply, quoted};
use crate::mail::address::{BadAddress, ClientName, ForwardPath, ReversePath};

/// What a client may say.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Ehlo(ClientName),
    Helo(ClientName),
    Mail(Mail),
    Rcpt(ForwardPath),
    Data,
    Rset,
    Noop,
    Quit,
    /// The name asked about, as it was written.
    Vrfy(String),
    Expn(String),
    Help,
}

/// MAIL with its parameters.
#[derive(Debug, PartialEq, Eq)]
pub struct Mail {
    pub from: ReversePath,
    /// SIZE= in octets (RFC 1870).
    pub size: Option<u64>,
    /// BODY= (RFC 6152).
    pub body: Body,
}

/// How the client says its message is written (RFC 6152 §2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    #[default]
    SevenBit,
    EightBitMime,
}

/// What HELP tells, and all that [`parse`] understands.
pub const VERBS: &str = "EHLO HELO MAIL RCPT DATA RSET NOOP QUIT VRFY EXPN HELP";

impl Command {
    /// Reads a line without its CR LF.
    pub fn parse(line: &[u8]) -> Result<Command, Reply> {
        // §4.1.1: white space before the CR LF should be tolerated.
        let end = line.iter().rposition(|b| !matches!(b, b' ' | b'\t')).map_or(0, |at| at + 1);
        let line = &line[..end];
        if line.iter().any(u8::is_ascii_control) {
            return Err(Reply::new(
                501,
                "5.5.2",
                "control octet in the command; only CR LF ends it",
            ));
        }
        let verb_end = line.iter().position(|&b| b == b' ').unwrap_or(line.len());
        let (verb, rest) = line.split_at(verb_end);
        // Without the one space that separates them; None when there is nothing but the verb.
        let argument = rest.get(1..);
        match verb.to_ascii_uppercase().as_slice() {
            b"EHLO" => client_name("EHLO", argument).map(Command::Ehlo),
            b"HELO" => client_name("HELO", argument).map(Command::Helo),
            b"MAIL" => mail(argument).map(Command::Mail),
            b"RCPT" => rcpt(argument).map(Command::Rcpt),
            b"DATA" => alone("DATA", argument, Command::Data),
            b"RSET" => alone("RSET", argument, Command::Rset),
            b"QUIT" => alone("QUIT", argument, Command::Quit),
            b"NOOP" => Ok(Command::Noop),
            b"HELP" => Ok(Command::Help),
            b"VRFY" => string("VRFY", argument).map(Command::Vrfy),
            b"EXPN" => string("EXPN", argument).map(Command::Expn),
            // Words of SMTP and its extensions that are not offered here (§4.2.4.1).
            b"TURN" | b"SEND" | b"SOML" | b"SAML" | b"STARTTLS" | b"AUTH" | b"BDAT" | b"ETRN"
            | b"ATRN" | b"BURL" => Err(Reply::new(502, "5.5.1", "command not implemented")),
            _ => Err(Reply::new(500, "5.5.1", "command not recognized; try HELP")),
        }
    }
}

fn bad_argument(text: impl Into<String>) -> Reply {
    Reply::new(501, "5.5.4", text)
}

/// RSET, DATA and QUIT take nothing, and what comes with something is refused (§4.1.1).
fn alone(verb: &str, argument: Option<&[u8]>, command: Command) -> Result<Command, Reply> {
    match argument {
        None => Ok(command),
        Some(_) => Err(bad_argument(format!("{verb} takes no argument"))),
    }
}

fn client_name(verb: &str, argument: Option<&[u8]>) -> Result<ClientName, Reply> {
    let argument = argument.unwrap_or_default();
    ClientName::parse(argument).map_err(|_| match argument {
        [] => bad_argument(format!("{verb} needs your host name, or your address in brackets")),
        name => bad_argument(format!("{}: no host name or address literal", quoted(name))),
    })
}

fn string(verb: &str, argument: Option<&[u8]>) -> Result<String, Reply> {
    match argument.unwrap_or_default() {
        [] => Err(bad_argument(format!("{verb} needs a name"))),
        text => Ok(quoted(text)),
    }
}

/// `FROM:<path> [parameters]`.
fn mail(argument: Option<&[u8]>) -> Result<Mail, Reply> {
    let text = after_keyword(argument, "FROM:", "MAIL FROM:<user@domain>")?;
    let (from, rest) = ReversePath::parse(text).map_err(|why| bad_path("5.1.7", "sender", why))?;
    let (mut size, mut body) = (None, None);
    for (name, value) in parameters(rest)? {
        match name.as_str() {
            "SIZE" if size.is_none() => size = Some(size_value(value)?),
            "BODY" if body.is_none() => body = Some(body_value(value)?),
            "SIZE" | "BODY" => return Err(bad_argument(format!("{name} is given twice"))),
            _ => return Err(unknown_parameter(&name)),
        }
    }
    Ok(Mail { from, size, body: body.unwrap_or_default() })
}

/// `TO:<path>`; no parameter is known yet.
fn rcpt(argument: Option<&[u8]>) -> Result<ForwardPath, Reply> {
    let text = after_keyword(argument, "TO:", "RCPT TO:<user@domain>")?;
    let (to, rest) = ForwardPath::parse(text).map_err(|why| bad_path("5.1.3", "recipient", why))?;
    match parameters(rest)?.first() {
        None => Ok(to),
        Some((name, _)) => Err(unknown_parameter(name)),
    }
}

fn unknown_parameter(name: &str) -> Reply {
    Reply::new(555, "5.5.4", format!("parameter {name} is not known here"))
}

fn bad_path(enhanced: &'static str, whose: &str, why: BadAddress) -> Reply {
    Reply::new(501, enhanced, format!("bad {whose} address: {why}"))
}

/// No space is allowed on either side of the colon (§3.3), and the reply says so.
fn after_keyword<'a>(
    argument: Option<&'a [u8]>,
    keyword: &str,
    form: &str,
) -> Result<&'a [u8], Reply> {
    let text = argument.unwrap_or_default();
    match text.split_at_checked(keyword.len()) {
        Some((word, rest)) if word.eq_ignore_ascii_case(keyword.as_bytes()) => match rest.first() {
            Some(b' ') => Err(bad_argument(format!("no space after the colon: {form}"))),
            _ => Ok(rest),
        },
        _ => Err(bad_argument(format!("the form is {form}"))),
    }
}

/// A keyword in upper case, and its value if it has one.
type Parameter<'a> = (String, Option<&'a [u8]>);

/// `*(SP keyword ["=" value])` (§4.1.2, "Mail-parameters").
fn parameters(rest: &[u8]) -> Result<Vec<Parameter<'_>>, Reply> {
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    let Some(rest) = rest.strip_prefix(b" ") else {
        return Err(bad_argument("a space stands between the address and its parameters"));
    };
    // More than one space is tolerated, as Postfix and others do.
    let words = rest.split(|&b| b == b' ').filter(|word| !word.is_empty());
    words.map(parameter).collect()
}

fn parameter(word: &[u8]) -> Result<Parameter<'_>, Reply> {
    let (name, value) = match word.iter().position(|&b| b == b'=') {
        Some(at) => (&word[..at], Some(&word[at + 1..])),
        None => (word, None),
    };
    let good_name = name.first().is_some_and(u8::is_ascii_alphanumeric)
        && name.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'-');
    let good_value =
        value.is_none_or(|v| !v.is_empty() && v.iter().all(|b| (33..=126).contains(b)));
    match good_name && good_value {
        true => Ok((String::from_utf8_lossy(name).to_ascii_uppercase(), value)),
        false => Err(bad_argument(format!("{}: no parameter has this form", quoted(word)))),
    }
}

/// 1 to 20 digits (RFC 1870 §4); what no number of ours can hold is larger than any limit.
fn size_value(value: Option<&[u8]>) -> Result<u64, Reply> {
    let digits = value.unwrap_or_default();
    if digits.is_empty() || digits.len() > 20 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(bad_argument("SIZE= takes a number of octets"));
    }
    Ok(String::from_utf8_lossy(digits).parse().unwrap_or(u64::MAX))
}

fn body_value(value: Option<&[u8]>) -> Result<Body, Reply> {
    match value.unwrap_or_default().to_ascii_uppercase().as_slice() {
        b"7BIT" => Ok(Body::SevenBit),
        b"8BITMIME" => Ok(Body::EightBitMime),
        _ => Err(bad_argument("BODY= takes 7BIT or 8BITMIME")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_lines() {
        for (line, debug) in [
            ("noop", "Noop"),
            ("NOOP anything at all", "Noop"),
            ("rSeT  ", "Rset"),
            ("QUIT\t", "Quit"),
            ("HELP mail", "Help"),
            ("VRFY ann", "Vrfy(\"ann\")"),
            ("MAIL FROM:<>", "Mail(Mail { from: Null, size: None, body: SevenBit })"),
            (
                "mail from:<> BODY=8bitmime SIZE=99999999999999999999",
                "Mail(Mail { from: Null, size: Some(18446744073709551615), body: EightBitMime })",
            ),
            ("RCPT TO:<postmaster>", "Rcpt(Postmaster)"),
        ] {
            assert_eq!(format!("{:?}", Command::parse(line.as_bytes()).unwrap()), debug, "{line}");
        }
    }

    #[test]
    fn bad_lines() {
        for (line, reply) in [
            ("", "500 5.5.1"),
            (" NOOP", "500 5.5.1"),
            ("XYZZY", "500 5.5.1"),
            ("MAILFROM:<a@b>", "500 5.5.1"),
            ("STARTTLS", "502 5.5.1"),
            ("NOOP \0", "501 5.5.2"),
            ("NOOP\nNOOP", "501 5.5.2"),
            ("NOOP\n", "501 5.5.2"),
            ("NOOP\ta", "501 5.5.2"),
            ("DATA now", "501 5.5.4"),
            ("QUIT 1", "501 5.5.4"),
            ("EHLO", "501 5.5.4"),
            ("EHLO ", "501 5.5.4"),
            ("HELO a b", "501 5.5.4"),
            ("VRFY", "501 5.5.4"),
            ("MAIL", "501 5.5.4"),
            ("MAIL <a@b>", "501 5.5.4"),
            ("MAIL FROM: <a@b>", "501 5.5.4"),
            ("MAIL FROM :<a@b>", "501 5.5.4"),
            ("MAIL FROM:a@b", "501 5.1.7"),
            ("MAIL FROM:<a@b", "501 5.1.7"),
            ("MAIL FROM:<postmaster>", "501 5.1.7"),
            ("MAIL FROM:<a@b>SIZE=1", "501 5.5.4"),
            ("MAIL FROM:<a@b> SIZE", "501 5.5.4"),
            ("MAIL FROM:<a@b> SIZE=", "501 5.5.4"),
            ("MAIL FROM:<a@b> SIZE=-1", "501 5.5.4"),
            ("MAIL FROM:<a@b> SIZE=1 SIZE=1", "501 5.5.4"),
            ("MAIL FROM:<a@b> BODY=9BIT", "501 5.5.4"),
            ("MAIL FROM:<a@b> =1", "501 5.5.4"),
            ("MAIL FROM:<a@b> X-NO=1", "555 5.5.4"),
            ("RCPT TO:<>", "501 5.1.3"),
            ("RCPT TO:<ann>", "501 5.1.3"),
            ("RCPT TO:<ann@b> SIZE=1", "555 5.5.4"),
        ] {
            let found = Command::parse(line.as_bytes()).unwrap_err().to_string();
            assert!(found.starts_with(reply), "{line}: {found}");
        }
    }
}
