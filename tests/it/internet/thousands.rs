//! Ten thousand messages that wait: they cost a start nothing, no work while they wait, and little
//! memory.

use super::{Net, post};
use crate::abuse::memory;
use crate::commands::run;
use crate::metrics;
use crate::servers::{Binary, FACTEUR};
use crate::support::{Place, until};
use facteur::store::entry::{Entry, JournalLine, What};
use jiff::{SignedDuration, Timestamp};
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

const MANY: usize = 10_000;

/// A queue of messages that were deferred a moment ago.
fn fill(place: &Place, messages: usize) {
    let queue = place.at("spool/queue");
    fs::create_dir_all(&queue).unwrap();
    let now = Timestamp::now();
    let queued = now - SignedDuration::from_secs(100);
    let message = "Received: from x\nSubject: hi\n\nhello\n";
    for number in 0..messages {
        let id = format!("m{number:013}");
        let header = format!(
            "facteur queue 1\nid: {id}\nqueued: {queued}\nsession: s1\nfrom: <ann@mx.test>\n\
             to: <x{number}@far{}.test>\nsize: {}\n",
            number % 50,
            message.len()
        );
        let header = Entry::parse(&header, 0).unwrap().header();
        let line = JournalLine {
            when: now,
            recipient: 0,
            what: What::Deferred,
            host: "mx.far.test[127.0.0.99]:25".to_owned(),
            words: "4.4.1 cannot be reached: Connection refused (connecting)".to_owned(),
        };
        fs::write(queue.join(&id), format!("{header}{message}{line}\n")).unwrap();
    }
}

/// User and system time of a process, in ticks.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Behind the name, which may hold anything: the 14th and 15th of all.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn ten_thousand_that_wait_are_no_burden() {
    let (place, net) = (Place::new(), Net::new(&[""]));
    net.dns.set("well.test A 127.0.0.2\n* A 127.0.0.99");
    fill(&place, MANY);
    let file = place.write("facteur.toml", net.config("retry = [\"1h\"]", ""));
    let began = Instant::now();
    let mut command = Command::new(FACTEUR);
    command.arg("-c").arg(file).arg("serve");
    let server = Binary::start(command);
    let mut client = server.client();
    let banner = began.elapsed();
    client.expect("NOOP", "250");
    // While it still reads the queue, new mail is not held up.
    post(&server, &["x@well.test"]);
    server.wait_for(&["relayed ", "to=x@well.test"]);
    let began = Instant::now();
    let (status, out, _) = run(&place, &["queue", "list"]);
    let list = began.elapsed();
    // Nobody may be asked, so nothing happens: two looks at the clock of a process at rest.
    let pid = server.pid();
    let mut before = ticks(pid);
    let mut rest = Duration::ZERO;
    let rested = crate::support::within(crate::support::PATIENCE, || {
        let (from, began) = (before, Instant::now());
        std::thread::sleep(Duration::from_secs(2));
        (before, rest) = (ticks(pid), began.elapsed());
        before - from <= 1
    });
    eprintln!(
        "banner {banner:?}, list {list:?}, resident {} KiB, still for {rest:?}",
        memory(pid, "VmRSS")
    );
    assert!(rested, "it never rests");
    assert_eq!((status, out.lines().filter(|line| line.starts_with('m')).count()), (0, MANY));
    // A fifth of a second is what it may take where nothing else runs.
    let (slow, large) = if cfg!(debug_assertions) { (20, 4) } else { (10, 1) };
    let bound = Duration::from_millis(200) * slow;
    assert!(banner < bound && list < bound, "{banner:?} to the banner, {list:?} for the list");
    assert!(memory(pid, "VmRSS") < 12 * 1024 * large, "{} KiB", memory(pid, "VmRSS"));
    server.stop();
}

/// So a hundred thousand of them take less than 24 MiB beside what a server takes at rest.
#[test]
fn each_that_waits_takes_a_few_octets_of_memory() {
    let taken = |messages: usize| {
        let place = Place::new();
        fill(&place, messages);
        let more = "[relay]\nnetworks = [\"127.0.0.0/8\"]\nretry = [\"1h\"]";
        let (server, address) = metrics::serve(&place, more);
        let known = format!("facteur_queue{{state=\"deferred\"}} {messages}\n");
        until("it knows them all", || metrics::get(address, "/metrics").1.contains(&known));
        let taken = memory(server.pid(), "RssAnon") * 1024;
        server.stop();
        taken
    };
    // As many as make what else differs between two servers small: a thread's stack, or an arena.
    let messages = 2 * MANY;
    let each = taken(messages).saturating_sub(taken(0)) / messages as u64;
    eprintln!("{each} octets for each message");
    assert!(each < 250, "{each} octets for each message");
}

/// All of them are due, and the next hop refuses: each is put off, none is lost, and mail for others
/// goes on.
#[test]
fn ten_thousand_that_are_due_hold_up_nobody() {
    let (place, net) = (Place::new(), Net::new(&[""]));
    net.dns.set("well.test A 127.0.0.2");
    fill(&place, MANY);
    let port = net.port;
    let route = format!(
        "[relay.route]\n\".test\" = \"127.0.0.99:{port}\"\n\"well.test\" = \"127.0.0.2:{port}\"\n"
    );
    let server = Binary::serve(&place, &net.config("retry = [\"1h\"]", &route));
    server.signal("USR1");
    let began = Instant::now();
    for _ in 0..10 {
        post(&server, &["x@well.test"]);
    }
    super::wait_for_count(&server, &["relayed ", "to=x@well.test"], 10);
    let took = began.elapsed();
    super::wait_for_count(&server, &["deferred "], MANY);
    eprintln!("ten for a living host {took:?}, all put off after {:?}", began.elapsed());
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(super::queue(&place).len(), MANY);
    server.stop();
}
