//! Mail end to end: floor and facteur take turns on one disk, so that whatever else the machine does meets
//! both, and medians leave out the worst of it.

use crate::child::{Child, MAILDIR};
use crate::load::{self, Case};
use crate::options::{Mail, Options};
use crate::samples::Sample;
use crate::shelf::{BOXES, Price, price};
use crate::table::{self, Cell, median};
use crate::{Outcome, audit, filtered, lmtp, machine, samples, signed};
use nix::unistd::syncfs;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

const CASES: [Case; 4] = [
    Case { name: "1 connection, kept", connections: 1, is_kept: true, boxes: BOXES },
    Case { name: "10 connections, kept", connections: 10, is_kept: true, boxes: BOXES },
    Case { name: "50 connections, kept", connections: 50, is_kept: true, boxes: BOXES },
    Case { name: "50 at a time, one message each", connections: 50, is_kept: false, boxes: BOXES },
];

/// One server in one case and round, or the medians of several.
#[derive(Clone, Copy)]
pub struct Figures {
    /// Messages in a second.
    pub rate: f64,
    /// From the final dot to its 250, in milliseconds.
    pub p50: f64,
    pub p99: f64,
    /// The server's time on processors for one message, in milliseconds.
    pub cpu: f64,
}

pub fn run(options: &Options) -> Outcome<()> {
    let mut place = Place::make(&options.dir)?;
    table::say(&machine::disk(&place.dir))?;
    match options.mail {
        Mail::Signed => return signed::run(options, &mut place),
        Mail::Filtered => return filtered::run(options, &mut place),
        Mail::Lmtp => return lmtp::run(options, &mut place),
        Mail::All | Mail::None => {}
    }
    let price = price(&place.fresh()?.join("mail"), &samples::message(0))?;
    introduce(options, &price)?;
    table::head(&CELLS)?;
    for case in &CASES {
        let (mut floor, mut facteur) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            let dir = place.fresh()?;
            let server = Child::floor(&dir, price.syncfs_from)?;
            let found = measure(server, &dir, case, &Sample::Plain, options.time, &[]);
            floor.push(found.map_err(|error| format!("floor, {}: {error}", case.name))?);
            let dir = place.fresh()?;
            let server = Child::facteur(&dir, MAILDIR, "")?;
            let found = measure(server, &dir, case, &Sample::Plain, options.time, &[]);
            facteur.push(found.map_err(|error| format!("facteur, {}: {error}", case.name))?);
        }
        rows(case, &floor, &facteur)?;
    }
    table::say("")?;
    signed::run(options, &mut place)
}

/// Sends mail to a server for a while, kills it, and counts what is there; each message has to hold all `parts`.
pub fn measure(
    server: Child,
    dir: &Path,
    case: &Case,
    mail: &Sample,
    time: Duration,
    parts: &[&str],
) -> Outcome<Figures> {
    let numbers = AtomicU64::new(0);
    let mut sent = load::warm_up(server.address, case, mail, &numbers)?;
    let before = server.cpu()?;
    let load = load::run(server.address, case, mail, time, &numbers)?;
    let cpu = server.cpu()? - before;
    drop(server);
    sent.extend_from_slice(&load.acknowledged);
    audit::check(&dir.join("mail"), "new", &sent, parts)?;
    Ok(Figures {
        rate: load.rate,
        p50: load.share(0.5),
        p99: load.share(0.99),
        cpu: cpu.as_secs_f64() * 1e3 / load.waits.len() as f64,
    })
}

pub fn medians(rounds: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| median(rounds.iter().map(figure).collect());
    Figures { rate: of(|f| f.rate), p50: of(|f| f.p50), p99: of(|f| f.p99), cpu: of(|f| f.cpu) }
}

fn introduce(options: &Options, price: &Price) -> io::Result<()> {
    let way = match price.syncfs_from {
        1 => "syncfs".to_owned(),
        usize::MAX => "fsync".to_owned(),
        from => format!("syncfs from {from} messages at once"),
    };
    table::say(&format!(
        "one message made durable there: {:.2} ms by fsync, {:.2} by syncfs; the floor uses {way}, and\n\
         on any disk it syncs twice, octets and then names\n\
         messages of {} octets for {} ms a figure; floor and facteur in turns, {} times, medians;\n\
         ms: from the final dot to its 250; from-to: slowest and fastest round (far apart: the machine\n\
         had other work); after each server was killed, all that it had acknowledged was in new/, once",
        price.each.as_secs_f64() * 1e3,
        price.whole.as_secs_f64() * 1e3,
        samples::MESSAGE,
        options.time.as_millis(),
        options.rounds
    ))?;
    table::say("")
}

/// The columns of [`row`]: what is measured, and of what the rate is a share.
pub const fn cells(what: &'static str, share: &'static str) -> [Cell; 8] {
    [
        Cell { title: what, width: 32 },
        Cell { title: "", width: 9 },
        Cell { title: "msgs/s", width: 8 },
        Cell { title: "from-to", width: 13 },
        Cell { title: share, width: 11 },
        Cell { title: "p50 ms", width: 8 },
        Cell { title: "p99 ms", width: 8 },
        Cell { title: "CPU ms/msg", width: 12 },
    ]
}

const CELLS: [Cell; 8] = cells("mail end to end", "of floor");

/// A row for each of the two, one above the other.
fn rows(case: &Case, floor: &[Figures], facteur: &[Figures]) -> io::Result<()> {
    let share = medians(facteur).rate / medians(floor).rate;
    row(&CELLS, case.name, "floor", floor, &[String::new()])?;
    row(&CELLS, "", "facteur", facteur, &[format!("{share:.2}")])
}

/// `shares`: of what the rate is a share, a text for each such column.
pub fn row(
    cells: &[Cell],
    case: &str,
    server: &str,
    rounds: &[Figures],
    shares: &[String],
) -> io::Result<()> {
    let median = medians(rounds);
    let lowest = rounds.iter().map(|round| round.rate).fold(f64::INFINITY, f64::min);
    let highest = rounds.iter().map(|round| round.rate).fold(0.0, f64::max);
    let mut texts = vec![
        case.to_owned(),
        server.to_owned(),
        format!("{:.0}", median.rate),
        format!("{lowest:.0}-{highest:.0}"),
    ];
    texts.extend_from_slice(shares);
    texts.extend([median.p50, median.p99, median.cpu].map(|figure| format!("{figure:.2}")));
    table::row(cells, &texts)
}

/// A directory of this run, removed when it is dropped; and how many servers have worked in it.
pub struct Place {
    dir: PathBuf,
    servers: usize,
}

impl Place {
    fn make(dir: &Path) -> Outcome<Place> {
        // Without links, so that it is found among the mount points.
        let dir = fs::canonicalize(dir)
            .map_err(|error| format!("no mail can be kept in {}: {error}", dir.display()))?;
        let place = dir.join(format!("facteur-bench-{}", process::id()));
        fs::create_dir(&place)
            .map_err(|error| format!("no mail can be kept in {}: {error}", dir.display()))?;
        Ok(Place { dir: place, servers: 0 })
    }

    /// An empty directory. What was there before stays until the end: on ext4 without a journal, whoever
    /// makes files next pays for each that was removed in the last half minute.
    pub fn fresh(&mut self) -> Outcome<PathBuf> {
        self.servers += 1;
        let dir = self.dir.join(format!("server-{}", self.servers));
        fs::create_dir(&dir)?;
        // No sync of this server pays for what the last one left.
        syncfs(File::open(&dir)?)?;
        Ok(dir)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}
