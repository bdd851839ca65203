//! Every moment of a log, every state that a power cut may leave at it, and a restart from each.

use super::invariants::{Promises, check};
use super::log::{Entry, What};
use super::states::{Depth, Loose};
use super::workloads::Record;
use crate::support::Dice;
use std::collections::HashSet;

/// Which moments of a log are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Moments {
    All,
    /// Those when somebody is told anything, and the last.
    Told,
}

/// Gives how many there are: choices of what was lost, each at one moment of the disk. The error says which state breaks which invariant, after what.
pub fn replay(
    record: &Record,
    log: &[Entry],
    moments: Moments,
    depth: Depth,
    seed: u64,
) -> Result<usize, String> {
    let mut loose = Loose::new(&record.before, &record.after);
    let (mut promises, mut dice) = (Promises::default(), Dice::new(seed));
    let (mut states, mut seen) = (0, HashSet::new());
    for (at, entry) in log.iter().enumerate() {
        let has_changed = loose.take(entry);
        promises.take(entry);
        let is_told = matches!(entry.what, What::Mark(_));
        let is_wanted = match moments {
            Moments::All => has_changed || is_told,
            Moments::Told => is_told || at + 1 == log.len(),
        };
        if !is_wanted {
            continue;
        }
        let (choices, promised) = (loose.choices(), promises.hash());
        for choice in choices.each(depth, &mut dice) {
            // What somebody is told between two operations changes no disk.
            states += usize::from(has_changed);
            let tree = loose.state(&choices, &choice);
            if !seen.insert((tree.hash(), promised)) {
                continue;
            }
            check(tree, &promises, &record.known).map_err(|broken| {
                let state = loose.describe(&choices, &choice);
                let log = told(&log[..=at]);
                format!(
                    "{}: {broken}\nseed {seed}, after {} of {} steps, where\n{state}the steps:\n{log}",
                    record.name,
                    at + 1,
                    log.len()
                )
            })?;
        }
    }
    Ok(states)
}

/// A log, for people.
fn told(log: &[Entry]) -> String {
    let line = |(at, entry): (usize, &Entry)| {
        let Entry { name, path, phase, what } = entry;
        let what = match what {
            What::Begin(_) => "begins".to_owned(),
            What::End(_, _, true) => "is done".to_owned(),
            What::End(_, _, false) => "has failed".to_owned(),
            What::Append(_, octets) => format!("{} octets", octets.len()),
            What::Mark(mark) => format!("{mark:?}"),
            What::Name(..) | What::Rename(..) => String::new(),
        };
        format!("  {:4} {phase}: {name} {} {what}\n", at + 1, path.display())
    };
    log.iter().enumerate().map(line).collect()
}
