//! The pages that describe the project beside what they describe: `docs/configuration.md` has the keys and defaults
//! of the reader, `tests/README.md` every room of these tests.

use facteur::config::Config;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A row of the page: the table it stands in, the key, and the default as the page writes it.
struct Row {
    section: String,
    key: String,
    default: String,
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// What stands in a cell between backquotes.
fn quoted(cell: &str) -> Option<&str> {
    cell.trim().strip_prefix('`')?.strip_suffix('`')
}

fn rows() -> Vec<Row> {
    let (page, mut section, mut rows) = (read("docs/configuration.md"), String::new(), Vec::new());
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.trim_matches(['[', ']']).to_owned();
        }
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        if let (Some(key), [_, default, _]) = (cells.first().and_then(|c| quoted(c)), &cells[..]) {
            let default = default.trim().to_owned();
            rows.push(Row { section: section.clone(), key: key.to_owned(), default });
        }
    }
    rows
}

/// A configuration of the least that there has to be, with more at the top and in one table.
fn config(section: &str, line: &str) -> Config {
    let mut tables = vec![
        ("domain.\"example.org\"", "any_user = true".to_owned()),
        ("listen", "smtp = [\"[::]:25\"]".to_owned()),
        ("relay", String::new()),
    ];
    let mut top = "hostname = \"mx.example.org\"".to_owned();
    match tables.iter_mut().find(|(name, _)| *name == section) {
        Some((_, lines)) => *lines += &format!("\n{line}"),
        None if section.starts_with("The top") => top += &format!("\n{line}"),
        None => tables.push((section, line.to_owned())),
    }
    let tables: String =
        tables.iter().map(|(name, lines)| format!("{}{lines}\n", head(name))).collect();
    let mut config = Config::parse(&format!("{top}\n{tables}"), Path::new("/facteur.toml"))
        .unwrap_or_else(|error| panic!("[{section}] {line}: {error}"));
    config.lines = Default::default();
    config
}

/// The head of a table, with what it has to say in any case.
fn head(name: &str) -> String {
    match name {
        "milter" => "[[milter]]\nname = \"a\"\nsocket = \"unix:/a\"\n".to_owned(),
        name => format!("[{name}]\n"),
    }
}

#[test]
fn each_default_of_the_page_is_the_one_that_holds() {
    let rows = rows();
    for Row { section, key, default } in &rows {
        // The two that the least configuration has to give, and what has no default.
        let is_given = matches!((&section[..], &key[..]), ("listen", "smtp") | (_, "any_user"));
        let Some(value) = quoted(default) else { continue };
        match is_given {
            true => assert!(matches!(value, "[]" | "false"), "[{section}] {key}"),
            false => {
                let written = config(section, &format!("{key} = {value}"));
                assert_eq!(written, config(section, ""), "[{section}] {key} = {value}");
            }
        }
    }
    assert!(rows.iter().filter(|row| quoted(&row.default).is_some()).count() > 25);
}

#[test]
fn the_page_has_every_key_of_the_reader_and_no_other() {
    let source = read("src/config/keys.rs") + &read("src/config/milter.rs");
    // Readers of one key: `table.count("port", ...)`, `read("smtp")`; those of whole tables are none.
    let readers =
        ["parse", "list", "flag", "path", "count", "size", "duration", "require", "take", "read"];
    let tables = ["listen", "tls", "greylist", "milter"];
    let squeezed: String = source.split_whitespace().collect();
    let mut known = BTreeSet::new();
    for reader in readers {
        for rest in squeezed.split(&format!("{reader}(\"")).skip(1) {
            let key = rest.split('"').next().unwrap();
            if !tables.contains(&key) {
                known.insert(key.to_owned());
            }
        }
    }
    // Keys of an inline table stand in the row of that table.
    let inner = ["user", "password_file", "zone", "codes", "message"];
    for inner in inner {
        assert!(known.remove(inner), "{inner}");
    }
    let told: BTreeSet<String> = rows().into_iter().map(|row| row.key).collect();
    assert_eq!(told, known);
}

/// What stands in a page in blocks of a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let (page, fence) = (read(page), format!("\n```{language}\n"));
    let begun = page.split(&fence).skip(1);
    begun.map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect()
}

#[test]
fn each_configuration_for_several_machines_is_one() {
    let configs = blocks("docs/scale.md", "toml");
    let read = |text: &String| {
        Config::parse(text, Path::new("/etc/facteur/facteur.toml"))
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    };
    let [tree, dovecot, front] = &configs.iter().map(read).collect::<Vec<_>>()[..] else {
        panic!("{configs:#?}")
    };
    assert!(tree.domains.iter().all(|domain| domain.lmtp.is_none() && domain.dkim.is_some()));
    assert!(dovecot.domains.iter().all(|domain| domain.lmtp.is_some()));
    assert_eq!(front.relay.backup.len(), 1);
    // Each has a spool of its own, where the tree is not.
    for config in [tree, dovecot, front] {
        assert_eq!(config.spool, Path::new("/var/spool/facteur"));
    }
}

#[test]
fn the_index_of_these_tests_names_each_room() {
    let (index, main) = (read("tests/README.md"), read("tests/it/main.rs"));
    let rooms = main.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    for room in rooms {
        assert!(index.contains(&format!("\n| `{room}` | ")), "{room} is not in tests/README.md");
    }
}
