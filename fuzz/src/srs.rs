//! Senders that are rewritten find their way back, over one host and over two; what was changed on the
//! way, or made by others, leads nowhere.

use facteur::limits::{PATH_MAX, SRS_VALID_DAYS};
use facteur::mail::address::{Domain, Mailbox, ReversePath};
use facteur::mail::srs::{SrsKeys, is_tagged};

const TODAY: u64 = 20_000;

pub fn run(data: &[u8]) {
    let (first, second) = (SrsKeys::new(&[1; 32], &[]), SrsKeys::new(&[2; 32], &[[3; 32]]));
    let path = [b"<", data.trim_ascii_end(), b">"].concat();
    let Ok((ReversePath::Mailbox(sender), [])) = ReversePath::parse(&path) else { return };
    for keys in [&first, &second] {
        assert!(keys.restore(&sender, TODAY).is_err(), "{sender} was never made here");
    }
    let Some(once) = rewritten(&first, &sender, "mx.test") else { return };
    let back = first.restore(&once, TODAY).unwrap_or_else(|why| panic!("{once}: {why}"));
    // Of one that is SRS already the way back leads to who was first.
    assert!(back == sender || is_tagged(&sender.local), "{back} is not {sender}");
    if !is_tagged(&sender.local) {
        assert!(first.restore(&once, TODAY + SRS_VALID_DAYS).is_ok());
        assert!(first.restore(&once, TODAY + SRS_VALID_DAYS + 1).is_err());
        assert!(first.restore(&once, TODAY - 1).is_err());
    }
    assert!(second.restore(&once, TODAY).is_err());
    changed(&first, &once, &back);

    let Some(twice) = rewritten(&second, &once, "second.test") else { return };
    let half = second.restore(&twice, TODAY).unwrap_or_else(|why| panic!("{twice}: {why}"));
    // An SRS1 keeps only who was first, wherever the second host stands.
    if !is_tagged(&sender.local) {
        assert_eq!(half, once);
    }
    changed(&second, &twice, &half);
}

fn rewritten(keys: &SrsKeys, sender: &Mailbox, alias: &str) -> Option<Mailbox> {
    let domain = Domain::parse(alias).unwrap();
    let from = ReversePath::Mailbox(sender.clone());
    let made = keys.rewrite(&from, &domain, |other| *other == domain, TODAY).ok()?;
    let text = format!("<{made}>");
    assert!(text.len() <= PATH_MAX && is_tagged(&made.local), "{text}");
    let read = ReversePath::parse(text.as_bytes());
    assert_eq!(read, Ok((ReversePath::Mailbox(made.clone()), &b""[..])), "{text}");
    Some(made)
}

/// One octet changed leads nowhere, or, where only its case was, to the same.
fn changed(keys: &SrsKeys, made: &Mailbox, back: &Mailbox) {
    let text = made.to_string();
    let same = |found: &Mailbox| found.to_string().eq_ignore_ascii_case(&back.to_string());
    let at = text.find('@').unwrap_or_default();
    for (index, _) in text.char_indices().take_while(|(index, _)| *index < at) {
        let mut octets = text.clone().into_bytes();
        octets[index] ^= 0x04;
        let Ok(text) = String::from_utf8(octets) else { continue };
        let Ok((ReversePath::Mailbox(other), [])) =
            ReversePath::parse(format!("<{text}>").as_bytes())
        else {
            continue;
        };
        if let Ok(found) = keys.restore(&other, TODAY) {
            assert!(same(&found) || other == *made, "{other} leads to {found}");
        }
    }
    let folded = text[..at].to_ascii_lowercase() + &text[at..];
    if let Ok((ReversePath::Mailbox(other), [])) =
        ReversePath::parse(format!("<{folded}>").as_bytes())
    {
        let found = keys.restore(&other, TODAY);
        assert!(found.as_ref().is_ok_and(same), "{other} leads to {found:?}");
    }
}
