//! What the benchmark is asked for, by arguments and by the environment.

use crate::Outcome;
use lexopt::prelude::*;
use std::env;
use std::path::PathBuf;
use std::time::Duration;

pub const HELP: &str = "\
cargo bench                    mail end to end beside the floor of the disk, then the micro-benchmarks
cargo bench -- --quick         the same in a few seconds, with figures that are only a hint
cargo bench -- --signed        signed mail of strangers, judged and not, alone; as root beside Postfix with opendkim,
                               opendmarc and policyd-spf (Debian's python3-spf-engine), where those are installed;
                               Postfix may be unpacked in FACTEUR_POSTFIX
cargo bench -- --filtered      what filters cost, which no other run measures
cargo bench -- --lmtp          mail handed on to Dovecot by LMTP, beside Postfix, alone; as root, with Debian's
                               dovecot-lmtpd, and Postfix installed or unpacked in FACTEUR_POSTFIX
cargo bench -- --micro         the micro-benchmarks alone
FACTEUR_BENCH_DIR=DIR          keep the mail there, on the disk that is meant, about half a GB a round
                               until it ends; default: Cargo's target directory
FACTEUR_BENCH_ROUNDS=N         how often floor and facteur take turns; default 3
";

/// The environment's rounds at most: what is beyond is a slip of the hand.
const ROUNDS_MAX: usize = 1000;

pub enum Work {
    Help,
    Bench(Options),
    /// Be the floor: this program starts itself, so that the floor is a process of its own as facteur is.
    Floor {
        mail: PathBuf,
        syncfs_from: usize,
    },
}

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mail {
    All,
    Signed,
    Filtered,
    Lmtp,
    None,
}

pub struct Options {
    pub mail: Mail,
    /// Where a directory for it is made.
    pub dir: PathBuf,
    pub rounds: usize,
    /// How long mail is sent for one figure of one round. A time and not a number of messages: a slow
    /// disk would take minutes for what a fast one does in a second.
    pub time: Duration,
    /// Samples of each micro-benchmark.
    pub samples: usize,
}

pub fn read() -> Outcome<Work> {
    let (mut is_quick, mut by_cargo_bench, mut mail) = (false, false, Mail::All);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(Work::Help),
            Long("quick") => is_quick = true,
            Long("signed") => mail = Mail::Signed,
            Long("filtered") => mail = Mail::Filtered,
            Long("lmtp") => mail = Mail::Lmtp,
            Long("micro") => mail = Mail::None,
            // Cargo's own.
            Long("bench") => by_cargo_bench = true,
            Long("test") => is_quick = true,
            Value(word) if word == "floor" => {
                let mail = arguments.value()?.into();
                let syncfs_from = arguments.value()?.parse()?;
                return Ok(Work::Floor { mail, syncfs_from });
            }
            other => return Err(format!("{}\n{HELP}", other.unexpected()).into()),
        }
    }
    // `cargo test --benches` says nothing, and wants to see that it runs.
    let is_quick = is_quick || !by_cargo_bench;
    let dir =
        env::var_os("FACTEUR_BENCH_DIR").map_or(env!("CARGO_TARGET_TMPDIR").into(), Into::into);
    let (rounds, time, samples) = match is_quick {
        true => (1, Duration::from_millis(200), 10),
        false => (3, Duration::from_millis(1500), 150),
    };
    Ok(Work::Bench(Options { mail, dir, rounds: rounds_or(rounds)?, time, samples }))
}

fn rounds_or(default: usize) -> Outcome<usize> {
    let Some(asked) = env::var_os("FACTEUR_BENCH_ROUNDS") else { return Ok(default) };
    let rounds = asked.to_str().and_then(|text| text.parse().ok());
    let rounds = rounds.filter(|rounds| (1..=ROUNDS_MAX).contains(rounds));
    let wrong =
        || format!("FACTEUR_BENCH_ROUNDS={asked:?}: a number from 1 to {ROUNDS_MAX} is expected");
    Ok(rounds.ok_or_else(wrong)?)
}
