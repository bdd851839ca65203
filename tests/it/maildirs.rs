//! A Maildir as other programs expect it: made, mended, named and tidied.

use crate::servers::Inside;
use crate::support::{Place, assert_no_drafts, config, files, make_maildir, text, tree, until};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

const MAIL: &[u8] = b"Subject: x\r\n\r\nHello.\r\n";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn what_is_missing_is_made_for_its_owner_alone() {
    let place = Place::new();
    let server = Inside::serve(&place, &config(""));
    server.client().delivered(&["ann@mx.test"], MAIL);
    let mut kinds = Vec::new();
    for path in tree(&place.at("mail")) {
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&path), expected, "{}", path.display());
        let inside = path.strip_prefix(place.at("mail")).unwrap();
        kinds.push(inside.display().to_string());
    }
    assert_eq!(mode(&place.at("mail")), 0o700);
    let message = kinds.pop_if(|last| last.contains("/tmp")).unwrap();
    assert_eq!(message, "mx.test/ann/tmp");
    assert_eq!(kinds[..4], ["mx.test", "mx.test/ann", "mx.test/ann/cur", "mx.test/ann/new"]);
    assert!(kinds.len() == 5 && kinds[4].starts_with("mx.test/ann/new/"), "{kinds:?}");
}

#[test]
fn a_missing_part_is_mended() {
    let place = Place::new();
    let server = Inside::serve(&place, &config(""));
    let mut client = server.client();
    for (count, missing) in ["cur", "new", "tmp", "cur"].into_iter().enumerate() {
        let maildir = place.maildir("ann");
        make_maildir(&maildir);
        let before = files(&maildir.join("new")).len();
        let _ = fs::rename(maildir.join(missing), place.at(missing));
        client.delivered(&["ann@mx.test"], MAIL);
        let left = if missing == "new" { 0 } else { before };
        assert_eq!(files(&maildir.join("new")).len(), left + 1, "{count} {missing}");
        assert!(["cur", "new", "tmp"].iter().all(|name| maildir.join(name).is_dir()));
        let _ = fs::remove_dir_all(place.at(missing));
    }
    assert_no_drafts(&place);
}

/// The server keeps directories open from one message to the next.
#[test]
fn mail_does_not_follow_a_maildir_that_is_moved_away() {
    let place = Place::new();
    let server = Inside::serve(&place, &config(""));
    let (maildir, old) = (place.maildir("ann"), place.at("old"));
    let mut client = server.client();
    client.delivered(&["ann@mx.test"], MAIL);
    fs::rename(&maildir, &old).unwrap();
    make_maildir(&maildir);
    client.delivered(&["ann@mx.test"], MAIL);
    fs::remove_dir_all(&maildir).unwrap();
    client.delivered(&["ann@mx.test"], MAIL);
    let new = [&maildir, &old].map(|home| files(&home.join("new")).len());
    assert_eq!((new, files(&old.join("tmp")).len()), ([1, 1], 0));
    assert_no_drafts(&place);
}

#[test]
fn a_message_of_nothing_is_a_message() {
    let place = Place::new();
    let server = Inside::serve(&place, &config(""));
    server.client().delivered(&["ann@mx.test"], b"");
    let mail = place.mail("ann");
    let lines = text(&mail[0]);
    assert_eq!((mail.len(), lines.lines().count()), (1, 6), "{lines}");
    assert!(lines.ends_with("0000\n") || lines.contains(" +") || lines.contains(" -"), "{lines}");
}

/// Whoever says all at once and ends its side still hears the end of it.
#[test]
fn a_client_that_hangs_up_first_is_answered() {
    let place = Place::new();
    let server = Inside::serve(&place, &config(""));
    let mut client = server.client();
    client.send(b"MAIL FROM:<>\r\nRCPT TO:<ann@mx.test>\r\nDATA\r\nSubject: x\r\n\r\n.\r\n");
    client.hang_up();
    for start in ["250 2.1.0 ", "250 2.1.5 ", "354 ", "250 2.0.0 Ok: queued as "] {
        let reply = client.reply();
        assert!(reply.starts_with(start), "{reply}");
    }
    assert!(client.is_over() && place.mail("ann").len() == 1);
}

#[test]
fn names_are_unique_and_tell_the_size() {
    let place = Place::new();
    let server = Inside::serve(&place, &config(""));
    let mut client = server.client();
    for length in [0, 1, 1000, 70_000, 200_000] {
        let body = "x".repeat(length);
        client.delivered(&["ann@mx.test"], format!("Subject: x\r\n\r\n{body}\r\n").as_bytes());
    }
    let found = files(&place.maildir("ann").join("new"));
    assert_eq!(found.len(), 5);
    for path in found {
        let name = path.file_name().unwrap().to_str().unwrap();
        let (unique, size) = name.rsplit_once(",S=").unwrap();
        assert_eq!(size.parse(), Ok(fs::metadata(&path).unwrap().len()), "{name}");
        let seconds: u64 = unique.split('.').next().unwrap().parse().unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert!(now.abs_diff(seconds) < 600, "{name}");
        assert!(name.len() < 200 && unique.contains(".mx.test"), "{name}");
        assert!(!name.contains(':') && !name.starts_with('.'), "{name}");
    }
}

/// A file that a crash left so many hours ago.
fn leftover(place: &Place, user: &str, hours: u64) {
    make_maildir(&place.maildir(user));
    let path = place.maildir(user).join(format!("tmp/{hours}"));
    let file = File::create(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
}

fn left(place: &Place, user: &str) -> Vec<String> {
    let found = files(&place.maildir(user).join("tmp"));
    found.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn leftovers_go_after_36_hours_at_start_and_with_new_mail() {
    let place = Place::new();
    let old = place.maildir("ann").join("new/kept");
    for hours in [35, 37] {
        leftover(&place, "ann", hours);
    }
    let long_ago = SystemTime::now() - Duration::from_secs(1000 * 3600);
    File::create(&old).unwrap().set_modified(long_ago).unwrap();
    // A folder is one of a Maildir in this, too.
    for hours in [35, 37] {
        leftover(&place, "ann/.Junk", hours);
    }
    let server = Inside::serve(&place, &config(""));
    until("ann's leftover is gone at start", || left(&place, "ann") == ["35"]);
    until("that in her folder, too", || left(&place, "ann/.Junk") == ["35"]);
    // A Maildir that was not there at start.
    for hours in [35, 37] {
        leftover(&place, "bob", hours);
    }
    server.client().delivered(&["bob@mx.test"], MAIL);
    until("bob's leftover is gone after mail", || left(&place, "bob") == ["35"]);
    assert!(old.exists() && left(&place, "ann") == ["35"]);
}
