//! A trace as it grows, from file to file and over midnight.

use super::files::{self, FileName, LineReader};
use super::line::TraceLine;
use crate::store::disk::{Disk, Doing, StoreError};
use std::io::ErrorKind::NotFound;
use std::path::{Path, PathBuf};

/// Reads the lines that are added from now on.
pub struct Follower<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
    current: Option<(FileName, LineReader)>,
}

impl<'a> Follower<'a> {
    /// Begins at the end of the newest file. There need not be one yet.
    pub fn new(disk: &'a dyn Disk, dir: &Path) -> Result<Follower<'a>, StoreError> {
        let mut follower = Follower { disk, dir: dir.to_owned(), current: None };
        if let Some(newest) = follower.names()?.last() {
            let path = follower.dir.join(newest.to_string());
            let mut lines = LineReader::open(disk, &path)?;
            lines.skip_all().doing("read", &path)?;
            follower.current = Some((*newest, lines));
        }
        Ok(follower)
    }

    /// The next line; none: there is nothing new at this moment.
    pub fn poll(&mut self) -> Result<Option<TraceLine>, StoreError> {
        loop {
            if let Some(record) = self.read()? {
                return Ok(Some(record));
            }
            let names = self.names()?;
            let after = self.current.as_ref().map(|(name, _)| *name);
            let Some(later) = names.into_iter().find(|name| after < Some(*name)) else {
                return Ok(None);
            };
            // Once more: this file may have grown before the other was made, and does not grow any more.
            if let Some(record) = self.read()? {
                return Ok(Some(record));
            }
            match LineReader::open(self.disk, &self.dir.join(later.to_string())) {
                Ok(lines) => self.current = Some((later, lines)),
                // It was removed meanwhile: lines come faster than they are read.
                Err(error) if error.source.kind() == NotFound => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    fn read(&mut self) -> Result<Option<TraceLine>, StoreError> {
        let Some((name, lines)) = &mut self.current else { return Ok(None) };
        let path = self.dir.join(name.to_string());
        while let Some(line) = lines.read().doing("read", &path)? {
            if let Some(record) = TraceLine::parse(line) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    fn names(&self) -> Result<Vec<FileName>, StoreError> {
        match files::list(self.disk, &self.dir) {
            Err(error) if error.source.kind() == NotFound => Ok(Vec::new()),
            names => names,
        }
    }
}
