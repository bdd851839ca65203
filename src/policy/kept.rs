//! What a client hears of a server that keeps the mail of a domain here, and is spoken to by LMTP.

use super::shown;
use crate::mail::address::ForwardPath;
use crate::smtp::answer::{Answer, Kind};
use crate::smtp::client::Fate;
use crate::smtp::reply::{Reply, quoted};

/// The reply to RCPT, where the server alone knows who exists and said no, or nothing.
pub fn at_recipient(path: &ForwardPath, fate: &Fate) -> Reply {
    let to = shown(path);
    match fate {
        Fate::Deferred(reason) | Fate::Failed(reason) => match reason.answer() {
            Some(answer) => said(&to, answer),
            None => {
                Reply::new(550, "5.6.7", format!("{to}: the server that keeps its mail {reason}"))
            }
        },
        Fate::NextHost(_) | Fate::Relayed(_) => {
            let text = format!("{to}: the server that keeps its mail does not answer, try later");
            Reply::new(451, "4.4.1", text)
        }
    }
}

/// The reply to a message that no server took: what one of them said for now, else the first that said never.
pub fn at_message(fates: &[(ForwardPath, Fate)]) -> Reply {
    let is_never = |fate: &Fate| matches!(fate, Fate::Failed(_));
    let later = fates.iter().filter(|(_, fate)| !is_never(fate));
    let said_later = later.clone().find(|(_, fate)| answer(fate).is_some());
    let told = said_later.or_else(|| later.clone().next()).or(fates.first());
    let Some((path, fate)) = told else {
        return Reply::new(451, "4.3.0", "local trouble, try later");
    };
    let to = shown(path);
    match (answer(fate), fate) {
        (Some(answer), _) => said(&to, answer),
        (None, Fate::Failed(reason)) => {
            let text =
                format!("{to}: the server that keeps its mail {}", ascii(&reason.to_string()));
            Reply::new(550, "5.6.0", text)
        }
        (None, _) => {
            let text = format!("{to}: the server that keeps its mail does not answer, try later");
            Reply::new(451, "4.4.1", text)
        }
    }
}

/// The server's own words about a recipient; none where it gave none that refuse.
fn answer(fate: &Fate) -> Option<&Answer> {
    let answer = fate.reason()?.answer()?;
    let class = if matches!(fate, Fate::Failed(_)) { Kind::Never } else { Kind::Later };
    (answer.kind() == class).then_some(answer)
}

fn said(to: &str, answer: &Answer) -> Reply {
    let code = answer.code();
    // 421 would be ours to close with, and a 5yz of commands is about us.
    let code =
        if code == 421 || code / 100 == 5 && code < 550 { code / 100 * 100 + 50 } else { code };
    let words = answer.lines().join(" ");
    let status = answer.enhanced().unwrap_or_default();
    let words = words.strip_prefix(status).unwrap_or(&words).trim();
    Reply::new(code, known(status, answer.kind()), format!("{to}: {}", ascii(words)))
}

/// The server's enhanced code where it is a usual one for mailboxes, else the general one of its class.
fn known(status: &str, kind: Kind) -> &'static str {
    const USUAL: [&str; 22] = [
        "4.1.1", "4.2.0", "4.2.1", "4.2.2", "4.3.0", "4.3.1", "4.3.2", "4.4.1", "4.5.1", "4.5.3",
        "4.7.1", "5.1.1", "5.1.2", "5.2.0", "5.2.1", "5.2.2", "5.2.3", "5.3.0", "5.3.4", "5.6.0",
        "5.7.1", "5.7.0",
    ];
    let general = if kind == Kind::Never { "5.2.0" } else { "4.2.0" };
    USUAL.into_iter().find(|usual| *usual == status).unwrap_or(general)
}

fn ascii(words: &str) -> String {
    quoted(words.as_bytes())
}
