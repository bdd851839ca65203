//! Encoded words: the text that a header field's raw value stands for (RFC 2047, RFC 2231 §5).
//!
//! Reads only, and never fails: what is no proper encoded word stays as it was written. The result
//! may hold any character, controls and line ends too; a page that shows it escapes it.

use encoding_rs::{Encoding, ISO_2022_JP, WINDOWS_1252};

/// Most octets of one value that are decoded; the rest is left out.
pub const VALUE_MAX: usize = 8 * 1024;

/// Longest charset name looked up; the longest label that encoding_rs knows has 19 octets.
const CHARSET_MAX: usize = 40;

/// The text of a raw, unfolded field value.
///
/// A word is decoded wherever it stands, also inside a quoted string or next to other text, where
/// RFC 2047 §5 does not allow it: many programs write such words, and only people read the result.
pub fn decode(value: &[u8]) -> String {
    let text = raw_text(value);
    let mut decoded = Decoded::default();
    let mut rest = text.as_str();
    while let Some(start) = rest.find("=?") {
        match EncodedWord::parse(&rest[start..]) {
            Some(word) => {
                decoded.push_text(&rest[..start]);
                rest = &rest[start + word.length..];
                decoded.push_word(word);
            }
            // One octet on, not two: in `=?=?utf-8?q?a?=` the second `=?` begins the word.
            None => {
                decoded.push_plain(&rest[..start + 1]);
                rest = &rest[start + 1..];
            }
        }
    }
    decoded.push_plain(rest);
    decoded.finish()
}

/// The value as characters: UTF-8 (RFC 6532) if it can be, else Windows-1252, which old programs mean, and
/// in which encoding_rs has a character for every octet.
fn raw_text(value: &[u8]) -> String {
    let cut = &value[..value.len().min(VALUE_MAX)];
    match std::str::from_utf8(cut) {
        Ok(text) => text.to_owned(),
        // The value was cut within a character, which does not make the rest less UTF-8.
        Err(error) if error.error_len().is_none() && !cut[..error.valid_up_to()].is_ascii() => {
            String::from_utf8_lossy(&cut[..error.valid_up_to()]).into_owned()
        }
        Err(_) => WINDOWS_1252.decode_without_bom_handling(cut).0.into_owned(),
    }
}

/// What has been read so far. Octets of words are held back until no word of the same charset can
/// follow, because some senders split a character between two words.
#[derive(Default)]
struct Decoded {
    text: String,
    octets: Vec<u8>,
    /// Charset of `octets`; there is one exactly when the last thing read was a word.
    charset: Option<&'static Encoding>,
}

impl Decoded {
    /// Text in front of a word: white space alone between two words is no text (RFC 2047 §6.2).
    fn push_text(&mut self, text: &str) {
        let blank = text.chars().all(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
        if !(blank && self.charset.is_some()) {
            self.push_plain(text);
        }
    }

    fn push_plain(&mut self, text: &str) {
        if !text.is_empty() {
            self.flush();
            self.text.push_str(text);
        }
    }

    fn push_word(&mut self, word: EncodedWord) {
        // Each word of ISO-2022-JP begins in ASCII anew, and its decoder takes the two escapes that
        // meet where words are joined for an attack.
        if self.charset != Some(word.charset) || word.charset == ISO_2022_JP {
            self.flush();
            self.charset = Some(word.charset);
        }
        self.octets.extend(word.octets);
    }

    fn flush(&mut self) {
        if let Some(charset) = self.charset.take() {
            // Octets that the charset does not have become U+FFFD.
            self.text.push_str(&charset.decode_with_bom_removal(&self.octets).0);
            self.octets.clear();
        }
    }

    fn finish(mut self) -> String {
        self.flush();
        self.text
    }
}

/// `=?charset?encoding?encoded-text?=` (RFC 2047 §2).
struct EncodedWord {
    charset: &'static Encoding,
    octets: Vec<u8>,
    /// Octets of the word as written.
    length: usize,
}

impl EncodedWord {
    /// Reads the word at the start of `text`. A word longer than the 75 octets of RFC 2047 §2 is
    /// taken too.
    fn parse(text: &str) -> Option<EncodedWord> {
        let mut parts = text.strip_prefix("=?")?.splitn(4, '?');
        let (charset, encoding, encoded) = (parts.next()?, parts.next()?, parts.next()?);
        if charset.len() > CHARSET_MAX || !parts.next()?.starts_with('=') {
            return None;
        }
        // A language may follow the charset (RFC 2231 §5). Charsets that encoding_rs would only
        // replace as a whole (UTF-7, HZ) say more undecoded.
        let name = charset.split('*').next()?;
        let charset_found = Encoding::for_label_no_replacement(name.as_bytes())?;
        let octets = match encoding {
            "B" | "b" => base64(encoded.as_bytes())?,
            "Q" | "q" => quoted(encoded.as_bytes())?,
            _ => return None,
        };
        let length = charset.len() + encoding.len() + encoded.len() + "=????=".len();
        Some(EncodedWord { charset: charset_found, octets, length })
    }
}

/// The Q encoding (RFC 2047 §4.2): none when an octet stands there that must not.
fn quoted(encoded: &[u8]) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(encoded.len());
    let mut rest = encoded.iter();
    while let Some(&octet) = rest.next() {
        octets.push(match octet {
            b'_' => b' ',
            b'=' => hex(*rest.next()?)? << 4 | hex(*rest.next()?)?,
            b'!'..=b'~' => octet,
            _ => return None,
        });
    }
    Some(octets)
}

fn hex(digit: u8) -> Option<u8> {
    // Lower case is not allowed, but written.
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The B encoding (RFC 2047 §4.1, RFC 4648 §4); padding may be missing.
fn base64(encoded: &[u8]) -> Option<Vec<u8>> {
    let padding = encoded.iter().rev().take(2).take_while(|&&octet| octet == b'=').count();
    let digits = &encoded[..encoded.len() - padding];
    if digits.len() % 4 == 1 {
        return None; // six bits are no octet
    }
    let mut octets = Vec::with_capacity(digits.len());
    for group in digits.chunks(4) {
        let mut bits: u32 = 0;
        for &digit in group {
            bits = bits << 6 | u32::from(base64_digit(digit)?);
        }
        bits <<= 6 * (4 - group.len());
        octets.extend(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(octets)
}

fn base64_digit(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_decoded() {
        for (value, text) in [
            ("", ""),
            ("plain", "plain"),
            ("=?utf-8?q?Gr=C3=BC=c3=9fe_an_alle?=", "Grüße an alle"),
            ("=?UTF-8?B?R3LDvMOfZQ==?=", "Grüße"),
            ("=?UTF-8?B?R3LDvMOfZQ?=", "Grüße"),
            ("=?iso-8859-1?Q?Andr=E9?= <andre@a.test>", "André <andre@a.test>"),
            ("=?US-ASCII*EN?Q?Keith_Moore?=", "Keith Moore"),
            ("=?koi8-r?B?8NLJ18XU?=", "Привет"),
            ("=?iso-2022-jp?B?GyRCRnxLXBsoQg==?= =?iso-2022-jp?B?GyRCOGwbKEI=?=", "日本語"),
            ("=?utf-8?q??=", ""),
            ("=?utf-8?q?=41?=", "A"),
            ("\"=?utf-8?q?a?=\"", "\"a\""),
            // The examples of RFC 2047 §8.
            ("(=?ISO-8859-1?Q?a?= b)", "(a b)"),
            ("(=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=)", "(ab)"),
            ("(=?ISO-8859-1?Q?a_b?=)", "(a b)"),
            ("(=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=)", "(a b)"),
            // What an attacker would like to be a line end or an escape stays one character here.
            ("=?utf-8?q?a=0Ab=1B[2J?=", "a\nb\u{1b}[2J"),
        ] {
            assert_eq!(decode(value.as_bytes()), text, "{value}");
        }
    }

    #[test]
    fn a_character_may_be_split_between_words() {
        for (value, text) in [
            ("=?utf-8?q?=E2=82?= =?utf-8?q?=AC?=", "€"),
            ("=?utf-8?q?=E2=82?=\t=?UTF-8*de?b?rA==?= x", "€ x"),
            ("=?utf-8?q?=E2=82?==?utf-8?q?=AC?=", "€"),
            ("=?utf-8?q?=E2=82?= and =?utf-8?q?=AC?=", "\u{fffd} and \u{fffd}"),
            ("=?utf-8?q?=E2=82?= =?koi8-r?q?=C1?=", "\u{fffd}а"),
        ] {
            assert_eq!(decode(value.as_bytes()), text, "{value}");
        }
    }

    #[test]
    fn malformed_words_stay() {
        for value in [
            "=?",
            "=??=",
            "=?=?=?=?",
            "=?utf-8?q?a",
            "=?utf-8?q?a?",
            "=?utf-8?q?a?b?=",
            "=?utf-8?x?a?=",
            "=?utf-8??a?=",
            "=?utf-8?q?a b?=",
            "=?utf-8?q?a=4?=",
            "=?utf-8?q?a=zz?=",
            "=?utf-8?q?ü?=",
            "=?utf-8?b?a?=",
            "=?utf-8?b?YQ==YQ==?=",
            "=?utf-8?b?!!!!?=",
            "=?no-such-charset?q?a?=",
            "=?utf-7?q?+AGE-?=",
            "=?hz-gb-2312?q?a?=",
            "=??q?a?=",
            "=?*en?q?a?=",
        ] {
            assert_eq!(decode(value.as_bytes()), value);
        }
        assert_eq!(decode(b"=?=?utf-8?q?a?="), "=?a");
        assert_eq!(decode(b"=?x?q?a?= =?utf-8?q?b?="), "=?x?q?a?= b");
    }

    #[test]
    fn raw_octets_are_utf_8_or_windows_1252() {
        assert_eq!(decode("Grüße".as_bytes()), "Grüße");
        assert_eq!(decode(b"Gr\xfc\xdfe \x80"), "Grüße €");
        assert_eq!(decode(b"\xc3"), "Ã");
        assert_eq!(decode(b"\xfc =?utf-8?q?=C3=BC?="), "ü ü");
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(decode(&vec![b'a'; 1 << 20]).len(), VALUE_MAX);
        let split = format!("a{}", "ü".repeat(VALUE_MAX));
        assert_eq!(decode(split.as_bytes()), split[..VALUE_MAX - 1]);
        // Hostile repetitions end soon and panic nowhere.
        for part in ["=?", "=?a?q?", "=?utf-8?q?", "=?utf-8?q?=C3?= ", "?=", "=?utf-8?b?w?="] {
            decode(part.repeat(100_000).as_bytes());
        }
    }
}
