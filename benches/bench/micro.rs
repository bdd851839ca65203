//! How fast the pure parts read and write, in octets a second: the rate at which mail could pass if there
//! were neither disk nor network.

mod judging;
mod reading;
mod session;
mod signing;
mod writing;

use crate::Outcome;
use crate::table::{self, Cell};
use std::time::{Duration, Instant};

/// How long a sample lasts: shorter than a turn on the processor, so that many meet no other program.
const SAMPLE: Duration = Duration::from_millis(2);

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

    /// Seconds that it takes once: the best of so many samples, since whatever else runs only adds.
    fn time(&mut self, samples: usize) -> f64 {
        // As often as a sample is long; the first attempts also warm the caches.
        let mut times = 1;
        while self.sample(times) < SAMPLE.as_secs_f64() / 2.0 {
            times *= 2;
        }
        let samples = (0..samples).map(|_| self.sample(times) / times as f64);
        samples.fold(f64::INFINITY, f64::min)
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
pub fn run(samples: usize) -> Outcome<()> {
    let mut cases = reading::cases()?;
    cases.extend(session::cases()?);
    cases.extend(writing::cases()?);
    cases.extend(judging::cases()?);
    cases.extend(signing::cases()?);
    table::head(&CELLS)?;
    for mut case in cases {
        let seconds = case.time(samples);
        table::row(
            &CELLS,
            &[
                case.name.to_owned(),
                format!("{:.0}", case.octets as f64 / seconds / 1e6),
                case.octets.to_string(),
                format!("{:.2}", seconds * 1e6),
            ],
        )?;
    }
    Ok(())
}
