//! Holds `tests/clauses.md` and the dialogs together: what the table names is there and is about that
//! section, and every dialog stands in it.

use crate::dialogs::texts;
use std::collections::{HashMap, HashSet};
use std::fs;

/// One row of the table.
struct Row {
    line: usize,
    rfc: u16,
    section: String,
    /// Paths of dialogs below `tests/dialogs/`.
    dialogs: Vec<String>,
    /// `file.rs::name`.
    checks: Vec<String>,
}

fn rows() -> Vec<Row> {
    let table = fs::read_to_string("tests/clauses.md").expect("tests run in the crate's folder");
    let lines = (1..).zip(table.lines()).filter(|(_, line)| line.starts_with("| "));
    lines.skip(1).map(|(line, text)| row(line, text)).collect()
}

/// Fails with the line on what has not the form of the head of the table.
fn row(line: usize, text: &str) -> Row {
    let cells: Vec<&str> = text.trim_matches('|').split('|').map(str::trim).collect();
    let [rfc, section, word, clause, place] = cells[..] else { panic!("line {line}: {text}") };
    let words = ["MUST", "SHOULD", "MAY", "text"];
    assert!(words.contains(&word) && !clause.is_empty(), "line {line}: {text}");
    let named = place.split('`').skip(1).step_by(2).map(str::to_owned);
    let (checks, dialogs): (Vec<_>, Vec<_>) = named.partition(|name| name.contains(".rs::"));
    let says_why = place.split_once("— ").is_some_and(|(_, why)| !why.is_empty());
    assert!(says_why || dialogs.len() + checks.len() > 0, "line {line}: neither file nor reason");
    let rfc = rfc.parse().unwrap_or_else(|_| panic!("line {line}: no RFC: {rfc}"));
    Row { line, rfc, section: section.to_owned(), dialogs, checks }
}

/// RFC and section, as the first line of a dialog names them: `RFC 5321 §3.3, appendix C, RFC 1870 §4`.
fn sections(first: &str) -> HashSet<(u16, String)> {
    let mut found = HashSet::new();
    let (mut rfc, mut before) = (0, "");
    for word in first.split([' ', ',']).filter(|word| !word.is_empty()) {
        match (before, word.strip_prefix('§')) {
            ("RFC", _) => rfc = word.parse().unwrap_or_default(),
            (_, Some(section)) => drop(found.insert((rfc, section.to_owned()))),
            ("appendix", _) => drop(found.insert((rfc, format!("appendix {word}")))),
            _ => {}
        }
        before = word;
    }
    found
}

/// Whether a section is the one of a row, or a part of it.
fn is_of(section: &str, of: &str) -> bool {
    section.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[test]
fn what_the_table_names_is_there() {
    let all: HashMap<String, String> = texts().into_iter().collect();
    let mut wrong = Vec::new();
    for Row { line, rfc, section, dialogs, checks } in rows() {
        for name in dialogs {
            let text = all.get(&format!("tests/dialogs/{name}"));
            let about = text.map(|text| sections(text.lines().next().unwrap_or_default()));
            let is_about = |about: &HashSet<(u16, String)>| {
                about.iter().any(|(number, named)| *number == rfc && is_of(named, &section))
            };
            match about {
                None => wrong.push(format!("line {line}: no dialog {name}")),
                Some(about) if is_about(&about) => {}
                Some(_) => wrong.push(format!("line {line}: {name} is not about {rfc} {section}")),
            }
        }
        for check in checks {
            let (file, name) = check.split_once("::").unwrap_or_default();
            let source = fs::read_to_string(file).unwrap_or_default();
            if !source.contains(&format!("fn {name}(")) {
                wrong.push(format!("line {line}: no {check}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_dialog_stands_in_the_table() {
    let rows = rows();
    let named: HashSet<&String> = rows.iter().flat_map(|row| &row.dialogs).collect();
    let missing = texts().into_iter().map(|(path, _)| path.replace("tests/dialogs/", ""));
    let missing: Vec<String> = missing.filter(|path| !named.contains(path)).collect();
    assert!(missing.is_empty(), "not in tests/clauses.md: {missing:?}");
}

/// The RFCs that this server keeps, each with rows.
#[test]
fn every_rfc_has_rows() {
    let rfcs: HashSet<u16> = rows().iter().map(|row| row.rfc).collect();
    for rfc in [
        1870, 1985, 2034, 2920, 3030, 3207, 3461, 4616, 4954, 5321, 5782, 5802, 6152, 6409, 6531,
        6533, 7504, 7505, 8314, 9422,
    ] {
        assert!(rfcs.contains(&rfc), "no row of RFC {rfc}");
    }
}
