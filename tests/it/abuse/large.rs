//! Large messages, many at once: they lie in files from the first 64 KiB on, so memory does not see them.

use super::{MAIL, MIB, at_most, forget_peak, memory, say};
use crate::client::Client;
use crate::servers::Binary;
use crate::support::{Place, config, files, skip};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::thread;
use std::time::Instant;

/// At once, and octets of each as they lie on the disk.
const SESSIONS: usize = 100;
const SIZE: usize = 25 << 20;

/// In memory, where there is plenty of it and nobody else does the same: 5 GiB of writes hold up every
/// other test that syncs. Else on the disk. The file is locked as long as it is open.
fn place() -> (Place, Option<File>) {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let free = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let turn = File::create(std::env::temp_dir().join("facteur-it-large.lock")).ok();
    let turn = turn.filter(|file| file.try_lock().is_ok());
    match turn {
        Some(turn) if free.is_some_and(|free| free > 12 * MIB * 1024) => {
            (Place::in_memory(), Some(turn))
        }
        turn => (Place::new(), turn),
    }
}

/// Whether a file ends in these octets, read in pieces.
fn ends_with(path: &Path, octets: &[u8]) -> bool {
    let mut file = File::open(path).unwrap();
    file.seek(SeekFrom::End(-(octets.len() as i64))).unwrap();
    let mut piece = vec![0; 1 << 20];
    octets.chunks(piece.len()).all(|expected| {
        let piece = &mut piece[..expected.len()];
        file.read_exact(piece).is_ok() && piece == expected
    })
}

#[test]
fn a_hundred_messages_of_25_mib_at_once() {
    let (place, _turn) = place();
    let free = nix::sys::statvfs::statvfs(place.path()).unwrap();
    if free.blocks_available() * free.fragment_size() < 8 << 30 {
        return skip("less than 8 GiB are free here");
    }
    let server = Binary::serve(&place, &config("[limit]\nsessions_per_client = 200"));
    server.client().delivered(&["ann@mx.test"], MAIL);
    forget_peak(server.pid());
    let line = "a line of a message that is large for no other reason than to be it...\n";
    let text = format!("Subject: large\n\n{}", line.repeat(SIZE / line.len()));
    let wire = format!("{}.\r\n", text.replace('\n', "\r\n"));
    let began = Instant::now();
    thread::scope(|scope| {
        for number in 0..SESSIONS {
            let (server, wire) = (&server, &wire);
            scope.spawn(move || {
                let mut client = Client::greeted(server.address);
                client.begin(&[&format!("large{number}@mx.test")]);
                client.send(wire.as_bytes());
                let reply = client.reply_at_leisure();
                assert!(reply.starts_with("250 2.0.0 "), "{number}: {reply}");
            });
        }
    });
    let (peak, time) = (memory(server.pid(), "VmHWM") / MIB, began.elapsed());
    say(&format!("{SESSIONS} sessions with 25 MiB each at once: all taken after {time:.1?}"));
    at_most("100 sessions with 25 MiB each at once: most memory", peak, 64, "MiB");
    let is_whole = |number: &usize| {
        let found = files(&place.maildir(&format!("large{number}")).join("new"));
        found.len() == 1 && ends_with(&found[0], text.as_bytes())
    };
    let broken = SESSIONS - (0..SESSIONS).filter(is_whole).count();
    at_most("the same: messages that are not whole", broken as u64, 0, "messages");
    server.stop();
}
