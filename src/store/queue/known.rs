//! A queue file whose beginning is known. Nothing in it is ever rewritten, so what was read of it once holds: a small
//! message is read with its header, by one call, and then checked and sent from memory.

use super::reading::read_some;
use crate::limits::QUEUE_READ;
use crate::store::disk::{DiskFile, Meta};
use std::io;

/// An open queue file, with its first octets.
pub(super) struct KnownFile {
    file: Box<dyn DiskFile>,
    known: Vec<u8>,
}

impl KnownFile {
    /// Reads the whole file where it has up to `most` octets, else as much as a header needs. `size`: how long it
    /// is now.
    pub fn read(file: Box<dyn DiskFile>, size: u64, most: usize) -> io::Result<KnownFile> {
        let header = || read_some(&*file, 0, size, QUEUE_READ);
        let known = match size <= most as u64 {
            // A message that the disk cannot give back is to wait and to expire as others do: who sends it finds that.
            true => read_some(&*file, 0, size, most).or_else(|_| header())?,
            false => header()?,
        };
        Ok(KnownFile { known, file })
    }
}

impl DiskFile for KnownFile {
    fn append(&self, octets: &[u8]) -> io::Result<()> {
        self.file.append(octets)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let known = usize::try_from(offset).ok().and_then(|offset| self.known.get(offset..));
        match known {
            Some(known) if !known.is_empty() => {
                let length = known.len().min(buffer.len());
                buffer[..length].copy_from_slice(&known[..length]);
                Ok(length)
            }
            _ => self.file.read_at(buffer, offset),
        }
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn meta(&self) -> io::Result<Meta> {
        self.file.meta()
    }

    fn share(&self) -> io::Result<()> {
        self.file.share()
    }

    fn device(&self) -> io::Result<u64> {
        self.file.device()
    }

    fn begin_sync(&self) {
        self.file.begin_sync();
    }

    fn wait_written(&self) -> io::Result<()> {
        self.file.wait_written()
    }

    fn keeps_order(&self) -> io::Result<bool> {
        self.file.keeps_order()
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn sync_file_system(&self) -> io::Result<()> {
        self.file.sync_file_system()
    }

    fn is_synced_with_others(&self) -> io::Result<bool> {
        self.file.is_synced_with_others()
    }
}
