//! A name server for one sender: what its domain says about its mail, over UDP, from a thread of the
//! benchmark. It looks no further than the name and the type of a question.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;

const TXT: u16 = 16;
const SOA: u16 = 6;

/// Any port of this machine that is free.
pub const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Answers from now on at this address, until the process ends. `records`: names in lower case, with the strings of
/// one TXT record. `ttl`: for how many seconds an answer may be kept.
pub fn serve(
    at: SocketAddr,
    records: Vec<(String, Vec<String>)>,
    ttl: u32,
) -> io::Result<SocketAddr> {
    let socket = UdpSocket::bind(at)?;
    let address = socket.local_addr()?;
    thread::spawn(move || {
        let mut buffer = [0; 1500];
        // An end of this socket is seen as questions without answers.
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            if let Some(answer) = answer(&buffer[..length], &records, ttl) {
                let _ = socket.send_to(&answer, client);
            }
        }
    });
    Ok(address)
}

fn answer(question: &[u8], records: &[(String, Vec<String>)], ttl: u32) -> Option<Vec<u8>> {
    let (mut name, mut at) = (String::new(), 12);
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        let label = question.get(at..at + length)?;
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&String::from_utf8_lossy(label).to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*question.get(at)?, *question.get(at + 1)?]);
    let record = records.iter().find(|(known, _)| *known == name);
    let strings = record.filter(|_| kind == TXT).map(|(_, strings)| strings);
    // Recursion was possible; no error, or no such name.
    let flags: u16 = if record.is_some() { 0x8180 } else { 0x8183 };
    let (answers, authorities) = if strings.is_some() { (1_u16, 0_u16) } else { (0, 1) };
    let mut out = question[..2].to_vec();
    for number in [flags, 1, answers, authorities, 0] {
        out.extend(number.to_be_bytes());
    }
    out.extend(question.get(12..at + 4)?);
    let (owner, kind, data) = match strings {
        Some(strings) => {
            let data = strings
                .iter()
                .flat_map(|string| std::iter::once(string.len() as u8).chain(string.bytes()));
            (&[0xc0_u8, 12][..], TXT, data.collect())
        }
        // The root's: its names are the root, and of its numbers the last counts (RFC 2308 §5).
        None => (&[0_u8][..], SOA, [&[0; 18][..], &ttl.to_be_bytes()].concat()),
    };
    out.extend(owner);
    out.extend([kind, 1].iter().flat_map(|number| number.to_be_bytes()));
    out.extend(ttl.to_be_bytes());
    out.extend((data.len() as u16).to_be_bytes());
    out.extend::<Vec<u8>>(data);
    Some(out)
}
