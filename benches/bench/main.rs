//! What facteur takes in a second, beside the least that the same disk asks of a server that keeps its word on any
//! file system; and how fast mail is read and written where neither disk nor network is in the way.
//!
//! `cargo bench` runs all of it in less than a minute, needs nothing installed, and leaves nothing behind.
//! Nothing is compared across runs or machines: the floor ([`floor`]) is measured in the same minute, on the
//! same disk, by the same clients, and the ratio of the two is what to watch.

mod arrival;
mod audit;
mod child;
mod filtered;
mod floor;
mod judges;
mod lmtp;
mod load;
mod machine;
mod micro;
mod names;
mod options;
mod peer;
mod peers;
mod rounds;
mod samples;
mod shelf;
mod signed;
mod table;

use options::{Mail, Options, Work};
use std::error::Error;
use std::process::ExitCode;

/// What a benchmark ends with that could not be run, or whose mail was not all there: one sentence.
type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let result = match options::read() {
        Ok(Work::Help) => table::say(options::HELP).map_err(Into::into),
        Ok(Work::Floor { mail, syncfs_from }) => floor::serve(&mail, syncfs_from),
        Ok(Work::Bench(options)) => bench(&options),
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &Options) -> Outcome<()> {
    table::say(&machine::facts())?;
    if options.mail != Mail::None {
        rounds::run(options)?;
    }
    match options.mail {
        Mail::Signed | Mail::Filtered | Mail::Lmtp => Ok(()),
        Mail::All | Mail::None => micro::run(options.samples),
    }
}
