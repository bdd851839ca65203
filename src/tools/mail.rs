//! `facteur mail list` and `facteur mail show`: delivered mail, for people and for scripts.
//!
//! Changes nothing: no flag is set, and new mail stays new. A reader that goes away early (`| head`) is no
//! error.

use super::listing::{BLOCK, CopyError, ListingColumns, copy, end, json_lines, shown};
use super::terminal::{self, Screen};
use super::{Failure, Request, route, site};
use crate::limits::NAMES_COUNTED;
use crate::mail::{fields::Fields, words};
use crate::store::disk::{Disk, RealDisk, StoreError};
use crate::store::mailbox::{self, MailboxError, MailboxMessage, browse};
use crate::store::maildir::{Place, exists, is_folder_name};
use serde::Serialize;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::SystemTime;

/// Why a command failed. [`fmt::Display`] is safe for a terminal.
#[derive(Debug)]
enum MailFailure {
    Mailbox(MailboxError),
    /// The result could not be written.
    Output(io::Error),
}

/// Lists the mail of an address; an alias or a tag leads to the mailbox as well.
pub fn list(request: &Request, address: &str) -> Result<(), Failure> {
    let site = site(request)?;
    let maildir = route::maildir(&site, address)?;
    let place = place(request, &maildir)?;
    write_list(&RealDisk, &place, request.json, &mut io::stdout().lock())?;
    if place.folder.is_none() {
        let junk = Place { folder: Some(site.junk()), ..place };
        // Only a hint: whoever wants it looks there.
        let count = browse::count(&RealDisk, &junk.home(), NAMES_COUNTED).unwrap_or_default();
        if count.all > 0 {
            let more = if count.is_cut { "+" } else { "" };
            let folder = site.junk();
            super::complain(&format!("in {folder}: {}{more} more (--folder {folder})", count.all));
        }
    }
    Ok(())
}

/// The folder that was asked for, or the inbox.
fn place<'a>(request: &'a Request, maildir: &'a Path) -> Result<Place<'a>, Failure> {
    let place = Place { maildir, folder: request.folder.as_deref() };
    let Some(name) = place.folder else { return Ok(place) };
    let wrong = |why: &str| Failure::Failed(format!("--folder {}: {why}", terminal::escape(name)));
    match is_folder_name(name) {
        false => Err(wrong("no name of a folder, which begins with a dot")),
        true if exists(&RealDisk, &place.home()).is_ok_and(|is_there| !is_there) => {
            Err(wrong("there is no such folder"))
        }
        true => Ok(place),
    }
}

/// Shows one message of an address: escaped on a terminal, as its octets in a file or a pipe.
pub fn show(request: &Request, address: &str, key: &str) -> Result<(), Failure> {
    let maildir = route::maildir(&site(request)?, address)?;
    let home = place(request, &maildir)?.home();
    let is_terminal = io::stdout().is_terminal();
    Ok(write_message(&RealDisk, &home, key, is_terminal, &mut io::stdout().lock())?)
}

impl From<MailFailure> for Failure {
    fn from(failure: MailFailure) -> Failure {
        Failure::Failed(failure.to_string())
    }
}

/// Lists a mailbox, newest last: key, date, from, subject, size, flags, one line a message.
///
/// For people the columns are aligned and escaped, `-` stands for an empty value, the flags of mail in
/// `new/` begin with `new`, and only a From or Subject beyond [`crate::limits::QUOTED_MAX`] characters is
/// cut. With `json` each line is an object whose strings are whole; flags are the letters alone, so `""`
/// for new mail. A message that cannot be read is listed without From and Subject, and the first such
/// failure is returned at the end.
fn write_list(
    disk: &dyn Disk,
    place: &Place<'_>,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), MailFailure> {
    let (maildir, folder) = (&place.home(), place.folder);
    let messages = mailbox::list(disk, maildir)?;
    let mut table = MessageTable::new(&messages);
    // Kept, so that a file that cannot be read hides no other.
    let mut failure = None;
    for block in messages.chunks(BLOCK) {
        let rows = read_rows(disk, maildir, block, folder, &mut failure)?;
        let lines = if json { json_lines(&rows)? } else { table.lines(&rows) };
        match out.write_all(lines.as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            result => result?,
        }
    }
    end(out.flush())?;
    failure.map_or(Ok(()), |error| Err(error.into()))
}

/// Writes one message, octet for octet; on a `terminal` it is escaped. Fails with `NoMessage` also when it
/// was removed meanwhile.
fn write_message(
    disk: &dyn Disk,
    maildir: &Path,
    key: &str,
    terminal: bool,
    out: &mut dyn Write,
) -> Result<(), MailFailure> {
    let message = mailbox::find(disk, maildir, key)?;
    // By `read_each`, which finds a file again that a mail reader has renamed.
    let copied = mailbox::read_each(disk, maildir, &[message], |message, file| {
        let file = file.map_err(|source| cannot_read(message, source))?;
        if terminal {
            let mut screen = Screen::new(out);
            copy(&*file, 0..u64::MAX, &mut screen).map_err(|error| failed(message, error))?;
            Ok(end(screen.finish())?)
        } else {
            copy(&*file, 0..u64::MAX, out).map_err(|error| failed(message, error))?;
            Ok(end(out.flush())?)
        }
    })?;
    let gone = || Err(MailboxError::NoMessage(key.to_owned()).into());
    copied.into_iter().next().flatten().unwrap_or_else(gone)
}

/// The largest width of the columns From and Subject; a longer text shifts the rest of its line.
const FROM_WIDTH: usize = 40;
/// See [`FROM_WIDTH`].
const SUBJECT_WIDTH: usize = 60;

/// One message of a listing; its fields and their order are those of the contract.
#[derive(Serialize)]
struct MessageRow {
    key: String,
    /// When it was delivered, in RFC 3339.
    date: String,
    /// Whole and decoded; escaped where it is shown.
    from: String,
    subject: String,
    /// Octets of the file, with LF line ends.
    size: u64,
    flags: String,
    /// Null: the inbox.
    folder: Option<String>,
    #[serde(skip)]
    is_new: bool,
}

impl MessageRow {
    fn new(message: &MailboxMessage, fields: &Fields, folder: Option<&str>) -> MessageRow {
        // Encoded words (RFC 2047) are decoded; a broken one stays as it is.
        let text = |value: &Option<Vec<u8>>| words::decode(value.as_deref().unwrap_or_default());
        MessageRow {
            key: message.key.clone(),
            date: date(message.delivered),
            from: text(&fields.from),
            subject: text(&fields.subject),
            size: message.size,
            flags: message.flags.clone(),
            folder: folder.map(str::to_owned),
            is_new: message.is_new,
        }
    }

    /// The flags for people. `new` is the file's directory, not a flag.
    fn flags_shown(&self) -> String {
        match (self.is_new, self.flags.as_str()) {
            (true, "") => "new".to_owned(),
            (true, flags) => format!("new,{flags}"),
            (false, "") => "-".to_owned(),
            (false, flags) => flags.to_owned(),
        }
    }
}

/// The rows of messages that still exist; keeps the first failure to read one.
fn read_rows(
    disk: &dyn Disk,
    maildir: &Path,
    messages: &[MailboxMessage],
    folder: Option<&str>,
    failure: &mut Option<MailboxError>,
) -> Result<Vec<MessageRow>, MailboxError> {
    let rows = mailbox::read_each(disk, maildir, messages, |message, file| {
        match file.and_then(|file| mailbox::read_head(&*file)) {
            Ok(head) => MessageRow::new(message, &Fields::read(&head), folder),
            Err(source) => {
                failure.get_or_insert_with(|| cannot_read(message, source));
                MessageRow::new(message, &Fields::default(), folder)
            }
        }
    })?;
    Ok(rows.into_iter().flatten().collect())
}

/// The listing for people: key, date, from, subject, and at the end size and flags.
struct MessageTable {
    columns: ListingColumns<4>,
    /// Digits of the largest size so far.
    size: usize,
}

impl MessageTable {
    /// The width of the keys is known from the start; they are never shortened.
    fn new(messages: &[MailboxMessage]) -> MessageTable {
        let keys = messages.iter().map(|m| terminal::width(&terminal::escape(&m.key)));
        let most = [usize::MAX, usize::MAX, FROM_WIDTH, SUBJECT_WIDTH];
        MessageTable {
            columns: ListingColumns::new(most).with_first(keys.max().unwrap_or(0)),
            size: 0,
        }
    }

    fn lines(&mut self, rows: &[MessageRow]) -> String {
        let digits = rows.iter().map(|row| row.size.to_string().len());
        self.size = digits.fold(self.size, usize::max);
        let line = |row: &MessageRow| {
            let key = terminal::escape(&row.key).into_owned();
            let last = format!("{:>2$}  {}", row.size, row.flags_shown(), self.size);
            ([key, row.date.clone(), shown(&row.from), shown(&row.subject)], last)
        };
        self.columns.lines(&rows.iter().map(line).collect::<Vec<_>>())
    }
}

/// RFC 3339 in UTC, to the second; a time outside of the calendar becomes the nearest one.
fn date(time: SystemTime) -> String {
    let timestamp = jiff::Timestamp::try_from(time).unwrap_or(if time < SystemTime::UNIX_EPOCH {
        jiff::Timestamp::MIN
    } else {
        jiff::Timestamp::MAX
    });
    timestamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn failed(message: &MailboxMessage, error: CopyError) -> MailFailure {
    match error {
        CopyError::Read(source) => cannot_read(message, source).into(),
        CopyError::Write(error) => error.into(),
    }
}

fn cannot_read(message: &MailboxMessage, source: io::Error) -> MailboxError {
    MailboxError::Disk(StoreError { step: "read", path: message.path.clone(), source })
}

impl From<MailboxError> for MailFailure {
    fn from(error: MailboxError) -> MailFailure {
        MailFailure::Mailbox(error)
    }
}

impl From<io::Error> for MailFailure {
    fn from(error: io::Error) -> MailFailure {
        MailFailure::Output(error)
    }
}

impl fmt::Display for MailFailure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            // Escaped, because the owner of a Maildir chooses the names of files.
            MailFailure::Mailbox(error) => f.write_str(&terminal::escape(&error.to_string())),
            MailFailure::Output(error) => write!(f, "cannot write the output: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::visible::is_hidden;
    use crate::store::mailbox::tests::Fake;
    use std::time::Duration;

    fn mailbox() -> Fake {
        let disk = Fake::default();
        let plain = b"From: =?utf-8?q?Andr=C3=A9?= <a@b>\nSubject: hello\n\nSubject: no\n";
        disk.add("cur/1795439147.M1.mx,S=60:2,RS", plain.to_vec());
        disk.add("new/1795439148.mx", b"no header\n".to_vec());
        let hostile = b"From: \x1b[2J\xff\nSubject: =?utf-8?q?a=0Ab=1B]0;=C2=9B?= =?x?q?c?=\n \
            =?utf-8?b?4oCu?=\n\n";
        disk.add("new/1795439149.mx", hostile.to_vec());
        disk
    }

    fn listed(disk: &Fake, json: bool) -> String {
        let mut out = Vec::new();
        write_list(disk, &Place { maildir: Path::new("/m"), folder: None }, json, &mut out)
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_listing_for_people_is_aligned_and_escaped() {
        let expected = [
            "1795439147.M1.mx,S=60  2026-11-23T13:05:47Z  André <a@b>  ",
            "hello                                   63  RS\n",
            "1795439148.mx          2026-11-23T13:05:48Z  -            ",
            "-                                       10  new\n",
            "1795439149.mx          2026-11-23T13:05:49Z  \\x1b[2Jÿ     ",
            "a\\x0ab\\x1b]0;\\u{9b} =?x?q?c?= \\u{202e}  80  new\n",
        ];
        assert_eq!(listed(&mailbox(), false), expected.concat());
    }

    #[test]
    fn a_listing_in_json_has_the_whole_text() {
        let lines = listed(&mailbox(), true);
        let expected = concat!(
            r#"{"key":"1795439147.M1.mx,S=60","date":"2026-11-23T13:05:47Z","#,
            r#""from":"André <a@b>","subject":"hello","size":63,"flags":"RS","folder":null}"#
        );
        assert_eq!(lines.lines().next(), Some(expected));
        assert_eq!(lines.lines().count(), 3);
        assert!(!lines.contains(|c| c != '\n' && is_hidden(c)));
        let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
        assert_eq!(last["from"], "\u{1b}[2Jÿ");
        assert_eq!(last["subject"], "a\nb\u{1b}]0;\u{9b} =?x?q?c?= \u{202e}");
        assert_eq!(last["flags"], "");
    }

    #[test]
    fn a_long_subject_makes_no_long_line_and_a_long_key_stays_whole() {
        let disk = Fake::default();
        let key = "1795439147.".to_owned() + &"k".repeat(240);
        disk.add(&format!("new/{key}"), [&b"Subject: "[..], &vec![b's'; 1 << 20]].concat());
        let lines = listed(&disk, false);
        assert!(lines.starts_with(&key) && lines.len() < 600 && lines.lines().count() == 1);
        assert!(lines.contains("s…  1048585  new"));
    }

    #[test]
    fn many_messages_are_listed() {
        let disk = Fake::default();
        let count = BLOCK + 5;
        for n in 0..count {
            disk.add(&format!("new/{}.mx", 1_795_000_000 + n), format!("Subject: {n}\n").into());
        }
        let lines = listed(&disk, false);
        assert_eq!(lines.lines().count(), count);
        assert!(
            lines.lines().last().is_some_and(|line| line.contains(&format!(" {} ", count - 1)))
        );
        assert_eq!(listed(&Fake::default(), false), "");
    }

    #[test]
    fn a_message_is_shown_as_it_lies_there() {
        let disk = mailbox();
        disk.add("cur/18.a:2,", b"A: \x1b[2J\n\n\xff\xc3\xbc".to_vec());
        let shown = |key: &str, terminal| {
            let mut out = Vec::new();
            let result = write_message(&disk, Path::new("/m"), key, terminal, &mut out);
            result.map(|()| out).map_err(|failure| failure.to_string())
        };
        assert_eq!(shown("18", false), Ok(b"A: \x1b[2J\n\n\xff\xc3\xbc".to_vec()));
        assert_eq!(shown("18", true), Ok("A: \\x1b[2J\n\n\\xffü".into()));
        assert_eq!(shown("\x1bx", true), Err("no message has the key \\x1bx".to_owned()));
        disk.then_move("/m/cur/18.a:2,", "/m/cur/18.a:2,S");
        assert!(shown("18.a:2,", false).is_ok());
    }

    /// An output that takes nothing, for this reason.
    struct Closed(io::ErrorKind);

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        for (kind, fine) in [(io::ErrorKind::BrokenPipe, true), (io::ErrorKind::StorageFull, false)]
        {
            let (disk, maildir, mut out) = (mailbox(), Path::new("/m"), Closed(kind));
            let inbox = Place { maildir, folder: None };
            for flag in [false, true] {
                assert_eq!(write_list(&disk, &inbox, flag, &mut out).is_ok(), fine);
                assert_eq!(
                    write_message(&disk, maildir, "1795439148", flag, &mut out).is_ok(),
                    fine
                );
            }
        }
    }

    #[test]
    fn dates_of_any_time_are_shown() {
        let second = Duration::from_secs(1);
        let year_9999 = Duration::from_secs(253_402_207_200);
        for (time, shown) in [
            (SystemTime::UNIX_EPOCH, "1970-01-01T00:00:00Z"),
            (SystemTime::UNIX_EPOCH - second, "1969-12-31T23:59:59Z"),
            (SystemTime::UNIX_EPOCH + year_9999 * 10, "9999-12-30T22:00:00Z"),
        ] {
            assert_eq!(date(time), shown);
        }
    }
}
