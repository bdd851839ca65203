//! The texts of dialogs: octets with escapes and repeats, patterns that say what may come, and what
//! every reply looks like. How they are written, the head of [`crate::play`] tells.

use facteur::limits::REPLY_LINE_MAX;

/// Text with places where anything of a kind may stand.
#[derive(Clone)]
pub struct Pattern {
    pub text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone)]
enum Piece {
    Octets(Vec<u8>),
    Any,
    /// Of a message or a session: m or s, then 13 letters and digits.
    Id(u8),
    Date,
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Pattern, String> {
        Ok(Pattern { text: text.to_owned(), pieces: pieces(text, true, true)? })
    }

    /// `ids`: those that `{id}` may be; any when there are none.
    pub fn fits(&self, text: &[u8], ids: &[&[u8]]) -> bool {
        fits(&self.pieces, text, ids)
    }
}

/// The octets that a text means.
pub fn octets(text: &str, escapes: bool) -> Result<Vec<u8>, String> {
    let pieces = pieces(text, escapes, false)?.into_iter().map(|piece| match piece {
        Piece::Octets(octets) => octets,
        Piece::Any | Piece::Id(_) | Piece::Date => Vec::new(), // only where `wild` is said
    });
    Ok(pieces.collect::<Vec<_>>().concat())
}

/// `Tue, 03 Feb 2026 04:05:06 +0100`, a few minutes ago at most.
pub fn is_date(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let is_numeric = text.len() == DATE_LENGTH && matches!(text.as_bytes()[26], b'+' | b'-');
    let date = jiff::Timestamp::strptime("%a, %d %b %Y %H:%M:%S %z", &*text);
    let now = jiff::Timestamp::now().as_second();
    is_numeric && date.is_ok_and(|date| (now - 600..=now).contains(&date.as_second()))
}

const DATE_LENGTH: usize = 31;

/// Whole replies, the lines of each joined by LF.
pub fn replies(out: &[u8]) -> Vec<String> {
    let (mut replies, mut reply) = (Vec::new(), String::new());
    let text = String::from_utf8_lossy(out);
    for line in text.split_inclusive("\r\n").filter_map(|line| line.strip_suffix("\r\n")) {
        reply.push_str(line);
        match line.as_bytes().get(3) {
            Some(b'-') => reply.push('\n'),
            _ => replies.push(std::mem::take(&mut reply)),
        }
    }
    replies
}

/// What holds for every reply: printable lines of one code from 2 to 5 (RFC 5321 §4.2, §4.5.3.1.5);
/// an enhanced one of its class, but in the greeting, 250 to EHLO and HELO, 334 and 354 (RFC 2034 §4);
/// ` [SESSION]` behind a refusal, but not behind one of syntax or order. `utf8`: the dialog shows that
/// this one may hold more than ASCII (RFC 6531 §3.7.4.2).
pub fn is_well_formed(reply: &str, utf8: bool) -> bool {
    let Some((code, _)) = reply.split_at_checked(3) else { return false };
    let class = code.chars().next().unwrap_or_default();
    let is_plain =
        matches!(code, "220" | "334" | "354") || code == "250" && reply.contains(" greets ");
    let is_line = |line: &str| {
        let text = line.strip_prefix(code).unwrap_or_default();
        line.len() + 2 <= REPLY_LINE_MAX
            && line.bytes().all(|octet| (32..=126).contains(&octet) || utf8 && octet > 127)
            && (is_plain || text.get(1..3) == Some(&format!("{class}.")))
    };
    let is_of_language = matches!(code, "500" | "501" | "502" | "503" | "504" | "555")
        || ["554 5.5.1", "550 5.6.7", "553 5.6.7"].iter().any(|begin| reply.starts_with(begin));
    let is_about_session = matches!(class, '4' | '5') && !is_of_language;
    let names_session = reply.ends_with(']') && reply.contains(" [s");
    matches!(class, '2'..='5')
        && reply.split('\n').all(is_line)
        && (class < '4' || is_about_session == names_session)
}

fn fits(pieces: &[Piece], text: &[u8], ids: &[&[u8]]) -> bool {
    let Some((first, rest)) = pieces.split_first() else { return text.is_empty() };
    let fixed = |length: usize, good: &dyn Fn(&[u8]) -> bool| {
        let split = text.split_at_checked(length);
        split.is_some_and(|(part, left)| good(part) && fits(rest, left, ids))
    };
    match first {
        Piece::Octets(octets) => fixed(octets.len(), &|part| part == octets),
        Piece::Any => (0..=text.len()).any(|at| fits(rest, &text[at..], ids)),
        Piece::Id(kind) => fixed(14, &|id| {
            let known = *kind == b's' || ids.is_empty() || ids.contains(&id);
            known && id[0] == *kind && id.iter().all(u8::is_ascii_alphanumeric)
        }),
        Piece::Date => fixed(DATE_LENGTH, &is_date),
    }
}

fn pieces(mut text: &str, escapes: bool, wild: bool) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    while let Some(first) = text.chars().next() {
        let (piece, used) = match first {
            '\\' if escapes => escape(text)?,
            '*' if wild => (Piece::Any, 1),
            '{' => braces(text, escapes, wild)?,
            _ => (Piece::Octets(text[..first.len_utf8()].into()), first.len_utf8()),
        };
        match (pieces.last_mut(), piece) {
            (Some(Piece::Octets(before)), Piece::Octets(octets)) => before.extend(octets),
            (_, piece) => pieces.push(piece),
        }
        text = &text[used..];
    }
    Ok(pieces)
}

fn escape(text: &str) -> Result<(Piece, usize), String> {
    let (octet, used) = match text.as_bytes().get(1) {
        Some(b'r') => (b'\r', 2),
        Some(b'n') => (b'\n', 2),
        Some(b't') => (b'\t', 2),
        Some(b'0') => (0, 2),
        Some(b'x') => {
            let digits = text.get(2..4).and_then(|digits| u8::from_str_radix(digits, 16).ok());
            (digits.ok_or("\\x takes two digits")?, 4)
        }
        Some(octet @ 33..=126) => (*octet, 2),
        _ => return Err("nothing after the backslash".to_owned()),
    };
    Ok((Piece::Octets(vec![octet]), used))
}

fn braces(text: &str, escapes: bool, wild: bool) -> Result<(Piece, usize), String> {
    let end = text.find('}').ok_or("a brace that is not closed")?;
    let piece = match &text[1..end] {
        "id" if wild => Piece::Id(b'm'),
        "session" if wild => Piece::Id(b's'),
        "date" if wild => Piece::Date,
        inner => {
            let repeat = inner.rsplit_once('*');
            let repeat = repeat.and_then(|(text, times)| Some((text, times.parse().ok()?)));
            let (text, times) = repeat.ok_or("expected {text*number}")?;
            Piece::Octets(octets(text, escapes)?.repeat(times))
        }
    };
    Ok((piece, end + 1))
}
