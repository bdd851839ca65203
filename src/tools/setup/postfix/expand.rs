//! The `$name` language of main.cf and master.cf (postconf(5), "General format"): `$name`, `${name}`, `$(name)`,
//! `${name?text}`, `${name:text}`, `${name?{text}:{text}}`, and `${{text} == {text} ? {text} : {text}}`.
//!
//! Pure: names are looked up by a function of the caller, which gives values as they are written. Reads nothing.

use crate::limits::MACRO_DEPTH;
use std::cmp::Ordering;

/// What Postfix takes for white space inside of a macro.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// The values of names, as they are written; none where a name has no value.
pub type ValueOf<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The text with all its macros replaced, in values of names too. Fails with words where the text is no macro
/// that Postfix would take, or where names lead back to themselves.
pub fn expand(text: &str, value_of: ValueOf<'_>) -> Result<String, String> {
    let mut expanded = String::new();
    Expansion { value_of, depth: 0 }.push(text, &mut expanded)?;
    Ok(expanded)
}

struct Expansion<'a> {
    value_of: ValueOf<'a>,
    depth: usize,
}

impl Expansion<'_> {
    fn push(&mut self, text: &str, to: &mut String) -> Result<(), String> {
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            to.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                to.push('$');
                rest = after;
                continue;
            }
            let (inside, after) = reference(rest)?;
            if inside.is_empty() {
                return Err(format!("a $ without a name: {text}"));
            }
            self.depth += 1;
            if self.depth > MACRO_DEPTH {
                return Err(format!("{inside} leads back to itself"));
            }
            self.reference(inside, to)?;
            self.depth -= 1;
            rest = after;
        }
        to.push_str(rest);
        Ok(())
    }

    /// What stands between the braces of a macro, or the name behind its `$`.
    fn reference(&mut self, inside: &str, to: &mut String) -> Result<(), String> {
        let (value, rest) = match inside.trim_start_matches(BLANKS).strip_prefix('{') {
            Some(_) => {
                let (is_true, rest) = self.comparison(inside)?;
                (Some(if is_true { "true".to_owned() } else { String::new() }), rest)
            }
            None => {
                let inside = inside.trim_start_matches(BLANKS);
                let (name, rest) = name(inside);
                if name.is_empty() {
                    return Err(format!("expected a name, found {inside}"));
                }
                ((self.value_of)(name), rest.trim_start_matches(BLANKS))
            }
        };
        let is_set = value.as_ref().is_some_and(|value| !value.is_empty());
        let (sign, rest) = match rest.chars().next() {
            None => return self.push(&value.unwrap_or_default(), to),
            Some(sign @ ('?' | ':')) => (sign, &rest[1..]),
            Some(_) => return Err(format!("expected ? or : in {inside}")),
        };
        let (text, rest) = operand(rest)?;
        if is_set == (sign == '?') {
            self.push(text, to)?;
        }
        match (sign, rest.strip_prefix(':')) {
            (_, None) if rest.is_empty() => Ok(()),
            ('?', Some(rest)) => {
                let (text, rest) = operand(rest)?;
                if !is_set {
                    self.push(text, to)?;
                }
                match rest.is_empty() {
                    true => Ok(()),
                    false => Err(format!("{rest} stands behind the end of {inside}")),
                }
            }
            _ => Err(format!("{rest} stands behind the end of {inside}")),
        }
    }

    /// `{text} == {text}`, and what follows it.
    fn comparison<'a>(&mut self, text: &'a str) -> Result<(bool, &'a str), String> {
        let (left, rest) = operand(text)?;
        let end = rest.find(|c| !"<>!=?+-*/~&|%level".contains(c)).unwrap_or(rest.len());
        let (sign, rest) = rest.split_at(end);
        let (right, rest) = match rest.trim_start_matches(BLANKS).starts_with('{') {
            true => operand(rest)?,
            false => return Err(format!("expected {{text}} behind {sign} in {text}")),
        };
        let (mut one, mut other) = (String::new(), String::new());
        self.push(left, &mut one)?;
        self.push(right, &mut other)?;
        let order = match sign.strip_suffix("level") {
            None => compared(&one, &other),
            Some(_) => level(&one)?.cmp(&level(&other)?),
        };
        let is_true = match sign.strip_suffix("level").unwrap_or(sign) {
            "==" => order == Ordering::Equal,
            "!=" => order != Ordering::Equal,
            "<" => order == Ordering::Less,
            "<=" => order != Ordering::Greater,
            ">" => order == Ordering::Greater,
            ">=" => order != Ordering::Less,
            _ => return Err(format!("expected a comparison, found {sign:?} in {text}")),
        };
        Ok((is_true, rest))
    }
}

/// The name at the begin of a text, perhaps empty, and what is behind it.
fn name(text: &str) -> (&str, &str) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split_at(text.find(|c| !is_name(c)).unwrap_or(text.len()))
}

/// What a `$` refers to, up to its own closing bracket, and the text behind it.
fn reference(text: &str) -> Result<(&str, &str), String> {
    let (open, close) = match text.chars().next() {
        Some('{') => ('{', '}'),
        Some('(') => ('(', ')'),
        _ => return Ok(name(text)),
    };
    match balanced(text, open, close) {
        Some(end) => Ok((&text[1..end], &text[end + 1..])),
        None => Err(format!("{open} is opened and not closed: {text}")),
    }
}

/// `{text}` with blanks around it, else all of the text; and what follows.
fn operand(text: &str) -> Result<(&str, &str), String> {
    let trimmed = text.trim_start_matches(BLANKS);
    if !trimmed.starts_with('{') {
        return Ok((text, ""));
    }
    let end = balanced(trimmed, '{', '}');
    let end = end.ok_or_else(|| format!("{{ is opened and not closed: {text}"))?;
    Ok((&trimmed[1..end], trimmed[end + 1..].trim_start_matches(BLANKS)))
}

/// Where the bracket closes that a text begins with.
pub fn balanced(text: &str, open: char, close: char) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        if c == open {
            depth += 1;
        } else if c == close {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return Some(at);
            }
        }
    }
    None
}

/// Two operands: as numbers where both are, else as texts.
fn compared(one: &str, other: &str) -> Ordering {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| text.parse::<u64>().ok()).flatten()
    };
    match (number(one), number(other)) {
        (Some(one), Some(other)) => one.cmp(&other),
        _ => one.cmp(other),
    }
}

/// The numbers of a compatibility level: `3.6`, `2`.
fn level(text: &str) -> Result<Vec<u32>, String> {
    let numbers: Result<Vec<u32>, _> = text.trim().split('.').map(str::parse).collect();
    let mut numbers = numbers.map_err(|_| format!("{text} is no compatibility level"))?;
    numbers.resize(3.max(numbers.len()), 0);
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_of(name: &str) -> Option<String> {
        let found = match name {
            "host" => "mx.test",
            "twice" => "$host,$host",
            "empty" => "",
            "void" => "$empty",
            "self" => "x$self",
            "level" => "3.6",
            _ => return None,
        };
        Some(found.to_owned())
    }

    #[test]
    fn macros() {
        for (text, expected) in [
            ("a $host b", "a mx.test b"),
            ("${host}x$(host)y$$host", "mx.testxmx.testy$host"),
            ("$twice;$none;$empty.", "mx.test,mx.test;;."),
            ("${host?yes}${none?no}${empty?no}${host:no}${none:a}${empty:b}", "yesab"),
            ("${host?{yes}:{no}}${none?{yes}:{no}}${none?{yes}:no}", "yesnono"),
            ("${host? { a b } : { c } }", " a b "),
            ("${host?a:{b}c}", "a:{b}c"),
            ("${ host } ${ none ? a }${ host?b}", "mx.test b"),
            ("${none:$host}${none:{${host?{$twice}}}}", "mx.testmx.test,mx.test"),
            ("${void?set}", "set"),
            ("${{$host} == {mx.test} ? {same} : {other}}", "same"),
            ("${{$host} != {mx.test} ? {other}:{same}}", "same"),
            ("${{a} < {b}?{less}}${{b} <= {a}?{less}}", "less"),
            ("${{10} > {9}?{more}}${{10x} < {9}?{less}}${{02} == {2}?{same}}", "morelesssame"),
            ("${{$level} <level {3.10} ? {old} : {new}}", "old"),
            ("${{$level} >=level {3.6}}", "true"),
            ("${{a} == {b}}", ""),
        ] {
            assert_eq!(expand(text, &value_of).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_macro() {
        for text in [
            "$",
            "a$ b",
            "${}",
            "$()",
            "${host",
            "$(host",
            "${ho-st}",
            "${host?{a}:{b}c}",
            "${host?{a}b}",
            "$self",
            "${{a} = {b}}",
            "${{a} == b}",
            "${{a} == {b}x}",
            "${{x} <level {3.6}}",
        ] {
            assert!(expand(text, &value_of).is_err(), "{text}");
        }
    }
}
