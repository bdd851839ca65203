//! A small typed reader of TOML: keys are taken one by one, and a key that is left is an error.
//!
//! A missing section is read as an empty one, so every default stands where its key is read
//! (`keys`). Knows lines and types, not what any key means.

use super::{ConfigError, value};
use crate::limits::QUOTED_MAX;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::{DeTable, DeValue};

/// An error names the file, the line where there is one, the key, and what was expected.
pub type Read<T> = Result<T, ConfigError>;

/// The file whose text is read; every error names it.
#[derive(Clone, Copy)]
pub struct ConfigText<'a> {
    pub file: &'a Path,
    pub text: &'a str,
    /// Collects the line of each key.
    pub lines: &'a RefCell<BTreeMap<String, usize>>,
}

/// A section and the keys in it that were not taken yet.
pub struct Section<'a> {
    source: ConfigText<'a>,
    /// Its whole name, empty for the file itself.
    name: String,
    /// Where it begins in the text, in octets.
    at: usize,
    rest: DeTable<'a>,
    /// Keys that were asked for, to guess what an unknown one means.
    known: Vec<&'static str>,
}

/// A value with its key and its place.
pub struct KeyValue<'a> {
    source: ConfigText<'a>,
    /// Its whole name, `relay.threads`.
    key: String,
    /// Where the key, or the element of a list, begins in the text, in octets.
    at: usize,
    value: DeValue<'a>,
}

impl<'a> ConfigText<'a> {
    /// Reads the whole file with `read`, which takes its keys; a key that is left is an error.
    pub fn read<T>(self, read: impl FnOnce(&mut Section<'a>) -> Read<T>) -> Read<T> {
        let table = DeTable::parse(self.text).map_err(|error| {
            // At the end of the text the error would be on a line that no editor shows.
            let at = error.span().map(|span| span.start.min(self.text.trim_end().len()));
            let message = error.message().replace('\n', " ");
            let twice = error.span().filter(|_| message == "duplicate key");
            // The library does not name the key.
            let key = twice.and_then(|span| self.text.get(span)).map(str::trim).unwrap_or_default();
            self.error(at, format!("{message} {key}").trim_end().to_owned())
        })?;
        Section::new(self, String::new(), 0, table.into_inner()).finish(read)
    }

    /// An error at an offset in the text, or about the file as a whole.
    pub fn error(&self, at: Option<usize>, what: String) -> ConfigError {
        let line = at.map(|at| self.line(at));
        ConfigError { file: self.file.to_owned(), line, what }
    }

    /// Counted from 1, as editors do.
    fn line(&self, at: usize) -> usize {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        1 + before.iter().filter(|b| **b == b'\n').count()
    }

    /// A path as the file means it: relative to the file's own folder, which for a bare name is `.`.
    pub fn path(&self, text: &str) -> PathBuf {
        let folder = match self.file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        // Without `./` in the middle, to look better in a log.
        folder.join(text.strip_prefix("./").unwrap_or(text))
    }
}

impl<'a> Section<'a> {
    fn new(source: ConfigText<'a>, name: String, at: usize, rest: DeTable<'a>) -> Section<'a> {
        Section { source, name, at, rest, known: Vec::new() }
    }

    /// Lets `read` take its keys. An error of a value comes before that of an unknown key.
    fn finish<T>(mut self, read: impl FnOnce(&mut Section<'a>) -> Read<T>) -> Read<T> {
        let value = read(&mut self)?;
        match self.unknown() {
            Some(error) => Err(error),
            None => Ok(value),
        }
    }

    /// An error that is about no single key: it stands where the section begins.
    pub fn error(&self, what: &str) -> ConfigError {
        match self.name.is_empty() {
            true => self.source.error(None, what.to_owned()),
            false => self.source.error(Some(self.at), format!("{}: {what}", self.name)),
        }
    }

    /// An error about a key that was read already, by its whole name: it stands where that was.
    pub fn error_at(&self, key: &str, what: &str) -> ConfigError {
        let line = self.source.lines.borrow().get(key).copied();
        ConfigError { file: self.source.file.to_owned(), line, what: format!("{key}: {what}") }
    }

    /// Its whole name, empty for the file itself.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One element of a list of tables goes by its own name from here on, below that of the list; that it begins
    /// here is noted like the line of a key.
    pub fn rename(&mut self, name: &str) {
        self.name = self.name_of(name);
        self.source.lines.borrow_mut().insert(self.name.clone(), self.source.line(self.at));
    }

    pub fn file(&self) -> &'a Path {
        self.source.file
    }

    /// As [`ConfigText::path`], for a path that is a default.
    pub fn path_of(&self, text: &str) -> PathBuf {
        self.source.path(text)
    }

    /// None when the file does not have the key; then the caller's default is used.
    pub fn take(&mut self, key: &'static str) -> Option<KeyValue<'a>> {
        self.known.push(key);
        let (name, value) = self.rest.remove_entry(key)?;
        Some(self.item(key, name.span().start, value.into_inner()))
    }

    /// Like [`Section::take`], for a key that has no default.
    pub fn require(&mut self, key: &'static str) -> Read<KeyValue<'a>> {
        if let Some(item) = self.take(key) {
            return Ok(item);
        }
        // An error about a misspelt key says more than one about a missing key.
        let like = |name: &str| nearest(name, &[key]).is_some();
        Err(match self.rest.keys().find(|name| like(name.get_ref())) {
            Some(name) => self.unknown_key(name.get_ref(), name.span().start, &[key], false),
            None => self.error(&format!("needs {key}")),
        })
    }

    /// All keys that are left, whatever their names, in the order of the file.
    pub fn take_rest(&mut self) -> Vec<(String, KeyValue<'a>)> {
        let rest = std::mem::take(&mut self.rest);
        let mut items: Vec<_> = rest
            .into_iter()
            .map(|(key, value)| {
                let item = self.item(key.get_ref(), key.span().start, value.into_inner());
                (key.into_inner().into_owned(), item)
            })
            .collect();
        // The parser does not keep the order, and the first domain matters.
        items.sort_by_key(|(_, item)| item.at);
        items
    }

    /// A section that is empty when the file does not have it.
    pub fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'a>) -> Read<T>,
    ) -> Read<T> {
        let name = self.name_of(key);
        match self.take(key) {
            Some(item) => item.table(read),
            None => Section::new(self.source, name, self.at, DeTable::new()).finish(read),
        }
    }

    /// `expected` says what `parse` takes.
    pub fn parse<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Read<Option<T>> {
        self.take(key).map(|item| item.parse(expected, parse)).transpose()
    }

    /// The elements of a list; none when the key is missing.
    pub fn list(&mut self, key: &'static str) -> Read<Vec<KeyValue<'a>>> {
        self.take(key).map_or(Ok(Vec::new()), KeyValue::list)
    }

    /// Relative paths are made relative to the file's folder.
    pub fn path(&mut self, key: &'static str) -> Read<Option<PathBuf>> {
        self.take(key).map(|item| item.path()).transpose()
    }

    pub fn flag(&mut self, key: &'static str, default: bool) -> Read<bool> {
        self.take(key).map_or(Ok(default), |item| match item.value {
            DeValue::Boolean(flag) => Ok(flag),
            _ => Err(item.wrong_type("true or false")),
        })
    }

    /// A whole number within `range`.
    pub fn count(
        &mut self,
        key: &'static str,
        range: RangeInclusive<usize>,
        default: usize,
    ) -> Read<usize> {
        self.take(key).map_or(Ok(default), |item| item.count(range))
    }

    /// Octets, at least `least`.
    pub fn size(&mut self, key: &'static str, least: u64, default: u64) -> Read<u64> {
        self.take(key).map_or(Ok(default), |item| item.size(least))
    }

    pub fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Read<Duration> {
        self.take(key).map_or(Ok(default), |item| item.duration(range))
    }

    /// The whole name, quoted where the file has to quote it, so that it can be searched for.
    fn name_of(&self, key: &str) -> String {
        let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let key = match !key.is_empty() && key.bytes().all(bare) {
            true => key.to_owned(),
            false => format!("{key:?}"),
        };
        match self.name.is_empty() {
            true => key,
            false => format!("{}.{key}", self.name),
        }
    }

    /// Notes the line as well: what is wrong later (a file that is not there) names it too.
    fn item(&self, key: &str, at: usize, value: DeValue<'a>) -> KeyValue<'a> {
        let key = self.name_of(key);
        self.source.lines.borrow_mut().insert(key.clone(), self.source.line(at));
        KeyValue { source: self.source, key, at, value }
    }

    /// An error about the first key of the section that was not taken.
    pub fn unknown(&self) -> Option<ConfigError> {
        let (key, value) = self.rest.iter().min_by_key(|(key, _)| key.span().start)?;
        let table = value.get_ref().is_table();
        Some(self.unknown_key(key.get_ref(), key.span().start, &self.known, table))
    }

    /// Names the nearest known key, else all known keys.
    fn unknown_key(
        &self,
        key: &str,
        at: usize,
        known: &[&'static str],
        table: bool,
    ) -> ConfigError {
        let what = match nearest(key, known) {
            Some(near) => format!("is {near} meant?"),
            // [domain.example.org] is three names, and what was meant is [domain."example.org"].
            None if table && !self.name.is_empty() => "a name with dots has to be in quotes".into(),
            None => format!("known here: {}", known.join(", ")),
        };
        self.source.error(Some(at), format!("{}: unknown key; {what}", self.name_of(key)))
    }
}

impl<'a> KeyValue<'a> {
    /// Its whole name.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// "file:line: key: what"
    pub fn error(&self, what: &str) -> ConfigError {
        self.source.error(Some(self.at), format!("{}: {what}", self.key))
    }

    /// "file:line: key: expected …, found 0"
    pub fn expected(&self, expected: &str) -> ConfigError {
        self.error(&format!("expected {expected}, found {}", self.shown()))
    }

    /// "file:line: key: expected …, found the integer 0": the type is told, as `25` and `"25"` are
    /// easily taken for each other.
    fn wrong_type(&self, expected: &str) -> ConfigError {
        let found = match &self.value {
            DeValue::Array(_) | DeValue::Table(_) => self.shown(),
            value => format!("the {} {}", value.type_str(), self.shown()),
        };
        self.error(&format!("expected {expected}, found {found}"))
    }

    /// The value on one line that is not too long for a log.
    fn shown(&self) -> String {
        match &self.value {
            DeValue::String(text) if text.chars().count() > QUOTED_MAX => {
                format!("{:?}...", text.chars().take(QUOTED_MAX).collect::<String>())
            }
            DeValue::String(text) => format!("{text:?}"),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(flag) => flag.to_string(),
            DeValue::Datetime(time) => time.to_string(),
            DeValue::Array(_) => "an array".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        }
    }

    /// `expected` says what `parse` takes.
    pub fn parse<T>(&self, expected: &str, parse: impl Fn(&str) -> Option<T>) -> Read<T> {
        match &self.value {
            DeValue::String(text) => parse(text).ok_or_else(|| self.expected(expected)),
            _ => Err(self.wrong_type(expected)),
        }
    }

    /// Whether it is a string: some keys take one of two forms.
    pub fn is_text(&self) -> bool {
        matches!(self.value, DeValue::String(_))
    }

    /// As [`ConfigText::path`], for a path that is part of a value.
    pub fn path_of(&self, text: &str) -> PathBuf {
        self.source.path(text)
    }

    pub fn path(&self) -> Read<PathBuf> {
        // No name of a file has a NUL in it, and one with a line feed is a slip.
        let good = |text: &str| !text.is_empty() && !text.contains(char::is_control);
        self.parse("a path", |text| good(text).then(|| self.source.path(text)))
    }

    fn count(&self, range: RangeInclusive<usize>) -> Read<usize> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let number = self.integer().ok_or_else(|| self.wrong_type(&expected))?;
        let number = number.and_then(|number| usize::try_from(number).ok());
        number.filter(|n| range.contains(n)).ok_or_else(|| self.expected(&expected))
    }

    fn size(&self, least: u64) -> Read<u64> {
        let size = match &self.value {
            DeValue::String(text) => value::size(text),
            _ => self.integer().ok_or_else(|| self.wrong_type(value::SIZE))?,
        };
        // Sizes are compared with those of files, which are signed.
        let size = size.filter(|size| i64::try_from(*size).is_ok());
        let size = size.ok_or_else(|| self.expected(value::SIZE))?;
        match size < least {
            true => Err(self.expected(&format!("at least {}", value::show_size(least)))),
            false => Ok(size),
        }
    }

    pub fn duration(&self, range: RangeInclusive<Duration>) -> Read<Duration> {
        let duration = self.parse(value::DURATION, value::duration)?;
        match range.contains(&duration) {
            true => Ok(duration),
            false => {
                let [least, most] = [range.start(), range.end()].map(|t| value::show_duration(*t));
                Err(self.expected(&format!("a duration from \"{least}\" to \"{most}\"")))
            }
        }
    }

    /// Its elements keep the key's name and have lines of their own.
    pub fn list(self) -> Read<Vec<KeyValue<'a>>> {
        let DeValue::Array(elements) = self.value else {
            return Err(self.wrong_type("a list in brackets"));
        };
        let item = |element: toml::Spanned<DeValue<'a>>| KeyValue {
            source: self.source,
            key: self.key.clone(),
            at: element.span().start,
            value: element.into_inner(),
        };
        Ok(elements.into_iter().map(item).collect())
    }

    /// Also fails when `read` leaves a key.
    pub fn table<T>(self, read: impl FnOnce(&mut Section<'a>) -> Read<T>) -> Read<T> {
        let DeValue::Table(table) = self.value else {
            return Err(self.wrong_type("a table"));
        };
        Section::new(self.source, self.key, self.at, table).finish(read)
    }

    /// None for another type, `Some(None)` for a negative number or one past 64 bits.
    fn integer(&self) -> Option<Option<u64>> {
        let number = self.value.as_integer()?;
        Some(u64::from_str_radix(number.as_str(), number.radix()).ok())
    }
}

/// The known key that a misspelt one is close to: at most two letters away, and most of it right.
fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let distances = known.iter().map(|name| (distance(key, name), *name));
    let (distance, name) = distances.min()?;
    // A worse guess would mislead.
    (distance <= 2 && 2 * distance < name.len()).then_some(name)
}

/// Letters to insert, drop or change (Levenshtein), one row of the table at a time.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let here = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], here);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_keys() {
        let known = ["threads", "port", "any_user", "smarthost", "key"];
        for (key, near) in [
            ("thread", Some("threads")),
            ("any-user", Some("any_user")),
            ("smart_host", Some("smarthost")),
            ("keys", Some("key")),
            ("users", None),
            ("kex2", None),
        ] {
            assert_eq!(nearest(key, &known), near, "{key}");
        }
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        for (file, path, meant) in [
            ("facteur.toml", "spool", "./spool"),
            ("./facteur.toml", "./spool", "./spool"),
            ("/etc/facteur/facteur.toml", "spool", "/etc/facteur/spool"),
            ("/etc/facteur/facteur.toml", "../spool", "/etc/facteur/../spool"),
            ("conf/facteur.toml", "/var/spool", "/var/spool"),
        ] {
            let lines = RefCell::default();
            let source = ConfigText { file: Path::new(file), text: "", lines: &lines };
            assert_eq!(source.path(path), Path::new(meant));
        }
    }
}
