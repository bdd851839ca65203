//! Whether a next hop refused mail for what the sender's records say: SPF, DKIM, DMARC, or the name of the
//! client's address. By the enhanced status code of its reply (RFC 7372, and what large receivers made of
//! its numbers), else by its words. Decides nothing: the notice only says more.

/// Last numbers of X.7.N that speak of this: DKIM 20 to 22, SPF 23 and 24, the reverse name 25, several of
/// them 26 (RFC 7372 §3); Gmail's for SPF and DKIM, 27 and 30; Microsoft's for DMARC and for senders that
/// prove nothing, 509 and 515.
const DETAILS: [u16; 11] = [20, 21, 22, 23, 24, 25, 26, 27, 30, 509, 515];

/// Words that speak of this, in lower case. Each stands alone: no part of a longer word, nor of an address.
const WORDS: [&str; 14] = [
    "spf",
    "dkim",
    "dmarc",
    "ptr",
    "rdns",
    "fcrdns",
    "reverse dns",
    "reverse-dns",
    "reverse lookup",
    "reverse hostname",
    "cannot find your hostname",
    "sender authentication",
    "unauthenticated",
    "required authentication level",
];

/// Whether a reply says so. The whole reply, a line for each of its lines.
pub fn is_about_records(reply: &str) -> bool {
    let mut words = String::from(" ");
    for line in reply.lines() {
        let mut rest = line.get(3..).unwrap_or_default().trim_start_matches([' ', '-']);
        if let Some((code, after)) = enhanced(rest) {
            match code {
                (_, 7, detail) if DETAILS.contains(&detail) => return true,
                // A mailbox, a full disk, or a protocol: whatever words stand there.
                (_, 1..=4, _) => return false,
                _ => rest = after,
            }
        }
        // An address of the message may have any words in it.
        let plain = rest.split_whitespace().filter(|word| !word.contains(['@', '<', '>', '/']));
        for word in plain {
            let word = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
            words.push_str(&word);
            words.push(' ');
        }
    }
    WORDS.iter().any(|known| words.contains(&format!(" {known} ")))
}

/// The enhanced status code at the front (RFC 2034), and what follows it.
fn enhanced(text: &str) -> Option<((u16, u16, u16), &str)> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let mut numbers = text[..end].trim_end_matches('.').splitn(3, '.');
    let mut number = || numbers.next()?.parse().ok();
    let code = (number()?, number()?, number()?);
    (code.0 == 4 || code.0 == 5).then(|| (code, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_large_receivers() {
        for reply in [
            "550 5.7.20 No passing DKIM signature found",
            "550 5.7.23 <bob@far.test>: Recipient address rejected: Message rejected due to: SPF fail",
            "550-5.7.25 [192.0.2.7] The IP address sending this message does not have a\n550 5.7.25 x",
            "550-5.7.26 Your email has been blocked because the sender is unauthenticated.",
            "550 5.7.509 Access denied, sending domain a.test does not pass DMARC verification",
            "550 5.7.515 Access denied, sending domain a.test does not meet the required authentication \
             level.",
            "554 5.7.1 Message rejected because of SPF policy",
            "550 5.7.1 Unauthenticated email from a.test is not accepted due to domain's DMARC policy.",
            "550 5.7.1 Client host rejected: cannot find your hostname, [192.0.2.7]",
            "554-mx.far.test\n554-No SMTP service\n554 Bad DNS PTR resource record.",
            "550 Reverse DNS lookup failed for 192.0.2.7",
            "450 4.7.25 Client host rejected: cannot find your reverse hostname",
            "550 SPF: 192.0.2.7 is not allowed",
            "550 5.7.1 (SPF) no",
        ] {
            assert!(is_about_records(reply), "{reply}");
        }
    }

    #[test]
    fn other_replies() {
        for reply in [
            "",
            "550",
            "550 5.1.1 <spf@far.test>: no such user",
            "550 5.1.1 dkim: no such user",
            "550 5.7.1 <dmarc@far.test>: relaying denied",
            "550 <spf@far.test> unknown",
            "552 5.2.2 mailbox full, ptr",
            "550 5.7.1 our spam filter says no",
            "530 5.7.0 Authentication required",
            "550 5.7.1 spfx, adkim, ptrs",
            "550 5.7.1 see https://far.test/spf",
            "550 5.7.200 no",
            "5.7.23",
        ] {
            assert!(!is_about_records(reply), "{reply}");
        }
    }
}
