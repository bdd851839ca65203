//! Plays every dialog of `tests/dialogs/`: against the core in memory, at any pace, and over a
//! socket. What a dialog is, [`crate::play`] says.

use crate::play::{Dialog, Pace, stage};
use crate::support::Place;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Longest that a client says in a dialog that is cut at each octet.
const CUT_MAX: usize = 700;

/// Dialogs played at once: more than processors, as over a socket they wait for the disk.
const WORKERS: usize = 4;

/// Path from the crate's folder, text; in order.
pub fn texts() -> Vec<(String, String)> {
    let mut texts = Vec::new();
    gather(Path::new("tests/dialogs"), &mut texts);
    texts.sort();
    texts
}

fn gather(dir: &Path, texts: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).expect("tests run in the crate's folder") {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => gather(&path, texts),
            false => texts.push((path.display().to_string(), fs::read_to_string(&path).unwrap())),
        }
    }
}

/// Plays all dialogs but those that show a bug, several at once, then tells of all that failed.
fn each(play: impl Fn(&Dialog, &Place) -> Result<(), String> + Sync) {
    let (texts, next) = (texts(), AtomicUsize::new(0));
    let work = || {
        let mut failures = Vec::new();
        while let Some((path, text)) = texts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let dialog = Dialog::parse(path, text).map(|dialog| match dialog.is_bug {
                true => Ok(()),
                false => play(&dialog, &stage()),
            });
            failures.extend(dialog.and_then(|played| played).err());
        }
        failures
    };
    let failures: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    });
    assert!(failures.is_empty(), "{} failed:\n\n{}\n", failures.len(), failures.join("\n\n"));
}

#[test]
fn each_names_itself_and_its_rfc() {
    let texts = texts();
    assert!(texts.len() >= 230, "only {} dialogs", texts.len());
    for (path, text) in texts {
        let first = text.lines().next().unwrap_or_default();
        let sections = first.strip_prefix(&format!("# {path}     RFC ")).unwrap_or_default();
        let (number, section) = sections.split_once(' ').unwrap_or_default();
        assert!(
            number.parse::<u16>().is_ok() && section.contains('§'),
            "expected `# {path}     RFC 5321 §...`, found `{first}`"
        );
    }
}

#[test]
fn in_memory_at_any_pace() {
    each(at_any_pace);
}

fn at_any_pace(dialog: &Dialog, place: &Place) -> Result<(), String> {
    let site = dialog.site(place);
    let whole = dialog.in_memory(place, &site, Pace::InTurn(usize::MAX));
    dialog.check(&whole)?;
    for pace in [Pace::InTurn(1), Pace::AtOnce] {
        let played = dialog.in_memory(place, &site, pace);
        dialog.check(&played).map_err(|what| format!("{pace:?}: {what}"))?;
        let (one, other) = (whole.essence(), played.essence());
        if one != other {
            return Err(format!("{pace:?} gives\n{other}\nand in turn\n{one}"));
        }
    }
    Ok(())
}

/// A dialog of a bug fails, and by that tells when the bug is gone: then its line `# BUG` has to go.
#[test]
fn known_bugs_are_still_there() {
    let dialogs = texts().into_iter().map(|(path, text)| Dialog::parse(&path, &text).unwrap());
    let gone = dialogs.filter(|dialog| dialog.is_bug && at_any_pace(dialog, &stage()).is_ok());
    let gone: Vec<String> = gone.map(|dialog| dialog.path).collect();
    assert!(gone.is_empty(), "no bug any more, remove `# BUG`: {gone:?}");
}

/// Nothing stays of a message that was not answered 250, and all of one that was.
#[test]
fn a_client_may_go_at_any_octet() {
    each(|dialog, place| {
        let said = dialog.said();
        let has = |word: &[u8]| said.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word));
        let has_message = has(b"DATA\r\n") || has(b"BDAT ");
        let cuts = if has_message && said.len() <= CUT_MAX { 0..said.len() } else { 0..0 };
        let site = dialog.site(place);
        for cut in cuts {
            if !dialog.in_memory(place, &site, Pace::Cut(cut)).keeps_its_promises() {
                return Err(format!("{}: gone after {cut} octets", dialog.path));
            }
        }
        Ok(())
    });
}

#[test]
fn over_a_socket() {
    each(|dialog, place| match dialog.has_socket() {
        true => dialog.check(&dialog.over_a_socket(place)),
        false => Ok(()),
    });
}
