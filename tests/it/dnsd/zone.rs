//! The lines of a zone; see [`super`].

use super::wire::KINDS;

/// What a name can do instead of answering well, and beside it.
pub const BEHAVIOURS: [&str; 29] = [
    "silent",         // no answer
    "lossy",          // over UDP every other question for the name gets none
    "servfail",       // SERVFAIL
    "refused",        // REFUSED
    "notauth",        // a code that nobody expects
    "no-edns",        // FORMERR without a question, to who uses EDNS
    "edns-silent",    // no answer to who uses EDNS
    "edns-servfail",  // SERVFAIL to who uses EDNS
    "edns-notimp",    // NOTIMP to who uses EDNS
    "edns-garbage",   // noise to who uses EDNS
    "empty",          // no error, no record, no SOA
    "no-soa",         // NXDOMAIN and NODATA come without SOA
    "foreign-soa",    // the SOA is that of another zone
    "lame",           // a pointer to other servers
    "nxdomain",       // NXDOMAIN, whatever records there are
    "step",           // one alias an answer
    "ad",             // the answer says that it is validated
    "others",         // records of other names all over the answer
    "giant",          // one MX whose host has 320 octets
    "pointer",        // one MX whose host points at itself
    "garbage",        // the right id, then noise
    "truncate",       // TC over UDP
    "truncate-tcp",   // TC everywhere
    "spoof-id",       // before the answer: others with a wrong id
    "spoof-question", // before the answer: others to another question
    "spoof-source",   // before the answer: one from another port
    "flood",          // over UDP only answers with a wrong id
    "tcp-silent",     // no answer over TCP
    "tcp-hangup",     // TCP is closed instead of an answer
];

/// What a name has or does.
#[derive(Clone)]
pub struct Line {
    pub name: String,
    /// None: all types.
    pub kind: Option<u16>,
    pub does: Does,
}

#[derive(Clone)]
pub enum Does {
    Record { ttl: u32, data: String },
    Behave(String),
}

/// None for an empty line; panics on one that makes no sense.
pub fn line(text: &str) -> Option<Line> {
    let text = text.split('#').next().unwrap();
    let mut words = text.split_whitespace().peekable();
    let name = words.next()?.to_ascii_lowercase();
    let ttl = words.next_if(|word| word.parse::<u32>().is_ok()).map_or(300, |w| w.parse().unwrap());
    let kind = words.next_if(|word| !word.starts_with('!')).map(|word| {
        KINDS.iter().find(|(kind, _)| *kind == word).unwrap_or_else(|| panic!("{text}")).1
    });
    let data = words.collect::<Vec<_>>().join(" ");
    let does = match data.strip_prefix('!') {
        Some(behaviour) => {
            assert!(BEHAVIOURS.contains(&behaviour), "{text}");
            Does::Behave(behaviour.to_owned())
        }
        None => Does::Record { ttl, data },
    };
    Some(Line { name, kind, does })
}
