//! The man pages, as `packaging/man` makes them: groff finds nothing wrong with them, and they say what
//! `--help` and docs/configuration.md say.

use crate::support::{Place, has_program, skip, text};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The pages, made in a place.
fn pages() -> Place {
    let place = Place::new();
    let output = Command::new("packaging/man").arg(place.path()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    place
}

/// A page as a terminal shows it, and what groff has to say of it.
fn shown(page: &Path) -> (String, String) {
    let mut command = Command::new("groff");
    command.args(["-ww", "-man", "-Tascii", "-P-c", "-P-b", "-P-u"]).arg(page);
    let output = command.output().unwrap();
    assert!(output.status.success());
    (text(&output.stdout), text(&output.stderr))
}

/// A text without what a page sets in its own way: blanks, and the colon behind a term.
fn bare(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_whitespace() && !":`".contains(*letter)).collect()
}

fn has_groff() -> bool {
    let is_there = has_program("groff", "--version");
    if !is_there {
        skip("groff is not installed");
    }
    is_there
}

#[test]
fn groff_finds_nothing_wrong() {
    if !has_groff() {
        return;
    }
    let place = pages();
    for name in ["facteur.1", "sendmail.1", "facteur.toml.5"] {
        let (page, said) = shown(&place.at(name));
        assert_eq!(said, "", "{name}");
        // No macro of groff and no mark of ours is left to be read.
        for left in ["\\f", "\\&", "**", "`", "]("] {
            assert!(!page.contains(left), "{name}: {left}: {page}");
        }
    }
}

#[test]
fn they_say_what_help_says() {
    if !has_groff() {
        return;
    }
    let place = pages();
    let of = |name: &str| bare(&shown(&place.at(name)).0);
    let (program, sendmail) = (of("facteur.1"), of("sendmail.1"));
    let mut count = 0;
    for entry in fs::read_dir("src/help").unwrap() {
        let path = entry.unwrap().path();
        let page = if path.ends_with("sendmail.txt") { &sendmail } else { &program };
        let help = fs::read_to_string(&path).unwrap();
        for line in help.lines() {
            let line = bare(line.strip_prefix("usage: ").unwrap_or(line));
            let first = line.strip_prefix("facteura").map(|rest| format!("facteur-a{rest}"));
            let line = first.unwrap_or(line);
            assert!(page.contains(&line), "{}: {line}", path.display());
            count += 1;
        }
    }
    assert!(count > 200, "{count}");
}

#[test]
fn every_key_is_there_with_its_default() {
    if !has_groff() {
        return;
    }
    let page = bare(&shown(&pages().at("facteur.toml.5")).0);
    let source = fs::read_to_string("docs/configuration.md").unwrap();
    let rows = source.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut count = 0;
    for row in rows {
        let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
        let [key, default, meaning] = cells[..] else { panic!("{row}") };
        // Of a link its words are left.
        let (meaning, more) = meaning.split_once(" ([").unwrap_or((meaning, ""));
        let end = if more.is_empty() { format!(". (default: {default})") } else { String::new() };
        let expected = bare(&format!("{key} {meaning}{end}"));
        assert!(page.contains(&expected), "{expected}");
        assert!(page.contains(&bare(&format!("(default: {default})"))), "{row}");
        count += 1;
    }
    assert!(count > 60, "{count}");
}
