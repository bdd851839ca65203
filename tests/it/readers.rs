//! Programs that people read mail with, on what the real binary has delivered: they find the octets
//! that were sent, and `facteur mail list` then shows what they marked. Dovecot is in `dovecot`.

use crate::outside::{
    Input, PYTHON, Parcel, SUBJECT, installed, listing, program, run, script, shown,
};
use crate::servers::Binary;
use crate::support::{Place, config, files};
use std::fs;

/// A Maildir of Ann's with one new message, and what was sent.
fn delivered() -> (Place, Parcel) {
    let place = Place::new();
    let parcel = Parcel::new(&place);
    let server = Binary::serve(&place, &config(""));
    server.client().delivered(&["ann@mx.test"], &parcel.with_crlf());
    server.stop();
    (place, parcel)
}

/// The message has moved to `cur/` under the name `key`, with those flags, and is the same.
fn assert_marked(place: &Place, key: &str, flags: &str, octets: &[u8]) {
    let maildir = place.maildir("ann");
    assert!(files(&maildir.join("new")).is_empty());
    assert_eq!(files(&maildir.join("cur")), [maildir.join(format!("cur/{key}:2,{flags}"))]);
    let [row] = &listing(place, "ann")[..] else { panic!("not one row") };
    assert_eq!((row["key"].as_str(), row["flags"].as_str()), (Some(key), Some(flags)), "{row}");
    assert_eq!(
        (row["subject"].as_str(), row["size"].as_u64()),
        (Some(SUBJECT), Some(octets.len() as u64))
    );
    assert!(shown(place, "ann", key) == octets, "not the same octets");
}

#[test]
fn python_mailbox() {
    if !installed(&[PYTHON]) {
        return;
    }
    let (place, parcel) = delivered();
    let octets = place.mail("ann").pop().unwrap();
    let mut python = program(&place, PYTHON);
    python.arg(script("mailbox_read.py")).arg(place.maildir("ann")).arg("copy");
    let key = run(&place, &mut python, Input::Octets(b""));
    assert!(fs::read(place.at("copy")).unwrap() == octets, "not the same octets");
    parcel.assert_in(&place, &place.at("copy"));
    assert_marked(&place, key.trim_end(), "FS", &octets);
}

/// What mutt shall do: pipe the whole message to a file, save the attachment (the last of the parts
/// it lists) to another, mark the message as important and answered, write that down, and leave. It has read it by then.
const KEYS: &str = "<first-entry><pipe-message>cat > copy<enter><view-attachments><last-entry>\
    <save-entry><kill-line>saved<enter><exit><set-flag>!<set-flag>r<sync-mailbox><quit>";

#[test]
fn mutt() {
    // `script` is the terminal that mutt wants to have.
    if !installed(&["mutt", "script", PYTHON]) {
        return;
    }
    let (place, parcel) = delivered();
    let [file] = &files(&place.maildir("ann").join("new"))[..] else { panic!("not one message") };
    let (octets, key) = (fs::read(file).unwrap(), file.file_name().unwrap().to_str().unwrap());
    let settings = "set folder=mail mbox_type=Maildir move=no quit=yes wait_key=no pipe_decode=no\n\
                    set charset=utf-8 sleep_time=0\n";
    let keys = format!("{settings}push \"{KEYS}\"\n");
    place.write("muttrc", keys);
    let mut mutt = program(&place, "script");
    mutt.args(["-qec", "mutt -n -F muttrc -f mail/mx.test/ann", "/dev/null"]);
    run(&place, &mut mutt, Input::Silence);
    assert!(fs::read(place.at("copy")).unwrap() == octets, "not the same octets");
    assert!(fs::read(place.at("saved")).unwrap() == parcel.attachment, "not the same octets");
    assert_marked(&place, key, "FRS", &octets);
}
