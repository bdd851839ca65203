//! Tests of reading a Maildir, on a disk on which messages move while they are read.

use super::*;
use crate::store::disk::Meta;
use std::ffi::OsStr;
use std::sync::Mutex;

/// Files in memory: path, content, what they are. `moves` are done one by one, each before the
/// next stat or open, as another program might.
#[derive(Default)]
pub(crate) struct Fake {
    files: Mutex<Vec<(String, Vec<u8>, bool)>>,
    moves: Mutex<Vec<(&'static str, &'static str)>>,
}

struct FakeFile(Vec<u8>);

/// Nothing here writes.
fn unsupported<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Fake {
    fn with(names: &[&str]) -> Fake {
        let fake = Fake::default();
        for (index, name) in names.iter().enumerate() {
            fake.add(name, vec![b'x'; index]);
        }
        fake
    }

    pub(crate) fn add(&self, name: &str, content: Vec<u8>) {
        self.files.lock().unwrap().push((format!("/m/{name}"), content, true));
    }

    pub(crate) fn then_move(&self, from: &'static str, to: &'static str) {
        self.moves.lock().unwrap().push((from, to));
    }

    fn file(&self, path: &Path) -> io::Result<(Vec<u8>, bool)> {
        let mut files = self.files.lock().unwrap();
        for (from, to) in self.moves.lock().unwrap().drain(..) {
            files.iter_mut().filter(|file| file.0 == from).for_each(|file| file.0 = to.into());
        }
        let found = files.iter().find(|file| Path::new(&file.0) == path);
        found.map(|file| (file.1.clone(), file.2)).ok_or(io::ErrorKind::NotFound.into())
    }
}

impl Disk for Fake {
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let files = self.files.lock().unwrap();
        let here = files.iter().filter(|file| Path::new(&file.0).parent() == Some(dir));
        let names: Vec<_> =
            here.filter_map(|file| Path::new(&file.0).file_name().map(Into::into)).collect();
        if names.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(names) }
    }

    fn stat(&self, path: &Path) -> io::Result<Meta> {
        let (content, is_file) = self.file(path)?;
        let modified = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let size = content.len() as u64;
        Ok(Meta { is_dir: !is_file, is_file, size, modified, uid: 0, mode: 0, links: 1 })
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(FakeFile(self.file(path)?.0)))
    }

    fn make_dir(&self, _: &Path) -> io::Result<()> {
        unsupported()
    }

    fn create(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        unsupported()
    }

    fn scratch(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        unsupported()
    }

    fn claim(&self, _: &Path) -> io::Result<Option<Box<dyn DiskFile>>> {
        unsupported()
    }

    fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
        unsupported()
    }

    fn rename_new(&self, _: &Path, _: &Path) -> io::Result<()> {
        unsupported()
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        unsupported()
    }

    fn list_some(
        &self,
        dir: &Path,
        most: usize,
        wanted: &dyn Fn(&OsStr) -> bool,
    ) -> io::Result<Vec<OsString>> {
        Ok(self.list(dir)?.into_iter().filter(|name| wanted(name)).take(most).collect())
    }

    fn room(&self, _: &Path) -> io::Result<u64> {
        unsupported()
    }

    fn set_mode(&self, _: &Path, _: u32) -> io::Result<()> {
        unsupported()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        unsupported()
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        unsupported()
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        unsupported()
    }
}

impl DiskFile for FakeFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len()).min(1000); // short reads happen
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn meta(&self) -> io::Result<Meta> {
        unsupported()
    }

    fn share(&self) -> io::Result<()> {
        unsupported()
    }

    fn append(&self, _: &[u8]) -> io::Result<()> {
        unsupported()
    }

    fn device(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn sync(&self) -> io::Result<()> {
        unsupported()
    }

    fn sync_file_system(&self) -> io::Result<()> {
        unsupported()
    }
}

fn keys(disk: &Fake) -> Vec<String> {
    let messages = list(disk, Path::new("/m")).unwrap();
    messages.into_iter().map(|message| message.key).collect()
}

#[test]
fn messages_are_listed_newest_last() {
    let disk = Fake::with(&[
        "new/1700000002.M5P1.mx,S=1",
        "cur/1700000002.M10P1.mx:2,RS",
        "cur/1700000001.b.mx:2,",
        "cur/1700000001.a.mx",
        "cur/20261123.x:2,S,ab",
        "tmp/1700000003.tmp",
        "new/.hidden",
    ]);
    disk.files.lock().unwrap().push(("/m/cur/1700000009.dir".into(), Vec::new(), false));
    let messages = list(&disk, Path::new("/m")).unwrap();
    let shown: Vec<_> =
        messages.iter().map(|m| (m.key.as_str(), m.flags.as_str(), m.is_new, m.size)).collect();
    let expected = [
        ("1700000001.a.mx", "", false, 3),
        ("1700000001.b.mx", "", false, 2),
        ("1700000002.M5P1.mx,S=1", "", true, 0),
        ("1700000002.M10P1.mx", "RS", false, 1),
        ("20261123.x", "S", false, 4),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn times_are_read_from_names() {
    for (key, time) in [
        ("1700000000.M123456P789.mx", Some((1_700_000_000, 123_456))),
        ("1700000000.R3f2M7P1Q2.mx,S=5", Some((1_700_000_000, 7))),
        ("1700000000.27c448.mx", Some((1_700_000_000, 0))),
        ("1700000000.Mail.mx", Some((1_700_000_000, 0))),
        ("1700000000.M99999999999999999999.mx", Some((1_700_000_000, 0))),
        ("1700000000", Some((1_700_000_000, 0))),
        ("1700000000123.x", None),
        ("20261123.x", None),
        ("+1700000000.x", None),
        ("99999999999999999999999.x", None),
        ("", None),
        (".x", None),
        ("message.eml", None),
    ] {
        let time = time.map(|(s, m)| UNIX_EPOCH + Duration::new(s, m * 1000));
        assert_eq!(time_in_name(key), time, "{key}");
    }
}

#[test]
fn messages_are_found() {
    let disk = Fake::with(&["new/17.abc", "cur/17.abd:2,S", "cur/17.ab:2,", "cur/18.x:2,S"]);
    disk.add("cur/18.x:2,T", b"another".to_vec());
    for (key, path) in [
        ("17.abc", Ok("/m/new/17.abc")),
        ("17.abd", Ok("/m/cur/17.abd:2,S")),
        ("17.abd:2,S", Ok("/m/cur/17.abd:2,S")),
        ("17.abd:2,RS", Ok("/m/cur/17.abd:2,S")),
        ("17.ab", Ok("/m/cur/17.ab:2,")),
        ("17.a", Err("the keys of 3 messages begin with 17.a")),
        ("1", Err("the keys of 5 messages begin with 1")),
        ("18.x:2,T", Ok("/m/cur/18.x:2,T")),
        ("18.x", Err("the keys of 2 messages begin with 18.x")),
        ("19", Err("no message has the key 19")),
        ("", Err("no message has the key ")),
        ("../cur/17.abd", Err("no message has the key ../cur/17.abd")),
    ] {
        let found = find(&disk, Path::new("/m"), key).map(|m| m.path).map_err(|e| e.to_string());
        assert_eq!(found, path.map(PathBuf::from).map_err(str::to_owned), "{key}");
    }
}

#[test]
fn a_maildir_that_is_not_there_is_empty() {
    assert!(keys(&Fake::default()).is_empty());
}

#[test]
fn a_message_that_moves_is_seen_once() {
    let disk = Fake::with(&["cur/17.a:2,S", "new/17.b", "new/17.c"]);
    disk.then_move("/m/new/17.b", "/m/cur/17.b:2,");
    disk.then_move("/m/new/17.c", "/elsewhere/17.c");
    assert_eq!(keys(&disk), ["17.a", "17.b"]);
    // Seen in both directories, as by a program that links and then unlinks.
    disk.add("new/17.d", b"same".to_vec());
    disk.add("cur/17.d:2,", b"same".to_vec());
    let messages = list(&disk, Path::new("/m")).unwrap();
    let places: Vec<_> = messages.iter().map(|m| (m.key.as_str(), m.is_new)).collect();
    assert_eq!(places, [("17.a", false), ("17.b", false), ("17.d", false)]);
}

#[test]
fn a_message_that_moves_before_it_is_read_is_read_where_it_is() {
    let disk = Fake::with(&["new/17.a", "new/17.b", "new/17.c"]);
    let messages = list(&disk, Path::new("/m")).unwrap();
    disk.then_move("/m/new/17.a", "/m/cur/17.a:2,S");
    disk.add("cur/17.a:2,", Vec::new()); // for a moment it has two names
    disk.then_move("/m/new/17.b", "/elsewhere/17.b");
    let read = read_each(&disk, Path::new("/m"), &messages, |message, file| {
        (message.flags.clone(), file.unwrap().size().unwrap())
    });
    let expected = [Some(("S".to_owned(), 0)), None, Some((String::new(), 2))];
    assert_eq!(read.unwrap(), expected);
}

#[test]
fn heads_are_read_no_further_than_needed() {
    for (content, length) in [
        (Vec::new(), 0),
        (b"Subject: a".to_vec(), 10),
        ([&b"A: b\n\n"[..], &[b'x'; 100_000]].concat(), 1000),
        ([&b"A: b\n"[..], &[b'x'; 100_000]].concat(), LISTED_MAX),
    ] {
        assert_eq!(read_head(&FakeFile(content)).unwrap().len(), length);
    }
}
