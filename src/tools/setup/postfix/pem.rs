//! Certificates among what else a PEM file has (RFC 7468). Pure.

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The certificates of a text and nothing else of it: a key beside them is for few eyes, and what follows a second key
/// is another pair.
pub fn certificates(text: &str) -> String {
    let (mut found, mut is_inside, mut keys) = (String::new(), false, 0);
    for line in text.lines().map(str::trim_end) {
        if is_key(line) {
            keys += 1;
        }
        if keys > 1 {
            break;
        }
        is_inside |= line == BEGIN;
        if is_inside {
            found.push_str(line);
            found.push('\n');
        }
        is_inside &= line != END;
    }
    found
}

fn is_key(line: &str) -> bool {
    line.starts_with("-----BEGIN ") && line.ends_with("PRIVATE KEY-----")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_out() {
        let block = |kind: &str, body: &str| {
            format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n")
        };
        let (own, above) = (block("CERTIFICATE", "MIIa"), block("CERTIFICATE", "MIIb"));
        let key = block("EC PRIVATE KEY", "secret");
        let other = block("PRIVATE KEY", "secret") + &block("CERTIFICATE", "MIIc");
        for text in [
            format!("subject=x\n{own}\n{above}"),
            format!("{key}{own}# c\n{above}"),
            format!("{own}{key}{above}"),
            format!("{key}{own}{above}{other}"),
            format!("{key}{own}{above}").replace('\n', "\r\n"),
        ] {
            assert_eq!(certificates(&text), format!("{own}{above}"), "{text}");
        }
        assert_eq!(certificates(&key), "");
    }
}
