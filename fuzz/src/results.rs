//! Authentication-Results of others: what can be read is written and read again, and a field that names a
//! host in a way that is read is found by that name.

use facteur::limits::trust::RESULTS_READ_MAX;
use facteur::mail::proof::raw::RawField;
use facteur::mail::proof::results::{FIELD, is_of, read, write};

pub fn run(data: &[u8]) {
    let whole = [FIELD.as_bytes(), b":", data].concat();
    let field = RawField { name: FIELD.as_bytes(), whole: &whole };
    is_of(&field, "mx.test");
    is_of(&field, "m\u{fc}x.test");
    let Ok(results) = read(data) else { return };
    let properties: usize = results.entries.iter().map(|entry| entry.properties.len()).sum();
    assert!(results.entries.len() + properties <= RESULTS_READ_MAX);
    let id = &results.authserv_id;
    let is_token = |one: char| one.is_ascii_alphanumeric() || "-_.".contains(one);
    assert!(!id.chars().all(is_token) || is_of(&field, id), "{id}");
    let written = write(id, &results.entries);
    assert!(written.ends_with('\n'));
    let mut lines = written.trim_end_matches('\n').split('\n').skip(1);
    assert!(lines.all(|line| line.starts_with(' ') && !line.trim().is_empty()), "{written}");
    let (_, value) = written.split_once(':').expect("a field has a colon");
    let again = read(value.as_bytes()).unwrap_or_else(|why| panic!("{why}: {written}"));
    assert_eq!(again.entries.len(), results.entries.len(), "{written}");
    for (one, other) in again.entries.iter().zip(&results.entries) {
        assert_eq!((&one.method, &one.result), (&other.method, &other.result), "{written}");
        assert_eq!(one.properties.len(), other.properties.len(), "{written}");
    }
}
