//! What must hold of everything that reads octets of others, whatever these octets are: one function
//! for each reader, which panics where it does not hold.
//!
//! `cargo test` plays them with the seeds in `fuzz/seeds` and with mutations of those
//! (`tests/it/fuzz.rs`); `fuzz/run` gives them to libFuzzer, for as long as you like.
//!
//! Nothing here looks at a clock or at chance: the same octets do the same, also where they are cut.

mod address;
mod aliases;
mod answer;
mod body;
mod client;
mod command;
mod config;
mod data;
mod dkim;
mod dmarc;
mod dns;
mod header;
mod key;
mod milter;
mod proxy;
mod queue;
mod reading;
mod records;
mod results;
mod sasl;
mod session;
mod spf;
mod srs;
mod sts;
mod tags;
mod users;
mod words;
mod xtext;

/// A target by its name, which is also that of its folder of seeds.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 28] = [
    ("address", address::run),
    ("aliases", aliases::run),
    ("answer", answer::run),
    ("body", body::run),
    ("client", client::run),
    ("command", command::run),
    ("config", config::run),
    ("data", data::run),
    ("dkim", dkim::run),
    ("dmarc", dmarc::run),
    ("dns", dns::run),
    ("header", header::run),
    ("key", key::run),
    ("milter", milter::run),
    ("proxy", proxy::run),
    ("queue", queue::run),
    ("reading", reading::run),
    ("records", records::run),
    ("results", results::run),
    ("sasl", sasl::run),
    ("session", session::run),
    ("spf", spf::run),
    ("srs", srs::run),
    ("sts", sts::run),
    ("tags", tags::run),
    ("users", users::run),
    ("words", words::run),
    ("xtext", xtext::run),
];

/// Runs one by its name.
pub fn run(name: &str, data: &[u8]) {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no target {name}")).1(data);
}

/// Ways to cut octets into pieces: whole, one by one, and two that follow from the octets themselves, so
/// that a seed needs no octets that say how it is cut.
fn cuts(octets: &[u8]) -> Vec<Vec<&[u8]>> {
    let singles = octets.chunks(1).collect();
    let mut ways = vec![vec![octets], singles];
    // FNV-1a, then xorshift: nothing that a fuzzer would have to guess.
    let seed = octets.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
    });
    for largest in [5, 60] {
        let (mut state, mut rest, mut pieces) = (seed | 1, octets, Vec::new());
        while !rest.is_empty() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let (piece, left) = rest.split_at((1 + state as usize % largest).min(rest.len()));
            pieces.push(piece);
            rest = left;
        }
        ways.push(pieces);
    }
    ways
}

/// What holds of every reply (RFC 5321 §4.2): whole lines, bounded, of one code, without controls. Gives
/// the code.
fn check_reply(reply: &facteur::smtp::reply::Reply) -> u16 {
    let mut wire = Vec::new();
    reply.write_to(&mut wire);
    let text = wire.strip_suffix(b"\r\n").expect("a reply ends in CR LF");
    let lines: Vec<&[u8]> = text.split(|&octet| octet == b'\n').collect();
    for (index, line) in lines.iter().enumerate() {
        let is_last = index + 1 == lines.len();
        let line = if is_last { line } else { line.strip_suffix(b"\r").expect("CR LF") };
        assert!(line.len() + 2 <= facteur::limits::REPLY_LINE_MAX, "{reply}");
        assert!(!line.iter().any(u8::is_ascii_control), "{reply}");
        let mark = if is_last { b' ' } else { b'-' };
        assert!(
            line.starts_with(reply.code().to_string().as_bytes()) && line[3] == mark,
            "{reply}"
        );
    }
    assert!((200..600).contains(&reply.code()), "{reply}");
    reply.code()
}
