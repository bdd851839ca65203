//! What a next hop offers in its reply to EHLO, and what MAIL and RCPT say to a host that offers it
//! (RFC 1870 SIZE, 2920 PIPELINING, 3461 DSN, 6152 8BITMIME, 6531 SMTPUTF8, 8689 REQUIRETLS, 9422 LIMITS).

use super::OutgoingMessage;
use super::fate::Lack;
use crate::mail::address::{ForwardPath, ReversePath};
use crate::mail::envelope::{BodyType, Notify, Recipient, Ret, TlsWish};
use crate::smtp::answer::Answer;
use crate::smtp::parameter::decimal;

/// The extensions of one host; none after HELO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    pub pipelining: bool,
    pub eight_bit_mime: bool,
    pub smtputf8: bool,
    pub dsn: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// REQUIRETLS (RFC 8689), said by TLS.
    pub require_tls: bool,
    /// The names of mechanisms (RFC 4954 §3); empty where there is no AUTH.
    pub auth: String,
    /// The largest message in octets, 0 for any size; none without SIZE (RFC 1870 §4).
    pub size: Option<u64>,
    /// Most recipients of a transaction (RFC 9422 §4.2).
    pub recipients: Option<usize>,
    /// Most transactions on a connection (RFC 9422 §4.1).
    pub transactions: Option<usize>,
}

impl Offers {
    /// Reads a 250 to EHLO, whose first line names the host; unknown keywords are passed over.
    pub fn of(answer: &Answer) -> Offers {
        let mut offers = Offers::default();
        for line in answer.lines().iter().skip(1) {
            let mut words = line.split_ascii_whitespace();
            match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "PIPELINING" => offers.pipelining = true,
                "8BITMIME" => offers.eight_bit_mime = true,
                "SMTPUTF8" => offers.smtputf8 = true,
                "DSN" => offers.dsn = true,
                "STARTTLS" => offers.starttls = true,
                "REQUIRETLS" => offers.require_tls = true,
                "AUTH" => offers.auth = words.collect::<Vec<_>>().join(" "),
                // A limit that cannot be read is none: the host will refuse a message that is too large.
                "SIZE" => {
                    let limit = words.next().and_then(|word| decimal(word.as_bytes()));
                    offers.size = Some(limit.unwrap_or(0));
                }
                "LIMITS" => words.for_each(|word| offers.limit(word)),
                _ => {}
            }
        }
        offers
    }

    fn limit(&mut self, word: &str) {
        let (name, number) = word.split_once('=').unwrap_or((word, ""));
        let number = number.parse().ok().filter(|number| *number > 0);
        match name.to_ascii_uppercase().as_str() {
            "RCPTMAX" => self.recipients = number,
            "MAILMAX" => self.transactions = number,
            _ => {}
        }
    }

    /// What the host lacks for the message, for all recipients.
    pub fn lack(&self, outgoing: &OutgoingMessage) -> Option<Lack> {
        if outgoing.envelope.sender.tls == TlsWish::Required && !self.require_tls {
            return Some(Lack::RequireTls);
        }
        let size = outgoing.content.size;
        let limit = self.size.filter(|limit| *limit > 0 && *limit < size);
        if let Some(limit) = limit {
            return Some(Lack::Room { limit, size });
        }
        // An 8-bit header without SMTPUTF8 goes as it came, as 8-bit text: many programs send such headers.
        let header = outgoing.envelope.sender.smtputf8 && outgoing.content.has_eight_bit_header;
        if !self.smtputf8 && (header || !is_ascii(&outgoing.envelope.sender.from)) {
            return Some(Lack::Smtputf8);
        }
        (outgoing.content.is_eight_bit && !self.eight_bit_mime).then_some(Lack::EightBitMime)
    }

    /// Whether the message has to be converted to 7 bits first (RFC 6152 §3). Internationalized mail cannot be
    /// (RFC 6531 §3.6).
    pub fn wants_seven_bits(&self, outgoing: &OutgoingMessage) -> bool {
        let header = outgoing.envelope.sender.smtputf8 && outgoing.content.has_eight_bit_header;
        outgoing.content.is_eight_bit && !self.eight_bit_mime && !header
    }

    /// What the host lacks for one recipient.
    pub fn lack_for(&self, recipient: &Recipient) -> Option<Lack> {
        let utf8 = matches!(&recipient.path, ForwardPath::Mailbox(mailbox)
            if !mailbox.local.as_str().is_ascii());
        (utf8 && !self.smtputf8).then_some(Lack::Smtputf8)
    }

    /// The MAIL command, without its line end.
    pub fn mail(&self, outgoing: &OutgoingMessage) -> String {
        let sender = &outgoing.envelope.sender;
        let mut line = match &sender.from {
            ReversePath::Null => "MAIL FROM:<>".to_owned(),
            ReversePath::Mailbox(mailbox) => format!("MAIL FROM:<{mailbox}>"),
        };
        if self.size.is_some() {
            line.push_str(&format!(" SIZE={}", outgoing.content.size));
        }
        let eight_bit = outgoing.content.is_eight_bit || sender.body == BodyType::EightBitMime;
        if self.eight_bit_mime && eight_bit {
            line.push_str(" BODY=8BITMIME");
        }
        let mut recipients = outgoing.envelope.recipients.iter();
        let without = Offers::default();
        let utf8 = sender.smtputf8
            || !is_ascii(&sender.from)
            || recipients.any(|recipient| without.lack_for(recipient).is_some());
        if self.smtputf8 && utf8 {
            line.push_str(" SMTPUTF8");
        }
        let requires_tls = sender.tls == TlsWish::Required;
        if let (true, Some(ret)) = (self.dsn, sender.ret) {
            line.push_str(match ret {
                // What requires TLS is never returned whole (RFC 8689 §5).
                Ret::Full if !requires_tls => " RET=FULL",
                Ret::Full | Ret::Headers => " RET=HDRS",
            });
        }
        if let (true, Some(envid)) = (self.dsn, &sender.envid) {
            line.push_str(&format!(" ENVID={envid}"));
        }
        if requires_tls {
            line.push_str(" REQUIRETLS");
        }
        line
    }

    /// A RCPT command, without its line end.
    pub fn rcpt(&self, recipient: &Recipient) -> String {
        let mut line = format!("RCPT TO:<{}>", recipient.path);
        if let (true, Some(notify)) = (self.dsn, recipient.notify) {
            line.push_str(&format!(" NOTIFY={}", notify_words(notify)));
        }
        if let (true, Some(orcpt)) = (self.dsn, &recipient.orcpt) {
            let orcpt = if self.smtputf8 { orcpt.clone() } else { ascii_orcpt(orcpt) };
            line.push_str(&format!(" ORCPT={orcpt}"));
        }
        line
    }
}

fn is_ascii(path: &ReversePath) -> bool {
    match path {
        ReversePath::Null => true,
        ReversePath::Mailbox(mailbox) => mailbox.local.as_str().is_ascii(),
    }
}

/// RFC 3461 §4.1.
fn notify_words(notify: Notify) -> String {
    let words = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    let said: Vec<&str> = words.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
    if said.is_empty() { "NEVER".to_owned() } else { said.join(",") }
}

/// The form of an internationalized ORCPT for a host without SMTPUTF8 (RFC 6533 §3,
/// utf-8-addr-xtext).
fn ascii_orcpt(orcpt: &str) -> String {
    let mut ascii = String::with_capacity(orcpt.len());
    for c in orcpt.chars() {
        match c.is_ascii() {
            true => ascii.push(c),
            false => ascii.push_str(&format!("\\x{{{:X}}}", u32::from(c))),
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::survey::WireForm;
    use crate::smtp::client::tests::outgoing;

    fn offers(lines: &str) -> Offers {
        let text = format!("250-mx.test\r\n{lines}250 HELP\r\n");
        Offers::of(&Answer::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn what_a_host_offers() {
        let all = "250-pipelining\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN x\r\n250-STARTTLS\r\n250-requireTLS\r\n250-auth  PLAIN login\r\n\
                   250-SIZE 1000\r\n250-XLIMITS RCPTMAX=1\r\n250-LIMITS MAILMAX=3 rcptmax=20 X=y\r\n";
        let all = offers(all);
        let expected = Offers {
            pipelining: true,
            eight_bit_mime: true,
            smtputf8: true,
            dsn: true,
            starttls: true,
            require_tls: true,
            auth: "PLAIN login".to_owned(),
            size: Some(1000),
            recipients: Some(20),
            transactions: Some(3),
        };
        assert_eq!(all, expected);
        assert_eq!(offers(""), Offers::default());
        for (size, meant) in [("SIZE", 0), ("SIZE 0", 0), ("SIZE x", 0), ("SIZE 5 x", 5)] {
            assert_eq!(offers(&format!("250-{size}\r\n")).size, Some(meant), "{size}");
        }
        assert_eq!(offers("250-LIMITS RCPTMAX=0 MAILMAX\r\n"), Offers::default());
        // The first line is a name, even if it looks like a keyword.
        assert_eq!(Offers::of(&Answer::parse(b"250 PIPELINING\r\n").unwrap()), Offers::default());
    }

    #[test]
    fn parameters_only_where_they_are_offered() {
        let mut outgoing = outgoing("a@b.test", &["c@d.test"]);
        let sender = &mut outgoing.envelope.sender;
        (sender.ret, sender.envid) = (Some(Ret::Headers), Some("Q+20".to_owned()));
        sender.smtputf8 = true;
        outgoing.content = WireForm { size: 9, is_eight_bit: true, has_eight_bit_header: false };
        let recipient = &mut outgoing.envelope.recipients[0];
        recipient.notify = Some(Notify { success: true, failure: false, delay: true });
        recipient.orcpt = Some("utf-8;\u{e9}@d.test".to_owned());
        for (lines, mail, rcpt) in [
            ("", "", ""),
            ("250-SIZE\r\n", " SIZE=9", ""),
            ("250-SIZE 9\r\n250-8BITMIME\r\n", " SIZE=9 BODY=8BITMIME", ""),
            ("250-SMTPUTF8\r\n", " SMTPUTF8", ""),
            (
                "250-DSN\r\n",
                " RET=HDRS ENVID=Q+20",
                " NOTIFY=SUCCESS,DELAY ORCPT=utf-8;\\x{E9}@d.test",
            ),
            (
                "250-DSN\r\n250-SMTPUTF8\r\n",
                " SMTPUTF8 RET=HDRS ENVID=Q+20",
                " NOTIFY=SUCCESS,DELAY ORCPT=utf-8;\u{e9}@d.test",
            ),
        ] {
            let offers = offers(lines);
            assert_eq!(offers.mail(&outgoing), format!("MAIL FROM:<a@b.test>{mail}"));
            let recipient = &outgoing.envelope.recipients[0];
            assert_eq!(offers.rcpt(recipient), format!("RCPT TO:<c@d.test>{rcpt}"));
        }
        outgoing.envelope.recipients[0].notify = Some(Notify::default());
        outgoing.envelope.recipients[0].orcpt = None;
        outgoing.envelope.sender.from = ReversePath::Null;
        let dsn = offers("250-DSN\r\n");
        assert_eq!(dsn.rcpt(&outgoing.envelope.recipients[0]), "RCPT TO:<c@d.test> NOTIFY=NEVER");
        assert!(dsn.mail(&outgoing).starts_with("MAIL FROM:<> "));
    }

    #[test]
    fn what_a_message_needs() {
        let content = |size, is_eight_bit, has_eight_bit_header| WireForm {
            size,
            is_eight_bit,
            has_eight_bit_header,
        };
        let (eight, utf8) = (Some(Lack::EightBitMime), Some(Lack::Smtputf8));
        let room = Some(Lack::Room { limit: 10, size: 11 });
        let both = "250-8BITMIME\r\n250-SMTPUTF8\r\n";
        for (from, declared, content, lines, expected) in [
            ("a@b.test", false, content(10, false, false), "250-SIZE 10\r\n", None),
            ("a@b.test", false, content(11, false, false), "250-SIZE 10\r\n", room),
            ("a@b.test", false, content(11, false, false), "250-SIZE 0\r\n", None),
            ("a@b.test", false, content(1, true, false), "", eight),
            ("a@b.test", false, content(1, true, false), "250-8BITMIME\r\n", None),
            ("a@b.test", true, content(1, false, false), "", None),
            ("a@b.test", true, content(1, true, true), "250-8BITMIME\r\n", utf8),
            ("a@b.test", false, content(1, true, true), "250-8BITMIME\r\n", None),
            ("a@b.test", true, content(1, true, true), both, None),
            ("\u{e9}@b.test", true, content(1, false, false), "250-8BITMIME\r\n", utf8),
            ("\u{e9}@b.test", true, content(1, false, false), both, None),
        ] {
            let mut outgoing = outgoing(from, &["c@d.test"]);
            (outgoing.envelope.sender.smtputf8, outgoing.content) = (declared, content);
            assert_eq!(offers(lines).lack(&outgoing), expected, "{from} {content:?} {lines}");
        }
        let outgoing = outgoing("a@b.test", &["\u{e9}@d.test", "e@d.test"]);
        let lacks = |lines| {
            outgoing.envelope.recipients.iter().map(|to| offers(lines).lack_for(to)).collect()
        };
        let (without, with): (Vec<_>, Vec<_>) = (lacks(""), lacks(both));
        assert_eq!((without, with), (vec![utf8, None], vec![None, None]));
        assert!(offers(both).mail(&outgoing).ends_with(" SMTPUTF8"));
    }
}
