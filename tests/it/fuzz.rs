//! The targets of `fuzz/`, without a fuzzer: all their seeds, and as many mutations of those as take a
//! moment. `fuzz/run` looks for hours; what it finds becomes a seed.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use crate::support::{Dice, files};
use std::fs;
use std::path::{Path, PathBuf};
use targets::TARGETS;

/// Mutations of each target.
const ROUNDS: usize = 800;

/// Longest input that is made: what is cut octet by octet takes its time.
const LONGEST: usize = 2_000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let seeds = files(&folder().join("seeds").join(target));
    assert!((5..=30).contains(&seeds.len()), "{target} has {} seeds", seeds.len());
    seeds.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// The words of `tokens.dict`, which is written for libFuzzer.
fn tokens() -> Vec<Vec<u8>> {
    let text = fs::read_to_string(folder().join("tokens.dict")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| token(line).unwrap_or_else(|| panic!("{line}"))).collect()
}

fn token(line: &str) -> Option<Vec<u8>> {
    let mut parts = line.strip_prefix('"')?.strip_suffix('"')?.split("\\x");
    let mut octets = parts.next()?.as_bytes().to_vec();
    for part in parts {
        octets.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        octets.extend_from_slice(&part.as_bytes()[2..]);
    }
    Some(octets)
}

/// Shows the octets when a target panics: without them nobody can mend it.
struct Shown<'a>(&'a str, &'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the target {} was given \"{}\"", self.0, self.1.escape_ascii());
        }
    }
}

fn give(name: &str, octets: &[u8]) {
    let _shown = Shown(name, octets);
    targets::run(name, octets);
}

/// A few changes at once: octets, ends, pieces of others, words.
fn mutated(dice: &mut Dice, seeds: &[Vec<u8>], tokens: &[Vec<u8>]) -> Vec<u8> {
    let mut octets = seeds[dice.below(seeds.len())].clone();
    for _ in 0..=dice.below(5) {
        let at = dice.below(octets.len() + 1);
        let end = (at + dice.below(20)).min(octets.len());
        match dice.below(7) {
            0 if at < octets.len() => octets[at] ^= 1 << dice.below(8),
            1 => octets.insert(at, dice.below(256) as u8),
            2 => drop(octets.drain(at..end)),
            3 => {
                let again = octets[at..end].to_vec();
                octets.splice(at..at, again);
            }
            4 => octets.truncate(at),
            5 => {
                let other = &seeds[dice.below(seeds.len())];
                let from = dice.below(other.len() + 1);
                octets.splice(at..end, other[from..].iter().copied());
            }
            _ => drop(octets.splice(at..at, tokens[dice.below(tokens.len())].iter().copied())),
        }
    }
    octets.truncate(LONGEST);
    octets
}

#[test]
fn every_seed_holds() {
    for (name, _) in TARGETS {
        seeds(name).iter().for_each(|seed| give(name, seed));
    }
    let folders = files(&folder().join("seeds"));
    let names: Vec<_> = folders.iter().map(|path| path.file_name().unwrap()).collect();
    assert_eq!(names, TARGETS.map(|(name, _)| name), "a folder of seeds for each target");
}

#[test]
fn mutations_of_seeds_hold() {
    let tokens = tokens();
    for (name, _) in TARGETS {
        let (seeds, mut dice) = (seeds(name), Dice::new(1982));
        for _ in 0..ROUNDS {
            give(name, &mutated(&mut dice, &seeds, &tokens));
        }
    }
}

#[test]
fn every_target_has_its_program() {
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"\n")), "{name}");
        let program = fs::read_to_string(folder().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("run(\"{name}\", data)")), "{name}");
    }
}
