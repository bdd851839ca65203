//! The closing lines of `cargo test`: how many tests were skipped, and for want of which program.
//!
//! `cargo test` starts the test programs in the order of their names, and all are its children: tests that are
//! skipped (`tests/it/support.rs`) leave a line in a file that bears cargo's process id, which is read here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::parent_id;
use std::path::Path;

fn main() {
    // A test runner that lists tests first finds none here.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("skipped.{}", parent_id()));
    let lines = fs::read_to_string(&file).unwrap_or_default();
    let _ = fs::remove_file(&file);
    let mut reasons: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (test, why) in lines.lines().filter_map(|line| line.split_once('\t')) {
        reasons.entry(why).or_default().insert(test);
    }
    let tests: BTreeSet<&str> = reasons.values().flatten().copied().collect();
    println!("\nskipped: {} tests{}", tests.len(), if tests.is_empty() { "" } else { ", because" });
    for (why, tests) in &reasons {
        println!("  {:>3}  {why}", tests.len());
    }
    println!();
}
