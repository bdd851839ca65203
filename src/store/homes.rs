//! The homes that a batch works in, kept open for the next one ([`super::disk::OpenHome`]).
//!
//! Each is looked at again twice in a batch, before its first file is made and before its first name is: where its path
//! leads elsewhere by now, because somebody has moved a Maildir away, it is closed. When there are enough, files
//! elsewhere are made by path. The delivery thread closes all once no mail comes for [`HOMES_REST`], and after
//! [`HOMES_WHILE`] in any case; so long a disk without mail counts as busy.
//!
//! [`HOMES_REST`]: crate::limits::HOMES_REST

use super::disk::{Disk, OpenHome};
use crate::limits::HOMES_WHILE;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Open homes, by path. By default none is opened.
#[derive(Default)]
pub struct Homes {
    /// How many are open at most.
    most: usize,
    open: HashMap<PathBuf, Known>,
    /// Those where files have to be made by path, so that they are not asked each time; as many at most.
    unfit: HashSet<PathBuf>,
    /// When the first of all was opened.
    since: Option<Instant>,
}

struct Known {
    home: Arc<dyn OpenHome>,
    /// Whether it was looked at since [`Homes::look_again`].
    is_sure: bool,
}

impl Homes {
    /// At most so many are open at once.
    pub fn up_to(most: usize) -> Homes {
        Homes { most, ..Homes::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.unfit.is_empty()
    }

    /// A batch begins: each home is looked at again. After a while all are closed, so that others have their turn.
    pub fn begin(&mut self) {
        if self.since.is_some_and(|since| since.elapsed() >= HOMES_WHILE) {
            self.close();
        }
        self.look_again();
    }

    /// From now on each is looked at again at its next use.
    pub fn look_again(&mut self) {
        self.open.values_mut().for_each(|known| known.is_sure = false);
    }

    pub fn close(&mut self) {
        self.open.clear();
        self.unfit.clear();
        self.since = None;
    }

    /// A home that is open and still where it was, with this part of it.
    pub fn known(&mut self, path: &Path, part: &str) -> Option<Arc<dyn OpenHome>> {
        let known = self.open.get_mut(path)?;
        known.is_sure = known.is_sure || known.home.is_there(part);
        match known.is_sure {
            true => Some(known.home.clone()),
            false => {
                self.open.remove(path);
                None
            }
        }
    }

    /// Opens a home; none where files have to be made by path, which also says why one cannot be made.
    pub fn open(&mut self, disk: &dyn Disk, path: &Path) -> Option<Arc<dyn OpenHome>> {
        if self.open.len() >= self.most || self.unfit.contains(path) {
            return None;
        }
        let opened = disk.open_home(path).ok()?;
        self.since.get_or_insert_with(Instant::now);
        match opened {
            Some(home) => {
                let home: Arc<dyn OpenHome> = home.into();
                self.open.insert(path.to_owned(), Known { home: home.clone(), is_sure: true });
                Some(home)
            }
            None => {
                if self.unfit.len() < self.most {
                    self.unfit.insert(path.to_owned());
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::RealDisk;
    use crate::store::draft::{Draft, Home};
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    /// A directory with homes, removed at the end.
    struct Room(PathBuf);

    impl Room {
        fn new(homes: &[&str]) -> Room {
            let room = Room(std::env::temp_dir().join(crate::id::message()));
            homes.iter().for_each(|home| room.make(home));
            room
        }

        fn make(&self, home: &str) {
            for dir in ["tmp", "new"] {
                fs::create_dir_all(self.0.join(home).join(dir)).unwrap();
            }
        }
    }

    impl Drop for Room {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_file_is_made_and_named_in_an_open_home() {
        let room = Room::new(&["ann"]);
        let (ann, mut homes) = (room.0.join("ann"), Homes::up_to(1));
        let Some(home) = homes.open(&RealDisk, &ann) else { return }; // no such file system
        let [draft, name] = [Path::new("tmp/1"), Path::new("new/1")];
        home.create(draft).unwrap().append(b"x").unwrap();
        assert_eq!(home.create(draft).err().unwrap().kind(), std::io::ErrorKind::AlreadyExists);
        fs::write(ann.join("new/2"), "y").unwrap();
        let taken = home.rename_new(draft, Path::new("new/2")).unwrap_err();
        assert_eq!(taken.kind(), std::io::ErrorKind::AlreadyExists);
        home.rename_new(draft, name).unwrap();
        assert_eq!(fs::read(ann.join(name)).unwrap(), b"x");
        assert_eq!(home.rename_new(draft, name).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    }

    #[test]
    fn a_home_that_was_moved_away_is_closed_by_the_next_batch() {
        let room = Room::new(&["ann", "bob"]);
        let (ann, bob, mut homes) = (room.0.join("ann"), room.0.join("bob"), Homes::up_to(2));
        if homes.open(&RealDisk, &ann).is_none() {
            return; // no such file system
        }
        assert!(homes.known(&ann, "new").is_some() && homes.known(&bob, "new").is_none());
        fs::rename(&ann, room.0.join("old")).unwrap();
        room.make("ann");
        assert!(homes.known(&ann, "new").is_some(), "looked at once");
        homes.begin();
        assert!(homes.known(&ann, "new").is_none() && homes.is_empty());
        for missing in ["ann/new", "ann"] {
            homes.open(&RealDisk, &ann).unwrap();
            fs::remove_dir_all(room.0.join(missing)).unwrap();
            homes.begin();
            assert!(homes.known(&ann, "new").is_none(), "{missing}");
        }
    }

    #[test]
    fn a_home_that_is_moved_away_gets_no_name_for_a_file_that_it_has() {
        let room = Room::new(&["ann"]);
        let (ann, old, mut homes) = (room.0.join("ann"), room.0.join("old"), Homes::up_to(1));
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let Some(open) = homes.open(&*disk, &ann) else { return }; // no such file system
        let home = Home { path: ann.clone(), open: Some(open), make: |_, _| Ok(()), dir: "new" };
        let (draft, _) = Draft::create(&disk, home, || "1".to_owned()).unwrap();
        fs::rename(&ann, &old).unwrap();
        room.make("ann");
        homes.look_again();
        assert!(draft.publish_in(&mut homes).is_err());
        for home in [ann, old] {
            assert_eq!(fs::read_dir(home.join("new")).unwrap().count(), 0, "{}", home.display());
        }
    }

    #[test]
    fn a_file_is_not_made_on_another_file_system() {
        let (room, memory) =
            (Room::new(&["ann"]), Path::new("/dev/shm").join(crate::id::message()));
        let (ann, mut homes) = (room.0.join("ann"), Homes::up_to(1));
        let Some(home) = homes.open(&RealDisk, &ann) else { return }; // no such file system
        let is_made = fs::create_dir(&memory).is_ok();
        let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
        if !is_made || device(&memory) == device(&ann) {
            let _ = fs::remove_dir(&memory);
            return; // no other file system
        }
        fs::remove_dir(ann.join("tmp")).unwrap();
        symlink(&memory, ann.join("tmp")).unwrap();
        let made = home.create(Path::new("tmp/1")).map(drop).map_err(|error| error.kind());
        let left = fs::read_dir(&memory).unwrap().count();
        fs::remove_dir_all(&memory).unwrap();
        assert_eq!((made, left), (Err(std::io::ErrorKind::NotFound), 0));
    }

    #[test]
    fn no_more_are_open_than_were_asked_for() {
        let room = Room::new(&["ann", "bob"]);
        let [ann, bob] = ["ann", "bob"].map(|name| room.0.join(name));
        assert!(Homes::default().open(&RealDisk, &ann).is_none());
        let mut homes = Homes::up_to(1);
        if homes.open(&RealDisk, &ann).is_none() {
            return; // no such file system
        }
        assert!(homes.open(&RealDisk, &bob).is_none());
        homes.close();
        assert!(homes.open(&RealDisk, &bob).is_some() && homes.known(&ann, "new").is_none());
    }
}
