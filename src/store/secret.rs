//! Secrets that are kept in the spool: those of SRS in `srs.secret`, and in `login.secret` the one from which
//! salts are made for names that are no users, so that a restart does not show which names these are. 64
//! hexadecimal digits a line; the first line signs, the others only verify. A file is made at the first start
//! with one line, mode 0600. For a new SRS secret a person puts a line on top, and removes the old one when
//! its addresses are too old.
//!
//! A file is never replaced: a new secret would refuse every bounce that is under way, so a file that does not
//! read is an error and left to a person.

use super::disk::{Disk, DiskFile, Doing, StoreError};
use super::draft::PassingName;
use super::maildir::make_with_parents;
use crate::limits::{SRS_KEY_OCTETS, SRS_KEYS_MAX, SRS_SECRET_MAX, SRS_VALID_DAYS};
use crate::mail::srs::{SrsKeys, SrsSecret};
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// One of the two files.
#[derive(Clone, Copy, Debug)]
struct SecretFile {
    name: &'static str,
    /// What is lost when the secret is made anew.
    cost: SecretLoss,
}

/// What is lost with a secret.
#[derive(Clone, Copy, Debug)]
pub enum SecretLoss {
    Bounces,
    Salts,
}

const SRS: SecretFile = SecretFile { name: "srs.secret", cost: SecretLoss::Bounces };
const LOGIN: SecretFile = SecretFile { name: "login.secret", cost: SecretLoss::Salts };

/// Why there are no secrets.
#[derive(Debug)]
pub enum SecretError {
    /// The file is damaged, in this line where one can be named.
    Damaged {
        path: PathBuf,
        line: Option<usize>,
        what: &'static str,
        /// What removing the file costs.
        cost: SecretLoss,
    },
    /// The system gave no random octets.
    NoRandomness,
    Disk(StoreError),
}

/// Never shows the text of a line, which is a secret or nearly one.
impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretError::Damaged { path, line, what, cost } => {
                write!(f, "{}:", path.display())?;
                if let Some(line) = line {
                    write!(f, "{line}:")?;
                }
                write!(
                    f,
                    " {what}; restore it from a backup, or remove it: the next start makes a new \
                     secret, and "
                )?;
                match cost {
                    SecretLoss::Bounces => write!(
                        f,
                        "bounces to what was sent on in the last {SRS_VALID_DAYS} days are refused"
                    ),
                    SecretLoss::Salts => f.write_str(
                        "who has asked before for users that there are not can tell them by it",
                    ),
                }
            }
            SecretError::NoRandomness => {
                f.write_str("the system gives no random octets for a secret; try again")
            }
            SecretError::Disk(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SecretError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SecretError::Disk(error) => Some(error),
            SecretError::Damaged { .. } | SecretError::NoRandomness => None,
        }
    }
}

impl From<StoreError> for SecretError {
    fn from(error: StoreError) -> SecretError {
        SecretError::Disk(error)
    }
}

/// Reads the SRS secrets of a spool, and makes them where there is no file. Several processes may do so
/// at once: all get the same.
pub fn load_or_make(disk: &dyn Disk, spool: &Path) -> Result<SrsKeys, SecretError> {
    secrets(disk, spool, SRS).map(|(newest, older)| SrsKeys::new(&newest, &older))
}

/// Reads the secret for logins, and makes it where there is no file; see [`load_or_make`].
pub fn load_or_make_login(disk: &dyn Disk, spool: &Path) -> Result<SrsSecret, SecretError> {
    secrets(disk, spool, LOGIN).map(|(secret, _)| secret)
}

/// A new secret that is kept in no file and ends with the process.
pub fn passing() -> Result<SrsSecret, SecretError> {
    let mut secret: SrsSecret = [0; SRS_KEY_OCTETS];
    getrandom::fill(&mut secret).map_err(|_| SecretError::NoRandomness)?;
    Ok(secret)
}

fn secrets(disk: &dyn Disk, spool: &Path, kind: SecretFile) -> Result<Secrets, SecretError> {
    let path = spool.join(kind.name);
    match disk.open(&path) {
        Ok(file) => read(&*file, &path, kind),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make(disk, spool, kind)?;
            // The file that is there now, made by this process or by another.
            read(&*disk.open(&path).doing("open", &path)?, &path, kind)
        }
        Err(error) => Err(error).doing("open", &path)?,
    }
}

/// Reads the SRS secrets of a spool; none where no server has made them yet.
pub fn load(disk: &dyn Disk, spool: &Path) -> Result<Option<SrsKeys>, SecretError> {
    let path = spool.join(SRS.name);
    match disk.open(&path) {
        Ok(file) => {
            let (newest, older) = read(&*file, &path, SRS)?;
            Ok(Some(SrsKeys::new(&newest, &older)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).doing("open", &path)?,
    }
}

/// Makes a file with a new secret, whole or not at all: it gets its name once its content is durable.
fn make(disk: &dyn Disk, spool: &Path, kind: SecretFile) -> Result<(), SecretError> {
    let path = &spool.join(kind.name);
    let secret = passing()?;
    let mut text: String = secret.iter().map(|octet| format!("{octet:02x}")).collect();
    text.push('\n');
    let tmp = spool.join("tmp");
    make_with_parents(disk, &tmp)?;
    let draft =
        PassingName { disk, path: tmp.join(format!("{}.{}", kind.name, crate::id::message())) };
    let file = disk.create(&draft.path).doing("create", &draft.path)?;
    file.append(text.as_bytes()).doing("write", &draft.path)?;
    file.sync().doing("sync", &draft.path)?;
    match disk.link(&draft.path, path) {
        // Another process was faster, and its secret counts.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        linked => linked.doing("link", path)?,
    }
    // Before anything is signed with it, also when another process made the file and has not synced it yet.
    disk.sync_dir(spool).doing("sync", spool)?;
    Ok(())
}

/// The newest secret, and those before it.
type Secrets = (SrsSecret, Vec<SrsSecret>);

fn read(file: &dyn DiskFile, path: &Path, kind: SecretFile) -> Result<Secrets, SecretError> {
    // One octet more than the file may have shows that it is longer.
    let octets = file.read_up_to(0, SRS_SECRET_MAX + 1).doing("read", path)?;
    parse(&octets).map_err(|(line, what)| SecretError::Damaged {
        path: path.to_owned(),
        line,
        what,
        cost: kind.cost,
    })
}

/// Empty lines are allowed, because editors leave them. A line of another length is an error: it may be the
/// rest of a secret.
fn parse(octets: &[u8]) -> Result<Secrets, (Option<usize>, &'static str)> {
    if octets.len() > SRS_SECRET_MAX {
        return Err((None, "it is too long for a file of secrets"));
    }
    let mut secrets = Vec::new();
    for (index, line) in octets.split(|octet| *octet == b'\n').enumerate() {
        match line.trim_ascii() {
            [] => {}
            line => {
                let secret = from_hex(line);
                let wrong = (Some(index + 1), "a secret is 64 hexadecimal digits, and this is not");
                secrets.push(secret.ok_or(wrong)?);
            }
        }
    }
    match secrets.as_slice() {
        [] => Err((None, "it is empty and should hold a secret")),
        all if all.len() > SRS_KEYS_MAX => Err((None, "it has more than 8 secrets")),
        [newest, older @ ..] => Ok((*newest, older.to_vec())),
    }
}

const _: () = assert!(SRS_KEYS_MAX == 8 && SRS_KEY_OCTETS == 32); // the messages name them

fn from_hex(line: &[u8]) -> Option<SrsSecret> {
    let mut secret: SrsSecret = [0; SRS_KEY_OCTETS];
    if line.len() != 2 * secret.len() {
        return None;
    }
    for (octet, pair) in secret.iter_mut().zip(line.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *octet = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::address::{Domain, ReversePath};
    use crate::store::disk::RealDisk;
    use crate::store::memory::MemoryDisk;
    use std::io;
    use std::time::SystemTime;

    const SPOOL: &str = "/a/spool";
    const FILE: &str = "/a/spool/srs.secret";

    /// What the keys sign shows which is the first of them.
    fn signed(keys: &SrsKeys) -> String {
        let (from, _) = ReversePath::parse(b"<ann@far.test>").unwrap();
        let alias = Domain::parse("mx.test").unwrap();
        keys.rewrite(&from, &alias, |_| false, 1).unwrap().to_string()
    }

    fn load(disk: &MemoryDisk) -> Result<String, String> {
        let keys = load_or_make(disk, Path::new(SPOOL));
        keys.map(|keys| signed(&keys)).map_err(|error| error.to_string())
    }

    fn with(text: &[u8]) -> Result<String, String> {
        let disk = MemoryDisk::new();
        disk.put(Path::new(FILE), text, SystemTime::now());
        let loaded = load(&disk);
        assert_eq!(disk.files(), [(PathBuf::from(FILE), text.to_vec())], "it was touched");
        loaded
    }

    #[test]
    fn it_is_made_once() {
        let (disk, other) = (MemoryDisk::new(), MemoryDisk::new());
        let first = load(&disk).unwrap();
        let files = disk.files();
        let [(path, text)] = files.as_slice() else { panic!("{files:?}") };
        assert_eq!((path.as_path(), text.len(), text[64]), (Path::new(FILE), 65, b'\n'));
        assert_eq!(load(&disk).unwrap(), first);
        assert_eq!(disk.files(), files);
        assert_ne!(load(&other).unwrap(), first);
    }

    #[test]
    fn the_secret_for_logins_is_another_and_stays() {
        let disk = MemoryDisk::new();
        load(&disk).unwrap();
        let secret = load_or_make_login(&disk, Path::new(SPOOL)).unwrap();
        assert_eq!(load_or_make_login(&disk, Path::new(SPOOL)).unwrap(), secret);
        let files = disk.files();
        assert!(files.len() == 2 && files[0].1 != files[1].1, "{files:?}");
        let path = Path::new("/a/spool/login.secret");
        disk.put(path, b"x\n", SystemTime::now());
        let error = load_or_make_login(&disk, Path::new(SPOOL)).unwrap_err().to_string();
        assert!(error.contains("login.secret:1: a secret is 64") && !error.contains("bounces"));
    }

    #[test]
    fn a_failure_at_any_step_leaves_a_whole_file_or_none() {
        let disk = MemoryDisk::new();
        load(&disk).unwrap();
        let steps = disk.operations().len();
        for fatal in 0..steps {
            let disk = MemoryDisk::new();
            let mut done = 0;
            disk.set_fault(move |_| {
                done += 1;
                (done > fatal).then(|| io::Error::other("EIO"))
            });
            let failed = load(&disk);
            disk.clear_fault();
            let content = disk.files().into_iter().find(|(path, _)| path == Path::new(FILE));
            assert!(content.is_none_or(|(_, text)| text.len() == 65), "step {fatal}");
            assert!(failed.is_err() && load(&disk).is_ok(), "step {fatal}: {failed:?}");
        }
    }

    #[test]
    fn it_is_durable_before_it_has_a_name_and_has_its_name_before_it_is_used() {
        let disk = MemoryDisk::new();
        load(&disk).unwrap();
        let names: Vec<_> = disk.operations().iter().map(|operation| operation.name).collect();
        let at = |name| names.iter().rposition(|n| *n == name).unwrap();
        assert!(
            at("append") < at("sync") && at("sync") < at("link") && at("link") < at("sync_dir")
        );
        assert!(at("sync_dir") < at("read_at"), "{names:?}");
    }

    #[test]
    fn who_was_faster_wins() {
        let (disk, text) = (MemoryDisk::new(), format!("{}\n", "ab".repeat(32)));
        disk.put(Path::new(FILE), text.as_bytes(), SystemTime::now());
        let mut looked = false;
        // We look just before the other process has it named.
        disk.set_fault(move |operation| {
            let first = operation.name == "open" && !std::mem::replace(&mut looked, true);
            first.then(|| ErrorKind::NotFound.into())
        });
        assert_eq!(load(&disk), with(text.as_bytes()));
        assert_eq!(disk.files(), [(PathBuf::from(FILE), text.into_bytes())]);
        assert!(disk.operations().iter().any(|operation| operation.name == "sync_dir"));
    }

    #[test]
    fn lines_that_are_good() {
        let (one, two) = ("01".repeat(32), "Fe".repeat(32));
        let first = with(format!("{one}\n").as_bytes()).unwrap();
        for text in [one.clone(), format!("{one}\n{two}\n"), format!("\n {one}\r\n\n{two}")] {
            assert_eq!(with(text.as_bytes()).as_ref(), Ok(&first), "{text}");
        }
        assert_ne!(with(format!("{two}\n{one}\n").as_bytes()).unwrap(), first);
        assert!(with(format!("{one}\n").repeat(SRS_KEYS_MAX).as_bytes()).is_ok());
    }

    #[test]
    fn a_damaged_file_is_named_and_left() {
        let good = "01".repeat(32);
        let many = format!("{good}\n").repeat(SRS_KEYS_MAX + 1);
        for (text, place) in [
            ("", "srs.secret: it is empty"),
            ("\n\n", "srs.secret: it is empty"),
            (&good[..63], "srs.secret:1: a secret is 64"),
            (&format!("{good}\n{good}0\n"), "srs.secret:2: a secret is 64"),
            (&format!("{good}\nx{}\n", &good[1..]), "srs.secret:2: a secret is 64"),
            (&"\0".repeat(65), "srs.secret:1: a secret is 64"),
            (&many, "srs.secret: it has more than 8"),
            (&"0\n".repeat(SRS_SECRET_MAX), "srs.secret: it is too long"),
        ] {
            let error = with(text.as_bytes()).unwrap_err();
            assert!(error.contains(place) && error.contains("or remove it"), "{error}");
            assert!(!error.contains("0101"), "a secret shows: {error}");
        }
    }

    #[test]
    fn on_a_real_disk_nobody_else_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let spool = std::env::temp_dir().join(format!("facteur-{}", crate::id::message()));
        load_or_make(&RealDisk, &spool).unwrap();
        let mode = std::fs::metadata(spool.join("srs.secret")).unwrap().permissions().mode();
        let left = std::fs::read_dir(spool.join("tmp")).unwrap().count();
        std::fs::remove_dir_all(&spool).unwrap();
        assert_eq!((mode & 0o777, left), (0o600, 0));
    }
}
