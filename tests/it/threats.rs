//! `docs/threats.md` and the tests that it names: each is there.

use std::fs;
use std::path::Path;

/// Sources in which a test of that path may stand: `a::b::tests` is `src/a/b.rs` or `src/a/b/tests.rs`.
fn sources(modules: &[&str]) -> Vec<String> {
    let path = modules.join("/");
    let outer = path.strip_suffix("/tests").map(|outer| format!("src/{outer}.rs"));
    let inside = ["tests/it/{}.rs", "tests/it/{}/mod.rs", "src/{}.rs", "src/{}/mod.rs"]
        .map(|place| place.replace("{}", &path));
    inside.into_iter().chain(outer).collect()
}

fn is_there(name: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if name.ends_with(".txt") {
        return root.join("tests/dialogs").join(name).is_file();
    }
    let parts: Vec<&str> = name.split("::").collect();
    let Some((test, modules)) = parts.split_last() else { return false };
    let texts = sources(modules).into_iter();
    let texts = texts.filter_map(|path| fs::read_to_string(root.join(path)).ok());
    // Those of `proptest!` have arguments.
    let function = format!("fn {test}(");
    texts.into_iter().any(|text| {
        let before = text.find(&function).map(|at| text[..at].trim_end());
        before.is_some_and(|before| before.ends_with("#[test]"))
    })
}

#[test]
fn each_answer_is_shown_by_a_test_that_is_there() {
    let page = fs::read_to_string("docs/threats.md").expect("tests run in the crate's folder");
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.ends_with("Shown by |"));
    let mut count = 0;
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        assert_eq!(cells.len(), 3, "{row}");
        let names: Vec<&str> = cells[2].split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for name in &names {
            assert!(is_there(name), "no test is called {name}: {row}");
        }
        count += names.len();
    }
    assert!(count > 80, "only {count} tests were found");
    assert!(!is_there("limits::no_such_test") && !is_there("limits/no-such-dialog.txt"));
}
