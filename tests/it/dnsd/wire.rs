//! DNS messages, as right or as wrong as the script wants them (RFC 1035 §4).

use std::net::IpAddr;

pub const SOA: u16 = 6;
/// In the fourth octet of a message.
pub const AD: u8 = 0x20;
pub const KINDS: [(&str, u16); 10] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", SOA),
    ("PTR", 12),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("TLSA", 52),
];

/// A question as it came.
pub struct Question {
    pub id: [u8; 2],
    /// As it was sent, with type and class.
    pub octets: Vec<u8>,
    pub name: String,
    pub kind: u16,
    pub payload: Option<u16>,
    /// The AD bit: who asks understands it in an answer (RFC 6840 §5.7).
    pub ad: bool,
}

/// The records of an answer, as octets.
#[derive(Default)]
pub struct Answer {
    answers: Vec<u8>,
    pub count: u16,
    authorities: Vec<u8>,
    authority_count: u16,
}

impl Answer {
    pub fn record(&mut self, owner: &str, ttl: u32, kind: u16, data: &[u8]) {
        self.answers.extend(record(owner, ttl, kind, data));
        self.count += 1;
    }

    pub fn authority(&mut self, owner: &str, kind: u16, data: &[u8]) {
        self.authorities.extend(record(owner, 300, kind, data));
        self.authority_count += 1;
    }

    /// Lengthens the last record by a compressed name that points at its own place.
    pub fn pointer_to_itself(&mut self, question: &Question) {
        let place = 12 + question.octets.len() + self.answers.len();
        let length = self.answers.len() - 4;
        self.answers[length..length + 2].copy_from_slice(&[0, 4]);
        self.answers.extend([0xc0 | (place >> 8) as u8, place as u8]);
    }

    pub fn octets(&self, question: &Question, flags: u8, code: u8) -> Vec<u8> {
        let counts = [1, self.count, self.authority_count, 0].map(u16::to_be_bytes).concat();
        let head = [&question.id[..], &[0x81 | flags, 0x80 | code], &counts].concat();
        [&head[..], &question.octets, &self.answers, &self.authorities].concat()
    }
}

/// An answer by somebody who wants the mail.
pub fn evil(question: &Question) -> Vec<u8> {
    let mut answer = Answer::default();
    let data = match question.kind {
        15 => [&[0, 1][..], &name("evil.test")].concat(),
        28 => vec![6; 16],
        _ => vec![6; 4],
    };
    answer.record(&question.name, 300, question.kind, &data);
    answer.octets(question, 0, 0)
}

fn record(owner: &str, ttl: u32, kind: u16, data: &[u8]) -> Vec<u8> {
    let (kind, length) = (kind.to_be_bytes(), u16::try_from(data.len()).unwrap().to_be_bytes());
    [&name(owner)[..], &kind, &[0, 1], &ttl.to_be_bytes(), &length, data].concat()
}

/// The data of a record from its text.
pub fn encode(kind: u16, data: &str) -> Vec<u8> {
    match kind {
        1 | 28 => match data.parse().unwrap() {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        },
        15 => {
            let (preference, host) = data.split_once(' ').unwrap();
            [&preference.parse::<u16>().unwrap().to_be_bytes()[..], &name(host)].concat()
        }
        33 => {
            let words: Vec<&str> = data.split(' ').collect();
            let numbers =
                words[..3].iter().flat_map(|word| word.parse::<u16>().unwrap().to_be_bytes());
            numbers.chain(name(words[3])).collect()
        }
        // Strings stand between bars; a number in brackets is an octet.
        16 => data.split('|').flat_map(|string| counted(&octets_of(string))).collect(),
        52 => {
            let words: Vec<&str> = data.split(' ').collect();
            let hex = |at| u8::from_str_radix(&words[3][at..at + 2], 16).unwrap();
            let numbers = words[..3].iter().map(|word| word.parse().unwrap());
            numbers.chain((0..words[3].len()).step_by(2).map(hex)).collect()
        }
        _ => name(data),
    }
}

fn counted(octets: &[u8]) -> Vec<u8> {
    [&[u8::try_from(octets.len()).unwrap()], octets].concat()
}

fn octets_of(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for (index, part) in text.split('[').enumerate() {
        let (number, rest) = if index == 0 { ("", part) } else { part.split_once(']').unwrap() };
        octets.extend(number.parse::<u8>());
        octets.extend(rest.as_bytes());
    }
    octets
}

/// A name as it is sent, never compressed; `.` is the root, and a number in brackets is an octet.
pub fn name(text: &str) -> Vec<u8> {
    let labels = text.split('.').filter(|label| !label.is_empty());
    let mut octets: Vec<u8> = labels.flat_map(|label| counted(&octets_of(label))).collect();
    octets.push(0);
    octets
}

/// An octet of a label as a zone has it.
fn shown(octet: &u8) -> String {
    match octet {
        b'-' | b'_' | b'/' => char::from(*octet).to_string(),
        octet if octet.is_ascii_alphanumeric() => {
            char::from(octet.to_ascii_lowercase()).to_string()
        }
        octet => format!("[{octet}]"),
    }
}

/// None when it makes no sense.
pub fn question(octets: &[u8]) -> Option<Question> {
    let mut labels: Vec<String> = Vec::new();
    let mut at = 12;
    while *octets.get(at)? > 0 {
        let end = at + 1 + usize::from(octets[at]);
        labels.push(octets.get(at + 1..end)?.iter().map(shown).collect());
        at = end;
    }
    let number = |at: usize| Some(u16::from_be_bytes(octets.get(at..at + 2)?.try_into().ok()?));
    let end = at + 5;
    // The OPT record of EDNS: root, type 41, and in the place of a class the payload.
    let payload = (number(end + 1) == Some(41)).then(|| number(end + 3)).flatten();
    Some(Question {
        id: [octets[0], octets[1]],
        octets: octets.get(12..end)?.to_vec(),
        name: labels.join("."),
        kind: number(at + 1)?,
        payload,
        ad: octets[3] & AD != 0,
    })
}
