//! Mail that another server keeps: facteur and Postfix take turns before a Dovecot that is set up alike for
//! both and new for each. Postfix says 250 before it hands on, facteur after: so a message counts for
//! the rate when it lies in a mailbox of Dovecot's, and what was acknowledged in a second stands beside it.

use crate::arrival::{self, Shelves};
use crate::child::Child;
use crate::load::Case;
use crate::options::Options;
use crate::peers::{Dovecot, Duty, FOLDER, Postfix};
use crate::rounds::Place;
use crate::samples::{self, Sample};
use crate::table::{self, Cell, median};
use crate::{Outcome, audit};
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// More mailboxes than connections: Dovecot locks each while it puts a message there.
const CASE: Case =
    Case { name: "50 connections, kept", connections: 50, is_kept: true, boxes: 100 };

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
    let mail = dir.join("mail");
    let shelves = Shelves { mail: &mail, folder: FOLDER };
    let what = (&CASE, &Sample::Plain);
    let arrived = match server {
        Server::Postfix => {
            let duty = Duty::hand_on(&dovecot.socket);
            let postfix = Postfix::start(dir, &duty, |_, program| Command::new(program))?;
            let cost = || Ok([postfix.cpu()?, dovecot.cpu()?]);
            arrival::watch(postfix.address, what, shelves, time, cost)
        }
        Server::Facteur => {
            let keeper = format!("lmtp = \"unix:{}\"\n", dovecot.socket.display());
            let facteur = Child::facteur(dir, &keeper, "")?;
            let cost = || Ok([facteur.cpu()?, dovecot.cpu()?]);
            arrival::watch(facteur.address, what, shelves, time, cost)
        }
    }?;
    drop(dovecot);
    audit::check(&mail, FOLDER, &arrived.sent, &[])?;
    let [before, after] = arrived.costs;
    let cost = |of: usize| (after[of] - before[of]).as_secs_f64() * 1e3 / arrived.count() as f64;
    Ok(Figures {
        arrived: arrived.rate(),
        acknowledged: arrived.load.rate,
        p50: arrived.load.share(0.5),
        cpu: cost(0),
        dovecot: cost(1),
    })
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
