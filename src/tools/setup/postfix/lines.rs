//! Logical lines, as all text files of Postfix have them: comments and empty lines are left out, and a line that
//! begins with white space continues the one before it. Pure.

/// A line with all that continues it, and the number of its first line in the file. White space within stays as it
/// is written; line ends are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicalLine {
    pub number: usize,
    pub text: String,
}

/// All of a file. Octets that are no UTF-8 become U+FFFD, which no name and no address holds. A continued line
/// without a beginning is left out, as Postfix does.
pub fn logical_lines(octets: &[u8]) -> Vec<LogicalLine> {
    let text = String::from_utf8_lossy(octets);
    let mut lines: Vec<LogicalLine> = Vec::new();
    for (number, line) in (1..).zip(text.split('\n')) {
        let begins = line.trim_start_matches(is_blank);
        if begins.is_empty() || begins.starts_with('#') {
            continue;
        }
        match lines.last_mut() {
            Some(last) if line.starts_with(is_blank) => last.text.push_str(line),
            _ if line.starts_with(is_blank) => {}
            _ => lines.push(LogicalLine { number, text: line.to_owned() }),
        }
    }
    lines
}

/// isspace(3).
pub fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n' | '\u{b}' | '\u{c}')
}

/// The words of a list: separated by commas and white space, but not inside of braces.
pub fn words(list: &str) -> Vec<String> {
    split(list, |c| c == ',' || is_blank(c))
}

/// What stands between the given separators, but not inside of braces; without blanks around it, and without what
/// is empty.
pub fn split(list: &str, is_separator: impl Fn(char) -> bool) -> Vec<String> {
    let (mut words, mut word, mut depth) = (Vec::new(), String::new(), 0_usize);
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match depth == 0 && is_separator(c) {
            true => words.push(std::mem::take(&mut word)),
            false => word.push(c),
        }
    }
    words.push(word);
    let trimmed = words.into_iter().map(|word| word.trim_matches(is_blank).to_owned());
    trimmed.filter(|word| !word.is_empty()).collect()
}

/// The inside of `{ text }`; none where the text is no such thing.
pub fn braced(text: &str) -> Option<&str> {
    Some(text.trim_matches(is_blank).strip_prefix('{')?.strip_suffix('}')?.trim_matches(is_blank))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let text = b" lost\n# a\na = 1\n\n  # b\n\t2\n\n 3\nb\r\n c\n#\n\xff d";
        let read: Vec<_> =
            logical_lines(text).into_iter().map(|line| (line.number, line.text)).collect();
        let expected = [(3, "a = 1\t2 3"), (9, "b\r c"), (12, "\u{fffd} d")];
        assert_eq!(read, expected.map(|(number, text)| (number, text.to_owned())));
    }

    #[test]
    fn lists() {
        let list = "a, b\tc,,{ d, e } inline:{ x = y, {z = 1} }\n";
        assert_eq!(words(list), ["a", "b", "c", "{ d, e }", "inline:{ x = y, {z = 1} }"]);
        assert_eq!(words(" , "), Vec::<String>::new());
        assert_eq!(braced("{ d, e } "), Some("d, e"));
        assert_eq!(braced("d"), None);
    }
}
