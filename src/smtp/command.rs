//! One command line → [`Command`], or the reply that says what is wrong with it
//! (RFC 5321 §4.1.1, §4.1.2; parameters: [`super::parameter`]).
//!
//! Knows the language only: whether a command comes in its order is [`super::session`]'s business.

use super::parameter::{self, bad};
use super::reply::{Reply, quoted};
use crate::mail::address::{BadAddress, ClientName, Domain, ForwardPath, ReversePath};
use crate::mail::envelope::{Recipient, Sender};
use std::fmt;

/// What a client may say.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Ehlo(ClientName),
    Helo(ClientName),
    Mail(Sender),
    Rcpt(Recipient),
    /// The message follows after 354.
    Data,
    /// `size` octets of the message follow; `last`: the message ends with them (RFC 3030).
    Bdat {
        size: u64,
        last: bool,
    },
    /// Go on by TLS (RFC 3207).
    StartTls,
    /// Log in (RFC 4954 §4). The initial response is as it was written; none where there is none.
    Auth {
        mechanism: String,
        initial: Option<InitialResponse>,
    },
    Rset,
    /// An argument is ignored (RFC 5321 §4.1.1.9).
    Noop,
    Quit,
    Vrfy(NameArgument),
    Expn(NameArgument),
    /// Start sending the mail that waits for this node (RFC 1985).
    Etrn(EtrnNode),
    /// The command asked about, in upper case; empty for all.
    Help(String),
}

/// A secret, which no log may hold.
#[derive(PartialEq, Eq)]
pub struct InitialResponse(pub Vec<u8>);

impl fmt::Debug for InitialResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The name that VRFY or EXPN asks about.
#[derive(Debug, PartialEq, Eq)]
pub struct NameArgument {
    /// As it was written.
    pub text: String,
    /// The reply may hold UTF-8 (RFC 6531 §3.7.4.2).
    pub smtputf8: bool,
}

/// Whose queue ETRN starts (RFC 1985 §5.1).
#[derive(Debug, PartialEq, Eq)]
pub struct EtrnNode {
    pub domain: Domain,
    /// `@domain`: its subdomains as well.
    pub and_below: bool,
}

/// What HELP tells: every command and its form.
pub const VERBS: [(&str, &str); 15] = [
    ("EHLO", "EHLO your.host.name"),
    ("HELO", "HELO your.host.name"),
    ("MAIL", "MAIL FROM:<user@domain> [SIZE=] [BODY=] [SMTPUTF8] [RET=] [ENVID=]"),
    ("RCPT", "RCPT TO:<user@domain> [NOTIFY=] [ORCPT=]"),
    ("DATA", "DATA, then the message, then a line with a dot alone"),
    ("BDAT", "BDAT octets [LAST], then so many octets of the message"),
    ("STARTTLS", "STARTTLS, then TLS, then EHLO again"),
    ("AUTH", "AUTH mechanism [initial-response], then what it asks for; * gives it up"),
    ("RSET", "RSET"),
    ("NOOP", "NOOP"),
    ("QUIT", "QUIT"),
    ("VRFY", "VRFY user"),
    ("EXPN", "EXPN alias"),
    ("ETRN", "ETRN domain, or ETRN @domain for its subdomains too"),
    ("HELP", "HELP [command]"),
];

/// What the meaning of a line depends on.
#[derive(Debug, Default)]
pub struct Context<'a> {
    /// The transaction's MAIL said SMTPUTF8.
    pub smtputf8: bool,
    /// AUTH is offered, and MAIL may have its parameter.
    pub auth: bool,
    /// The session is under TLS, and MAIL may have REQUIRETLS.
    pub tls: bool,
    /// The domain of addresses without one; none where such addresses are refused.
    pub home: Option<&'a Domain>,
}

/// The commands whose blanks are taken as they come (RFC 5321 §6.4): several, tabs, and before the verb.
enum Liberal {
    Ehlo,
    Helo,
    Mail,
    Rcpt,
}

impl Command {
    /// Reads a line without its CR LF. An `Err` is the whole reply, and the session is as it was before
    /// (RFC 5321 §4.1.4).
    pub fn parse(line: &[u8], context: &Context<'_>) -> Result<Command, Reply> {
        // §4.1.1: white space before the CR LF should be tolerated.
        let end = line.iter().rposition(|&b| !is_blank(b)).map_or(0, |at| at + 1);
        let line = &line[..end];
        if let Some((verb, argument)) = liberal(line) {
            return match verb {
                Liberal::Ehlo => client_name("EHLO", argument).map(Command::Ehlo),
                Liberal::Helo => client_name("HELO", argument).map(Command::Helo),
                Liberal::Mail => mail(argument, context).map(Command::Mail),
                Liberal::Rcpt => rcpt(argument, context).map(Command::Rcpt),
            };
        }
        // No mailbox name may hold a control octet (§4.1.2), and a bare CR or LF must not pass for a line
        // end. HT is one as well: only a space separates.
        if line.iter().any(u8::is_ascii_control) {
            return Err(control());
        }
        let verb_end = line.iter().position(|&b| b == b' ').unwrap_or(line.len());
        let (verb, rest) = line.split_at(verb_end);
        // Without the one space that separates them; none when there is nothing but the verb.
        let argument = rest.get(1..);
        // Verbs are in any case of letters (§2.4).
        match verb.to_ascii_uppercase().as_slice() {
            b"BDAT" => bdat(argument),
            b"DATA" => alone("DATA", argument, Command::Data),
            b"STARTTLS" => alone("STARTTLS", argument, Command::StartTls),
            b"AUTH" => Ok(auth(argument)),
            b"RSET" => alone("RSET", argument, Command::Rset),
            b"QUIT" => alone("QUIT", argument, Command::Quit),
            b"NOOP" => Ok(Command::Noop),
            b"HELP" => Ok(Command::Help(quoted(argument.unwrap_or_default()).to_ascii_uppercase())),
            b"VRFY" => string("VRFY", argument).map(Command::Vrfy),
            b"EXPN" => string("EXPN", argument).map(Command::Expn),
            b"ETRN" => node(argument.unwrap_or_default()).map(Command::Etrn),
            // Words of SMTP and its extensions that are not offered here (§4.2.4).
            b"TURN" | b"SEND" | b"SOML" | b"SAML" | b"ATRN" | b"BURL" => {
                Err(Reply::new(502, "5.5.1", "command not implemented"))
            }
            _ => Err(Reply::new(500, "5.5.1", "command not recognized; try HELP")),
        }
    }
}

/// A [`Liberal`] command and what stands behind its verb; none for another command, or where the line holds
/// a control octet besides tabs.
fn liberal(line: &[u8]) -> Option<(Liberal, &[u8])> {
    let line = trim_blanks(line);
    let end = line.iter().position(|&b| is_blank(b)).unwrap_or(line.len());
    let verb = match line[..end].to_ascii_uppercase().as_slice() {
        b"EHLO" => Liberal::Ehlo,
        b"HELO" => Liberal::Helo,
        b"MAIL" => Liberal::Mail,
        b"RCPT" => Liberal::Rcpt,
        _ => return None,
    };
    let is_bad = |b: &u8| b.is_ascii_control() && *b != b'\t';
    (!line.iter().any(is_bad)).then(|| (verb, trim_blanks(&line[end..])))
}

fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t')
}

/// Without the blanks at its front.
fn trim_blanks(text: &[u8]) -> &[u8] {
    let begin = text.iter().position(|&b| !is_blank(b)).unwrap_or(text.len());
    &text[begin..]
}

fn control() -> Reply {
    Reply::new(501, "5.5.2", "control octet in the command; only CR LF ends it")
}

/// The reply to HELP. `tls`, `auth`: STARTTLS and AUTH are among the commands at this moment.
pub fn help(topic: &str, tls: bool, auth: bool) -> Reply {
    let is_offered = |verb: &str| match verb {
        "STARTTLS" => tls,
        "AUTH" => auth,
        _ => true,
    };
    let known = || VERBS.iter().filter(|(verb, _)| is_offered(verb));
    if let Some((_, form)) = known().find(|(verb, _)| *verb == topic) {
        return Reply::new(214, "2.0.0", *form);
    }
    let verbs: Vec<&str> = known().map(|(verb, _)| *verb).collect();
    let commands = format!("commands: {}", verbs.join(" "));
    Reply::new(214, "2.0.0", commands).line("HELP and a command tells its form")
}

/// DATA, RSET, QUIT (§4.1.1) and STARTTLS (RFC 3207 §4) are refused with an argument.
fn alone(verb: &str, argument: Option<&[u8]>, command: Command) -> Result<Command, Reply> {
    match argument {
        None => Ok(command),
        Some(_) => Err(bad(format!("{verb} takes no argument"))),
    }
}

/// The name in EHLO and HELO: any text is taken, because it is only printed.
fn client_name(verb: &str, argument: &[u8]) -> Result<ClientName, Reply> {
    let wanted = || bad(format!("{verb} needs your host name, or your address in brackets"));
    ClientName::parse(argument).map_err(|_| wanted())
}

/// A name to verify or expand, perhaps with the SMTPUTF8 parameter (RFC 6531 §3.7.4.2).
fn string(verb: &str, argument: Option<&[u8]>) -> Result<NameArgument, Reply> {
    let text = argument.unwrap_or_default();
    let marked = text.len().checked_sub(b" SMTPUTF8".len());
    let cut = marked.filter(|at| text[*at..].eq_ignore_ascii_case(b" SMTPUTF8"));
    match str::from_utf8(&text[..cut.unwrap_or(text.len())]) {
        Ok("") => Err(bad(format!("{verb} needs a name"))),
        Ok(name) => Ok(NameArgument { text: name.to_owned(), smtputf8: cut.is_some() }),
        Err(_) => Err(bad(format!("{verb}: the name is neither ASCII nor UTF-8"))),
    }
}

/// `domain` or `@domain`. There are no queues with names of their own, `#name` (RFC 1985 §5.1).
fn node(text: &[u8]) -> Result<EtrnNode, Reply> {
    if text.starts_with(b"#") {
        return Err(bad("there are no queues with names here; give a domain"));
    }
    let (and_below, name) = match text {
        [b'@', name @ ..] => (true, name),
        name => (false, name),
    };
    let domain = str::from_utf8(name).ok().and_then(|name| Domain::parse(name).ok());
    match domain {
        Some(domain) => Ok(EtrnNode { domain, and_below }),
        None => Err(bad("the form is ETRN domain, or ETRN @domain")),
    }
}

/// `mechanism [initial-response]`; without a mechanism it is empty.
fn auth(argument: Option<&[u8]>) -> Command {
    let text = argument.unwrap_or_default().trim_ascii();
    let end = text.iter().position(|&b| b == b' ').unwrap_or(text.len());
    let initial = text[end..].trim_ascii();
    let mechanism = String::from_utf8_lossy(&text[..end]).into_owned();
    let initial = (!initial.is_empty()).then(|| InitialResponse(initial.to_owned()));
    Command::Auth { mechanism, initial }
}

/// `FROM:<path> [parameters]`.
fn mail(argument: &[u8], context: &Context<'_>) -> Result<Sender, Reply> {
    let text = after_keyword(argument, "FROM:", "MAIL FROM:<user@domain>")?;
    let (from, rest) = ReversePath::parse_at(text, context.home)
        .map_err(|why| bad_path("5.1.7", "sender", why))?;
    // Checked at the end, because SMTPUTF8 stands behind the address that needs it.
    let is_ascii = text[..text.len() - rest.len()].is_ascii();
    let mut sender = Sender::new(from);
    for parameter in parameter::parse(rest)? {
        match parameter.name.as_str() {
            "SIZE" => sender.size = Some(parameter.size()?),
            "BODY" => sender.body = parameter.body()?,
            "SMTPUTF8" => sender.smtputf8 = parameter.smtputf8()?,
            "RET" => sender.ret = Some(parameter.ret()?),
            "ENVID" => sender.envid = parameter.envid(),
            // Checked and dropped: a next hop would not trust us with it (RFC 4954 §5).
            "AUTH" if context.auth => parameter.auth()?,
            // In the clear it would be a promise that is broken already (RFC 8689 §2).
            "REQUIRETLS" if context.tls => sender.tls = parameter.require_tls()?,
            _ => return Err(parameter.unknown()),
        }
    }
    match is_ascii || sender.smtputf8 {
        true => Ok(sender),
        false => Err(not_ascii(550, "sender")),
    }
}

/// `TO:<path> [parameters]`. Without SMTPUTF8 in MAIL no address may hold UTF-8.
fn rcpt(argument: &[u8], context: &Context<'_>) -> Result<Recipient, Reply> {
    let Context { smtputf8, home, .. } = *context;
    let text = after_keyword(argument, "TO:", "RCPT TO:<user@domain>")?;
    let (path, rest) =
        ForwardPath::parse_at(text, home).map_err(|why| bad_path("5.1.3", "recipient", why))?;
    if !text[..text.len() - rest.len()].is_ascii() && !smtputf8 {
        return Err(not_ascii(553, "recipient"));
    }
    let mut recipient = Recipient { path, notify: None, orcpt: None };
    for parameter in parameter::parse(rest)? {
        match parameter.name.as_str() {
            "NOTIFY" => recipient.notify = Some(parameter.notify()?),
            "ORCPT" => recipient.orcpt = parameter.orcpt(smtputf8),
            _ => return Err(parameter.unknown()),
        }
    }
    Ok(recipient)
}

/// RFC 6531 §3.5: an internationalized address needs the SMTPUTF8 parameter of MAIL.
fn not_ascii(code: u16, whose: &str) -> Reply {
    let text = format!("an internationalized {whose} address needs MAIL with SMTPUTF8");
    Reply::new(code, "5.6.7", text)
}

/// `enhanced`: 5.1.7 is a bad sender address, 5.1.3 a bad recipient (RFC 3463 §3.2).
fn bad_path(enhanced: &'static str, whose: &str, why: BadAddress) -> Reply {
    Reply::new(501, enhanced, format!("bad {whose} address: {why}"))
}

/// `size [LAST]` (RFC 3030 §2).
fn bdat(argument: Option<&[u8]>) -> Result<Command, Reply> {
    let wrong = || bad("the form is BDAT octets [LAST]");
    // Several spaces, and zeros in front, are allowed: the octets behind a refused BDAT would be read as
    // commands.
    let text = argument.unwrap_or_default();
    let mut words = text.split(|&b| b == b' ').filter(|word| !word.is_empty());
    let (size, last) = match (words.next(), words.next(), words.next()) {
        (Some(size), None, _) => (size, false),
        (Some(size), Some(word), None) if word.eq_ignore_ascii_case(b"LAST") => (size, true),
        _ => return Err(wrong()),
    };
    let zeros = size.iter().take_while(|&&b| b == b'0').count().min(size.len().saturating_sub(1));
    let size = parameter::decimal(&size[zeros..]).ok_or_else(wrong)?;
    Ok(Command::Bdat { size, last })
}

/// What stands behind `FROM:` or `TO:`. The path's parser skips blanks behind the colon, which §3.3 forbids.
fn after_keyword<'a>(argument: &'a [u8], keyword: &str, form: &str) -> Result<&'a [u8], Reply> {
    match argument.split_at_checked(keyword.len()) {
        Some((word, rest)) if word.eq_ignore_ascii_case(keyword.as_bytes()) => Ok(rest),
        _ => Err(bad(format!("the form is {form}"))),
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
            ("starttls", "StartTls"),
            ("HELP mail", "Help(\"MAIL\")"),
            ("VRFY ann", "Vrfy(NameArgument { text: \"ann\", smtputf8: false })"),
            (
                "RCPT TO:<postmaster>",
                "Rcpt(Recipient { path: Postmaster, notify: None, orcpt: None })",
            ),
            ("auth plain AGEAYg==", "Auth { mechanism: \"plain\", initial: Some((secret)) }"),
            ("AUTH", "Auth { mechanism: \"\", initial: None }"),
            ("AUTH LOGIN", "Auth { mechanism: \"LOGIN\", initial: None }"),
            ("bdat 12 last", "Bdat { size: 12, last: true }"),
            ("BDAT 0", "Bdat { size: 0, last: false }"),
            ("VRFY \u{e9} smtputf8", "Vrfy(NameArgument { text: \"\u{e9}\", smtputf8: true })"),
        ] {
            assert_eq!(
                format!(
                    "{:?}",
                    Command::parse(line.as_bytes(), &Context { auth: true, ..Context::default() })
                        .unwrap()
                ),
                debug,
                "{line}"
            );
        }
    }

    #[test]
    fn blanks_and_brackets() {
        let home = Domain::parse("mx.test").unwrap();
        let context = Context { home: Some(&home), ..Context::default() };
        for (line, from) in [
            ("MAIL FROM: <a@b.test>", "a@b.test"),
            (" mail\t from:\t< a@b.test\t>\tSIZE=1", "a@b.test"),
            ("MAIL FROM:a@b.test SIZE=1", "a@b.test"),
            ("MAIL FROM:<a@b.test SIZE=1", "a@b.test"),
            ("MAIL FROM:<<a@b.test>> SIZE=1", "a@b.test"),
            ("MAIL FROM:<printer>", "printer@mx.test"),
            ("MAIL FROM: printer", "printer@mx.test"),
            ("MAIL FROM:< > SIZE=1", "<>"),
        ] {
            let Ok(Command::Mail(sender)) = Command::parse(line.as_bytes(), &context) else {
                panic!("{line}")
            };
            assert_eq!(sender.from.to_string(), from, "{line}");
            assert_eq!(sender.size.is_some(), line.contains("SIZE"), "{line}");
        }
        // No sender is forgotten for a parameter that stands in its place.
        for line in ["MAIL FROM: SIZE=10", "MAIL FROM:\"a@b.test\"", "MAIL FROM:<printer"] {
            assert!(Command::parse(line.as_bytes(), &context).is_err(), "{line}");
        }
    }

    #[test]
    fn bad_lines() {
        for (line, reply) in [
            ("", "500 5.5.1"),
            (" NOOP", "500 5.5.1"),
            ("XYZZY", "500 5.5.1"),
            ("MAILFROM:<a@b>", "500 5.5.1"),
            ("STARTTLS now", "501 5.5.4"),
            ("NOOP \0", "501 5.5.2"),
            ("NOOP\nNOOP", "501 5.5.2"),
            ("NOOP\n", "501 5.5.2"),
            ("NOOP\ta", "501 5.5.2"),
            ("DATA now", "501 5.5.4"),
            ("QUIT 1", "501 5.5.4"),
            ("EHLO", "501 5.5.4"),
            ("EHLO ", "501 5.5.4"),
            ("VRFY", "501 5.5.4"),
            ("MAIL", "501 5.5.4"),
            ("MAIL <a@b>", "501 5.5.4"),
            ("MAIL FROM :<a@b>", "501 5.5.4"),
            ("MAIL FROM:<postmaster>", "501 5.1.7"),
            ("MAIL FROM:<a@b>SIZE=1", "501 5.5.4"),
            ("MAIL FROM:<a@b> SIZE", "501 5.5.4"),
            ("MAIL FROM:<a@b> SIZE=", "501 5.5.4"),
            ("MAIL FROM:<a@b> SIZE=-1", "501 5.5.4"),
            ("MAIL FROM:<a@b> SIZE=1 SIZE=1", "501 5.5.4"),
            ("MAIL FROM:<a@b> BODY=9BIT", "501 5.5.4"),
            ("MAIL FROM:<a@b> =1", "501 5.5.4"),
            ("MAIL FROM:<a@b> X-NO=1", "555 5.5.4"),
            ("MAIL FROM:<a@b> AUTH=<>", "555 5.5.4"),
            ("MAIL FROM:<a@b> REQUIRETLS", "555 5.5.4"),
            ("MAIL FROM:<a@b> REQUIRETLS=1", "555 5.5.4"),
            ("MAIL FROM:<a@b> REQUIRETLS=", "501 5.5.4"),
            ("MAIL FROM:<\u{e9}@b>", "550 5.6.7"),
            ("MAIL FROM:<a@b> SMTPUTF8=1", "501 5.5.4"),
            ("RCPT TO:<\u{e9}@b>", "553 5.6.7"),
            ("RCPT TO:<a@\u{e9}.b>", "553 5.6.7"),
            ("BDAT", "501 5.5.4"),
            ("BDAT x", "501 5.5.4"),
            ("BDAT -1", "501 5.5.4"),
            ("BDAT 1 FIRST", "501 5.5.4"),
            ("BDAT 1 LAST LAST", "501 5.5.4"),
            ("RCPT TO:<>", "501 5.1.3"),
            ("RCPT TO:<ann>", "501 5.1.3"),
            ("RCPT TO:<ann@b> SIZE=1", "555 5.5.4"),
        ] {
            let found =
                Command::parse(line.as_bytes(), &Context::default()).unwrap_err().to_string();
            assert!(found.starts_with(reply), "{line}: {found}");
        }
    }
}
