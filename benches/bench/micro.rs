//! How fast the pure parts read and write, in octets a second: the rate at which mail could pass if there
//! were neither disk nor network.

mod reading;
mod session;
mod writing;

use crate::Outcome;
use crate::table::{self, Cell, median};
use std::time::{Duration, Instant};

/// Samples of each; the median of so many does not care for one that was disturbed.
const SAMPLES: usize = 7;

/// Something to be done again and again.
struct Case<'a> {
    name: &'static str,
    /// Octets that are read, or written, each time.
    octets: usize,
    work: Box<dyn FnMut() + 'a>,
}

impl<'a> Case<'a> {
    fn new(name: &'static str, octets: usize, work: impl FnMut() + 'a) -> Case<'a> {
        Case { name, octets, work: Box::new(work) }
    }

    /// Seconds that it takes once: the median of samples that last so long each.
    fn time(&mut self, sample: Duration) -> f64 {
        // As often as a sample is long; the first attempts also warm the caches.
        let mut times = 1;
        while self.sample(times) < sample.as_secs_f64() / 2.0 {
            times *= 2;
        }
        let samples = (0..SAMPLES).map(|_| self.sample(times) / times as f64);
        median(samples.collect())
    }

    fn sample(&mut self, times: u64) -> f64 {
        let began = Instant::now();
        (0..times).for_each(|_| (self.work)());
        began.elapsed().as_secs_f64()
    }
}

const CELLS: [Cell; 4] = [
    Cell { title: "octets a second, in memory", width: 52 },
    Cell { title: "MB/s", width: 9 },
    Cell { title: "octets", width: 8 },
    Cell { title: "µs", width: 9 },
];

/// Measures and prints all of them.
pub fn run(sample: Duration) -> Outcome<()> {
    let mut cases = reading::cases()?;
    cases.extend(session::cases()?);
    cases.extend(writing::cases()?);
    table::head(&CELLS);
    for mut case in cases {
        let seconds = case.time(sample);
        table::row(
            &CELLS,
            &[
                case.name.to_owned(),
                format!("{:.0}", case.octets as f64 / seconds / 1e6),
                case.octets.to_string(),
                format!("{:.2}", seconds * 1e6),
            ],
        );
    }
    Ok(())
}
