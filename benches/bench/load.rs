//! Clients: blocking, a thread for each connection, one command at a time as the plainest of senders.

use crate::samples::Sample;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may say nothing.
const SILENCE: Duration = Duration::from_secs(60);

pub struct Case {
    pub name: &'static str,
    pub connections: usize,
    /// One message follows the other on a connection; else each has a connection of its own.
    pub is_kept: bool,
    /// Mailboxes that the mail is spread over, `u0` and so on.
    pub boxes: usize,
}

/// What a server did in the time it was given.
pub struct Load {
    /// When the first message was sent.
    pub began: Instant,
    /// Messages in a second.
    pub rate: f64,
    /// From the final dot to its 250, shortest first.
    pub waits: Vec<Duration>,
    /// Numbers of the messages that were acknowledged.
    pub acknowledged: Vec<u64>,
}

/// One message for each mailbox, before anything counts: a Maildir is made once.
pub fn warm_up(
    address: SocketAddr,
    case: &Case,
    mail: &Sample,
    numbers: &AtomicU64,
) -> io::Result<Vec<u64>> {
    let mut client = Client::greet(address)?;
    let one = |_| client.send(case, mail, numbers).map(|(number, _)| number);
    let acknowledged: io::Result<Vec<u64>> = (0..case.boxes).map(one).collect();
    client.quit()?;
    acknowledged
}

/// Sends for so long; a message that is under way at the end is waited for.
pub fn run(
    address: SocketAddr,
    case: &Case,
    mail: &Sample,
    time: Duration,
    numbers: &AtomicU64,
) -> io::Result<Load> {
    let start = Barrier::new(case.connections + 1);
    let (mut waits, mut acknowledged) = (Vec::new(), Vec::new());
    let (began, took) = thread::scope(|scope| {
        let client = || {
            // Who is kept is there before the clock runs. Its error waits until all are at the line.
            let kept = case.is_kept.then(|| Client::greet(address));
            start.wait();
            let deadline = Instant::now() + time;
            match kept {
                Some(client) => one_after_the_other(client?, case, mail, numbers, deadline),
                None => one_each(address, case, mail, numbers, deadline),
            }
        };
        let clients: Vec<_> = (0..case.connections).map(|_| scope.spawn(client)).collect();
        start.wait();
        let began = Instant::now();
        for client in clients {
            let sent = client.join().map_err(|_| io::Error::other("a client panicked"))??;
            waits.extend(sent.iter().map(|(_, wait)| *wait));
            acknowledged.extend(sent.iter().map(|(number, _)| *number));
        }
        io::Result::Ok((began, began.elapsed()))
    })?;
    // There is no median of nothing.
    if waits.is_empty() {
        return Err(io::Error::other(format!("not one message was sent in {time:?}")));
    }
    waits.sort();
    let rate = waits.len() as f64 / took.as_secs_f64();
    Ok(Load { began, rate, waits, acknowledged })
}

impl Load {
    /// How long that part of them waited at most, in milliseconds: 0.5 for the median.
    pub fn share(&self, part: f64) -> f64 {
        let last = self.waits.len() - 1;
        self.waits[(last as f64 * part) as usize].as_secs_f64() * 1e3
    }
}

type Sent = Vec<(u64, Duration)>;

fn one_after_the_other(
    mut client: Client,
    case: &Case,
    mail: &Sample,
    numbers: &AtomicU64,
    deadline: Instant,
) -> io::Result<Sent> {
    let mut sent = Sent::new();
    while Instant::now() < deadline {
        sent.push(client.send(case, mail, numbers)?);
    }
    client.quit()?;
    Ok(sent)
}

fn one_each(
    address: SocketAddr,
    case: &Case,
    mail: &Sample,
    numbers: &AtomicU64,
    deadline: Instant,
) -> io::Result<Sent> {
    let mut sent = Sent::new();
    while Instant::now() < deadline {
        let mut client = Client::greet(address)?;
        sent.push(client.send(case, mail, numbers)?);
        client.quit()?;
    }
    Ok(sent)
}

struct Client {
    stream: BufReader<TcpStream>,
    reply: String,
}

impl Client {
    fn greet(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        let mut client = Client { stream: BufReader::new(stream), reply: String::new() };
        client.expect("220", "a connection")?;
        client.say("EHLO client.example", "250")?;
        Ok(client)
    }

    /// Sends one message; gives its number and how long it waited for the 250.
    fn send(
        &mut self,
        case: &Case,
        mail: &Sample,
        numbers: &AtomicU64,
    ) -> io::Result<(u64, Duration)> {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let mailbox = number % case.boxes as u64;
        self.say("MAIL FROM:<sender@client.example>", "250")?;
        self.say(&format!("RCPT TO:<u{mailbox}@bench.test>"), "250")?;
        self.say("DATA", "354")?;
        let mut octets = mail.message(number);
        octets.extend_from_slice(b".\r\n");
        self.stream.get_mut().write_all(&octets)?;
        let sent = Instant::now();
        self.expect("250", "a message")?;
        Ok((number, sent.elapsed()))
    }

    fn quit(&mut self) -> io::Result<()> {
        self.say("QUIT", "221")
    }

    fn say(&mut self, line: &str, code: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes())?;
        self.expect(code, line)
    }

    /// Reads a whole reply. Nothing here gives a reason for a refusal, so that each is a failure.
    fn expect(&mut self, code: &str, what: &str) -> io::Result<()> {
        loop {
            self.reply.clear();
            self.stream.read_line(&mut self.reply)?;
            if !self.reply.starts_with(code) {
                let reply = self.reply.trim_end();
                return Err(io::Error::other(format!("{what} was answered \"{reply}\"")));
            }
            if self.reply.as_bytes().get(3) == Some(&b' ') {
                return Ok(());
            }
        }
    }
}
