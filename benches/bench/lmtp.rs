//! Mail that another server keeps: facteur and Postfix take turns before a Dovecot that is set up alike for
//! both and new for each. Postfix says 250 before it hands on, facteur after: so a message counts for
//! the rate when it lies in a mailbox of Dovecot's, and what was acknowledged in a second stands beside it.

use crate::child::Child;
use crate::load::{self, Case};
use crate::options::Options;
use crate::peers::{Dovecot, FOLDER, Postfix};
use crate::rounds::Place;
use crate::samples::{self, Sample};
use crate::table::{self, Cell, median};
use crate::{Outcome, audit};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

/// More mailboxes than connections: Dovecot locks each while it puts a message there.
const CASE: Case =
    Case { name: "50 connections, kept", connections: 50, is_kept: true, boxes: 100 };

/// How long it may take until the last acknowledged message has arrived.
const PATIENCE: Duration = Duration::from_secs(120);

const CELLS: [Cell; 9] = [
    Cell { title: "by LMTP to Dovecot", width: 32 },
    Cell { title: "", width: 9 },
    Cell { title: "arrived/s", width: 10 },
    Cell { title: "from-to", width: 13 },
    Cell { title: "x Postfix", width: 11 },
    Cell { title: "said 250/s", width: 11 },
    Cell { title: "p50 ms", width: 8 },
    Cell { title: "CPU ms/msg", width: 12 },
    Cell { title: "Dovecot's", width: 11 },
];

/// One server in one round.
#[derive(Clone, Copy)]
struct Figures {
    /// Messages in a second that arrived.
    arrived: f64,
    /// Messages in a second that were acknowledged.
    acknowledged: f64,
    /// From the final dot to its 250, in milliseconds, the median.
    p50: f64,
    /// The server's time on processors for one message, and Dovecot's, in milliseconds.
    cpu: f64,
    dovecot: f64,
}

/// The two that hand on.
#[derive(Clone, Copy)]
enum Server {
    Postfix,
    Facteur,
}

pub fn run(options: &Options, place: &mut Place) -> Outcome<()> {
    // Postfix has to fill its queue and to empty it.
    let time = options.time * 2;
    table::say(&format!(
        "messages of {} octets for {} ms a figure, after a third of that for warming up; arrived: in a\n\
         mailbox of Dovecot's, all that was acknowledged and each once; {} mailboxes",
        samples::MESSAGE,
        time.as_millis(),
        CASE.boxes,
    ))?;
    table::say("")?;
    table::head(&CELLS)?;
    let (mut postfix, mut facteur) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        postfix.push(measure(Server::Postfix, &place.fresh()?, time)?);
        facteur.push(measure(Server::Facteur, &place.fresh()?, time)?);
    }
    let rate = |rounds: &[Figures]| median(rounds.iter().map(|round| round.arrived).collect());
    let share = rate(&facteur) / rate(&postfix);
    row(CASE.name, "Postfix", &postfix, "")?;
    row("", "facteur", &facteur, &format!("{share:.2}"))?;
    Ok(table::say("")?)
}

fn measure(server: Server, dir: &Path, time: Duration) -> Outcome<Figures> {
    let dovecot = Dovecot::start(dir)?;
    let (mail, numbers) = (dir.join("mail"), AtomicU64::new(0));
    let (figures, sent) = match server {
        Server::Postfix => {
            let postfix = Postfix::start(dir, &dovecot.socket)?;
            watch(postfix.address, &mail, time, &numbers, || Ok([postfix.cpu()?, dovecot.cpu()?]))
        }
        Server::Facteur => {
            let keeper = format!("lmtp = \"unix:{}\"\n", dovecot.socket.display());
            let facteur = Child::facteur(dir, &keeper, "")?;
            watch(facteur.address, &mail, time, &numbers, || Ok([facteur.cpu()?, dovecot.cpu()?]))
        }
    }?;
    drop(dovecot);
    audit::check(&mail, FOLDER, &sent, "")?;
    Ok(figures)
}

/// Sends mail for a while, and waits until all of it has arrived; gives the numbers of what was acknowledged too.
fn watch(
    address: SocketAddr,
    mail: &Path,
    time: Duration,
    numbers: &AtomicU64,
    cpu: impl Fn() -> Outcome<[Duration; 2]>,
) -> Outcome<(Figures, Vec<u64>)> {
    let mut sent = load::warm_up(address, &CASE, &Sample::Plain, numbers)?;
    // Processes are started, connections made.
    sent.extend(load::run(address, &CASE, &Sample::Plain, time / 3, numbers)?.acknowledged);
    arrival(mail, sent.len())?;
    let before = cpu()?;
    let load = load::run(address, &CASE, &Sample::Plain, time, numbers)?;
    sent.extend_from_slice(&load.acknowledged);
    arrival(mail, sent.len())?;
    let took = load.began.elapsed();
    let (after, count) = (cpu()?, load.waits.len());
    let cost = |of: usize| (after[of] - before[of]).as_secs_f64() * 1e3 / count as f64;
    let figures = Figures {
        arrived: count as f64 / took.as_secs_f64(),
        acknowledged: load.rate,
        p50: load.waits[count / 2].as_secs_f64() * 1e3,
        cpu: cost(0),
        dovecot: cost(1),
    };
    Ok((figures, sent))
}

/// Waits until so many messages are there.
fn arrival(mail: &Path, expected: usize) -> Outcome<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let arrived = arrived(mail)?;
        if arrived >= expected {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{arrived} of {expected} messages have arrived").into());
        }
        // Seldom enough that it costs the servers nothing.
        thread::sleep(Duration::from_millis(20));
    }
}

fn arrived(mail: &Path) -> io::Result<usize> {
    let mut count = 0;
    for mailbox in fs::read_dir(mail)? {
        count += audit::messages(&mailbox?.path().join(FOLDER))?.len();
    }
    Ok(count)
}

fn row(case: &str, server: &str, rounds: &[Figures], share: &str) -> io::Result<()> {
    let of = |figure: fn(&Figures) -> f64| median(rounds.iter().map(figure).collect());
    let lowest = rounds.iter().map(|round| round.arrived).fold(f64::INFINITY, f64::min);
    let highest = rounds.iter().map(|round| round.arrived).fold(0.0, f64::max);
    let texts = [
        case.to_owned(),
        server.to_owned(),
        format!("{:.0}", of(|f| f.arrived)),
        format!("{lowest:.0}-{highest:.0}"),
        share.to_owned(),
        format!("{:.0}", of(|f| f.acknowledged)),
        format!("{:.2}", of(|f| f.p50)),
        format!("{:.2}", of(|f| f.cpu)),
        format!("{:.2}", of(|f| f.dovecot)),
    ];
    table::row(&CELLS, &texts)
}
