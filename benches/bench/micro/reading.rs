//! What comes in: commands, messages by DATA and by BDAT, headers.

use super::Case;
use crate::Outcome;
use crate::samples::{COMMANDS, HEADER, message, text};
use facteur::mail::fields::Fields;
use facteur::mail::summary::Summary;
use facteur::smtp::chunk::Chunks;
use facteur::smtp::command::{Command, Context};
use facteur::smtp::dot_stuffing::Decoder;
use std::hint::black_box;

pub fn cases<'a>() -> Outcome<Vec<Case<'a>>> {
    let mut cases = vec![commands()?];
    cases.extend([
        by_data("DATA, plain text", message(0)),
        by_data("DATA, each line begins with a dot", text("..as the end of a list of hosts\r\n")),
        by_data("DATA, dots alone (the worst)", text("..\r\n")),
        by_data("DATA, empty lines (the worst)", text("\r\n")),
        by_bdat(),
        header_scan(),
        listing(),
    ]);
    Ok(cases)
}

fn commands<'a>() -> Outcome<Case<'a>> {
    for line in COMMANDS {
        // What is refused is cheap, and would be measured unnoticed.
        Command::parse(line.trim_end().as_bytes(), &Context::default())
            .map_err(|reply| format!("{line:?} is refused: {reply}"))?;
    }
    let octets = COMMANDS.iter().map(|line| line.len()).sum();
    Ok(Case::new("commands, seven lines", octets, || {
        for line in COMMANDS {
            let line = &line.as_bytes()[..line.len() - 2];
            let _ = black_box(Command::parse(black_box(line), &Context::default()));
        }
    }))
}

fn by_data<'a>(name: &'static str, mut octets: Vec<u8>) -> Case<'a> {
    octets.extend_from_slice(b".\r\n");
    let mut body = Vec::with_capacity(octets.len());
    Case::new(name, octets.len(), move || {
        body.clear();
        let _ = black_box(Decoder::default().feed(black_box(&octets), &mut body));
    })
}

fn by_bdat<'a>() -> Case<'a> {
    let octets = message(0);
    let mut body = Vec::with_capacity(octets.len());
    Case::new("BDAT, plain text", octets.len(), move || {
        body.clear();
        Chunks::default().feed(black_box(&octets), &mut body);
        black_box(&body);
    })
}

fn header_scan<'a>() -> Case<'a> {
    Case::new("header, scanned for loops and Message-ID", HEADER.len(), || {
        black_box(Summary::of(black_box(HEADER.as_bytes())));
    })
}

fn listing<'a>() -> Case<'a> {
    Case::new("header, read for a listing", HEADER.len(), || {
        black_box(Fields::read(black_box(HEADER.as_bytes())));
    })
}
