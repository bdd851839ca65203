//! The least that a Maildir asks of a disk: messages that are written, synced, named and synced again.

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::unistd::syncfs;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Mailboxes that the mail is spread over, `u0` and so on.
pub const BOXES: usize = 10;

/// Batches that are timed beside a single message, and how often each.
const BATCHES: [usize; 5] = [2, 4, 8, 16, 32];
const TRIES: usize = 9;
/// No longer than this for one size: a disk may be slow.
const PATIENCE: Duration = Duration::from_millis(400);

/// Ten Maildirs under one directory.
pub struct Shelf {
    mail: PathBuf,
    /// The `new/` of each mailbox, open for its sync.
    new: Vec<File>,
    made: u64,
    /// Messages from which on a batch is synced as a whole.
    syncfs_from: usize,
}

impl Shelf {
    pub fn open(mail: &Path, syncfs_from: usize) -> io::Result<Shelf> {
        let mut new = Vec::new();
        for number in 0..BOXES {
            let maildir = mail.join(format!("u{number}"));
            fs::create_dir_all(maildir.join("tmp"))?;
            fs::create_dir_all(maildir.join("new"))?;
            new.push(File::open(maildir.join("new"))?);
        }
        Ok(Shelf { mail: mail.to_owned(), new, made: 0, syncfs_from })
    }

    pub fn mail(&self) -> &Path {
        &self.mail
    }

    /// Puts messages into mailboxes; when it returns, they survive a power cut.
    pub fn keep<'a>(&mut self, batch: impl Iterator<Item = (usize, &'a [u8])>) -> io::Result<()> {
        let mut drafts = Vec::new();
        for (mailbox, octets) in batch {
            let name = format!("{}.floor", self.made);
            self.made += 1;
            let maildir = self.mail.join(format!("u{mailbox}"));
            let draft = maildir.join("tmp").join(&name);
            let mut file = File::create_new(&draft)?;
            file.write_all(octets)?;
            drafts.push((mailbox, file, draft, maildir.join("new").join(name)));
        }
        let as_a_whole = drafts.len() >= self.syncfs_from;
        if as_a_whole {
            syncfs(&self.new[0])?;
        } else {
            if drafts.len() > 1 {
                // Begun together, the writes share their time on the disk.
                for (_, file, ..) in &drafts {
                    posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
                }
            }
            drafts.iter().try_for_each(|(_, file, ..)| file.sync_all())?;
        }
        for (_, _, draft, name) in &drafts {
            fs::rename(draft, name)?;
        }
        if as_a_whole {
            return Ok(syncfs(&self.new[0])?);
        }
        let touched: BTreeSet<usize> = drafts.iter().map(|(mailbox, ..)| *mailbox).collect();
        touched.into_iter().try_for_each(|mailbox| self.new[mailbox].sync_all())
    }

    /// Medians of the time that a batch takes, synced file by file and as a whole.
    fn time(&mut self, batch: usize, message: &[u8]) -> io::Result<(Duration, Duration)> {
        let (mut each, mut whole) = (Vec::new(), Vec::new());
        let began = Instant::now();
        while each.len() < TRIES && (each.is_empty() || began.elapsed() < PATIENCE) {
            for (syncfs_from, times) in [(usize::MAX, &mut each), (1, &mut whole)] {
                self.syncfs_from = syncfs_from;
                let began = Instant::now();
                self.keep((0..batch).map(|number| (number % BOXES, message)))?;
                times.push(began.elapsed());
            }
        }
        let median = |mut times: Vec<Duration>| {
            times.sort();
            times[times.len() / 2]
        };
        Ok((median(each), median(whole)))
    }
}

/// What one message costs on this disk, and from how many on syncfs is the cheaper way.
pub struct Price {
    pub each: Duration,
    pub whole: Duration,
    pub syncfs_from: usize,
}

/// Finds out on the disk itself: journals turn the answer round, and a floor that chose wrongly would
/// flatter whatever stands on it.
pub fn price(mail: &Path, message: &[u8]) -> io::Result<Price> {
    let mut shelf = Shelf::open(mail, 1)?;
    shelf.time(1, message)?; // nobody pays for first use
    let (each, whole) = shelf.time(1, message)?;
    let mut syncfs_from = if whole < each { 1 } else { usize::MAX };
    for batch in BATCHES {
        if syncfs_from == usize::MAX {
            let (each, whole) = shelf.time(batch, message)?;
            syncfs_from = if whole < each { batch } else { usize::MAX };
        }
    }
    Ok(Price { each, whole, syncfs_from })
}
