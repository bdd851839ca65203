//! A command line: what is read from it is read again from what it says.

use facteur::limits::{PATH_MAX, QUOTED_MAX};
use facteur::mail::address::{ForwardPath, ReversePath};
use facteur::mail::envelope::{BodyType, Notify, Recipient, Ret, Sender};
use facteur::smtp::command::{Command, Context};

pub fn run(data: &[u8]) {
    for (smtputf8, auth) in [(false, false), (true, true)] {
        let context = Context { smtputf8, auth, tls: auth, home: None };
        let command = match Command::parse(data, &context) {
            Ok(command) => command,
            Err(reply) => {
                assert!((500..600).contains(&super::check_reply(&reply)), "{reply}");
                continue;
            }
        };
        check(&command, smtputf8);
        let Some(line) = line(&command) else { continue };
        let again = Command::parse(line.as_bytes(), &context);
        assert_eq!(again.as_ref(), Ok(&command), "{line:?}");
    }
}

fn check(command: &Command, smtputf8: bool) {
    match command {
        Command::Mail(sender) => {
            if let ReversePath::Mailbox(mailbox) = &sender.from {
                assert!(sender.smtputf8 || mailbox.local.as_str().is_ascii(), "{sender:?}");
                assert!(mailbox.to_string().len() + 2 <= PATH_MAX, "{sender:?}");
            }
        }
        Command::Rcpt(recipient) => {
            let text = recipient.path.to_string();
            assert!(smtputf8 || text.is_ascii() && text.len() + 2 <= PATH_MAX, "{recipient:?}");
        }
        Command::Help(topic) => {
            let printable = topic.bytes().all(|octet| (32..=126).contains(&octet));
            assert!(printable && topic.len() <= QUOTED_MAX + 8, "{topic}");
        }
        _ => {}
    }
}

/// The line that says this; none where the command does not keep all of it.
fn line(command: &Command) -> Option<String> {
    Some(match command {
        // What was escaped is not what was said.
        Command::Ehlo(name) | Command::Helo(name) if name.as_str().contains('\\') => return None,
        Command::Ehlo(name) => format!("EHLO {}", name.as_str()),
        Command::Helo(name) => format!("HELO {}", name.as_str()),
        Command::Mail(sender) => mail(sender),
        Command::Rcpt(recipient) => rcpt(recipient),
        Command::Data => "DATA".to_owned(),
        Command::Bdat { size, last } => {
            format!("BDAT {size}{}", if *last { " LAST" } else { "" })
        }
        Command::StartTls => "STARTTLS".to_owned(),
        Command::Rset => "RSET".to_owned(),
        Command::Noop => "NOOP".to_owned(),
        Command::Quit => "QUIT".to_owned(),
        Command::Vrfy(name) | Command::Expn(name) => {
            let verb = if matches!(command, Command::Vrfy(_)) { "VRFY" } else { "EXPN" };
            format!("{verb} {}{}", name.text, if name.smtputf8 { " SMTPUTF8" } else { "" })
        }
        Command::Etrn(node) => {
            format!("ETRN {}{}", if node.and_below { "@" } else { "" }, node.domain)
        }
        Command::Auth { .. } | Command::Help(_) => return None,
    })
}

fn mail(sender: &Sender) -> String {
    let mut line = match &sender.from {
        ReversePath::Null => "MAIL FROM:<>".to_owned(),
        ReversePath::Mailbox(mailbox) => format!("MAIL FROM:<{mailbox}>"),
    };
    line.extend(sender.size.map(|size| format!(" SIZE={size}")));
    line.push_str(match sender.body {
        BodyType::SevenBit => "",
        BodyType::EightBitMime => " BODY=8BITMIME",
    });
    line.push_str(if sender.smtputf8 { " SMTPUTF8" } else { "" });
    line.push_str(match sender.ret {
        None => "",
        Some(Ret::Full) => " RET=FULL",
        Some(Ret::Headers) => " RET=HDRS",
    });
    line.extend(sender.envid.as_ref().map(|envid| format!(" ENVID={envid}")));
    line
}

fn rcpt(recipient: &Recipient) -> String {
    let mut line = match &recipient.path {
        ForwardPath::Postmaster => "RCPT TO:<Postmaster>".to_owned(),
        ForwardPath::Mailbox(mailbox) => format!("RCPT TO:<{mailbox}>"),
    };
    if let Some(Notify { success, failure, delay }) = recipient.notify {
        let words = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
        let words: Vec<&str> = words.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        let words = if words.is_empty() { "NEVER".to_owned() } else { words.join(",") };
        line.push_str(&format!(" NOTIFY={words}"));
    }
    line.extend(recipient.orcpt.as_ref().map(|orcpt| format!(" ORCPT={orcpt}")));
    line
}
