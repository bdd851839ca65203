//! What a filter costs. facteur takes turns with itself: no filter, one that answers every step at once, one that
//! only answers at the end of a message, as rspamd does; and a filter of other sessions that has stopped
//! answering.

use crate::child::{Child, MAILDIR};
use crate::load::Case;
use crate::options::Options;
use crate::rounds::{Place, cells, measure, medians, row};
use crate::samples::Sample;
use crate::shelf::BOXES;
use crate::table::{self, Cell};
use crate::{Outcome, samples};
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

const CASE: Case =
    Case { name: "50 connections, kept", connections: 50, is_kept: true, boxes: BOXES };

const CELLS: [Cell; 8] = cells("mail that filters see", "of none");

/// Sessions that wait for the filter that has stopped.
const HELD: usize = 50;

/// How a filter answers.
#[derive(Clone, Copy)]
enum Manner {
    /// Each step.
    Steps,
    /// The end of the message; before it nobody waits for a word.
    End,
    /// Nothing, not even the negotiation.
    Never,
}

const MANNERS: [(&str, Option<Manner>); 4] = [
    ("none", None),
    ("steps", Some(Manner::Steps)),
    ("end", Some(Manner::End)),
    ("stuck", Some(Manner::Never)),
];

pub fn run(options: &Options, place: &mut Place) -> Outcome<()> {
    let mut configs = Vec::new();
    for (_, manner) in MANNERS {
        configs.push(match manner {
            None => String::new(),
            Some(manner) => config(manner, serve(manner)?),
        });
    }
    table::say(&format!(
        "messages of {} octets; steps: a filter that sees everything, and answers each step at once; end: one that\n\
         answers at the end of the message; stuck: none for these sessions, while {HELD} of another listener wait\n\
         for theirs, which does not answer",
        samples::MESSAGE
    ))?;
    table::say("")?;
    table::head(&CELLS)?;
    let mut found = MANNERS.map(|_| Vec::new());
    for _ in 0..options.rounds {
        for ((config, found), (name, manner)) in configs.iter().zip(&mut found).zip(MANNERS) {
            let dir = place.fresh()?;
            let server = Child::facteur(&dir, MAILDIR, config)?;
            let held = match manner {
                Some(Manner::Never) => hold(server.users.ok_or("no listener for users")?)?,
                _ => Vec::new(),
            };
            let figures = measure(server, &dir, &CASE, &Sample::Plain, options.time, &[]);
            found.push(figures.map_err(|error| format!("{name}: {error}"))?);
            drop(held);
        }
    }
    let none = medians(&found[0]).rate;
    for (at, ((name, _), rounds)) in MANNERS.iter().zip(&found).enumerate() {
        let share = match at {
            0 => String::new(),
            _ => format!("{:.2}", medians(rounds).rate / none),
        };
        row(&CELLS, if at == 0 { CASE.name } else { "" }, name, rounds, &[share])?;
    }
    Ok(table::say("")?)
}

/// The filter in facteur's configuration; one that never answers is for users, who have a listener of their own.
fn config(manner: Manner, address: SocketAddr) -> String {
    let service = match manner {
        Manner::Never => "submission",
        Manner::Steps | Manner::End => "smtp",
    };
    format!(
        "[[milter]]\nname = \"bench\"\nsocket = \"inet:{address}\"\nservices = [\"{service}\"]\n"
    )
}

/// Connections to the other listener, each of which its filter is asked about.
fn hold(address: SocketAddr) -> io::Result<Vec<TcpStream>> {
    (0..HELD).map(|_| TcpStream::connect(address)).collect()
}

/// A filter in this process, until it ends.
fn serve(manner: Manner) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A connection that breaks is the server's to tell of.
            thread::spawn(move || drop(answer(stream, manner)));
        }
    });
    Ok(address)
}

/// Answers one connection. A packet is its length, a letter, data.
fn answer(mut stream: TcpStream, manner: Manner) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut packets = BufReader::new(stream.try_clone()?);
    loop {
        let mut length = [0; 4];
        packets.read_exact(&mut length)?;
        let mut packet = vec![0; u32::from_be_bytes(length) as usize];
        packets.read_exact(&mut packet)?;
        match (packet.first(), manner) {
            (_, Manner::Never) => {}
            (Some(b'O'), _) => stream.write_all(&negotiation(manner))?,
            // Macros, the end of a message or of a client: nobody waits for an answer.
            (None | Some(b'D' | b'A' | b'K' | b'Q'), _) => {}
            (Some(b'E'), _) | (Some(_), Manner::Steps) => stream.write_all(b"\0\0\0\x01c")?,
            (Some(_), Manner::End) => {}
        }
    }
}

/// Version 6, no changes; which steps have no answer.
fn negotiation(manner: Manner) -> Vec<u8> {
    let without_answer: u32 = match manner {
        Manner::Steps | Manner::Never => 0,
        Manner::End => 0x000f_f080,
    };
    let mut packet = b"\0\0\0\x0dO\0\0\0\x06\0\0\0\0".to_vec();
    packet.extend_from_slice(&without_answer.to_be_bytes());
    packet
}
