//! A bounce of ours, read by programs that people and their scripts read mail with.

use crate::daemons::below_received;
use crate::hosts::Host;
use crate::outside::{Input, PYTHON, Parcel, installed, program, run, script};
use crate::servers::Binary;
use crate::support::{Place, config, files};
use std::fs;
use std::path::PathBuf;

/// Ann's only message says that hers did not reach nobody, and why.
struct Bounced {
    place: Place,
    parcel: Parcel,
    file: PathBuf,
}

impl Bounced {
    fn new() -> Bounced {
        let (place, host) =
            (Place::new(), Host::start("RCPT: 550-5.1.1 nobody | 550 5.1.1 of that name"));
        let relay = "[relay]\nnetworks = [\"127.0.0.0/8\"]\n[relay.route]";
        let site = config(&format!("{relay}\n\"far.test\" = \"{}\"", host.address));
        let server = Binary::serve(&place, &site);
        let parcel = Parcel::new(&place);
        let mut client = server.client();
        client
            .expect("MAIL FROM:<ann@mx.test> BODY=8BITMIME RET=FULL ENVID=there+20is+20one", "250");
        client.expect("RCPT TO:<nobody@far.test>", "250");
        client.expect("DATA", "354");
        client.send(&crate::client::stuffed(&parcel.with_crlf()));
        assert!(client.reply().starts_with("250"));
        server.wait_for(&["delivered ", "to=ann@mx.test"]);
        let [file] = &files(&place.maildir("ann").join("new"))[..] else { panic!("not one") };
        let file = file.clone();
        Bounced { place, parcel, file }
    }

    /// What came back in that file is what was sent, below our Received.
    fn assert_returned(&self, name: &str) {
        let octets = fs::read(self.place.at(name)).unwrap();
        assert!(below_received(&octets, 1) == self.parcel.message, "not the same octets");
        self.parcel.assert_in(&self.place, &self.place.at(name));
    }
}

/// A line of the text, and one of the report.
const TEXT: &str = "      550-5.1.1 nobody\n      550 5.1.1 of that name\n";
const REPORT: &str = "Final-Recipient: rfc822; nobody@far.test\nAction: failed\nStatus: 5.1.1\n";

#[test]
fn python() {
    if !installed(&[PYTHON]) {
        return;
    }
    let bounced = Bounced::new();
    let mut read = program(&bounced.place, PYTHON);
    read.arg(script("notice_read.py")).arg(&bounced.file).arg("returned");
    let said = run(&bounced.place, &mut read, Input::Octets(b""));
    let found: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(found["subject"], "Not delivered: mail to nobody@far.test");
    assert_eq!(found["from"], "Mail Delivery System <postmaster@mx.test>");
    let parts = ["text/plain", "message/delivery-status", "message/rfc822"];
    assert_eq!(found["parts"], serde_json::json!(parts));
    assert!(found["text"].as_str().unwrap().contains(TEXT), "{said}");
    let [message, recipient] = &found["report"].as_array().unwrap()[..] else { panic!("{said}") };
    assert_eq!(message["Original-Envelope-Id"], "there is one");
    assert_eq!(message["Reporting-MTA"], "dns; mx.test");
    assert_eq!(recipient["Final-Recipient"], "rfc822; nobody@far.test");
    assert_eq!((&recipient["Action"], &recipient["Status"]), (&"failed".into(), &"5.1.1".into()));
    let diagnostic = recipient["Diagnostic-Code"].as_str().unwrap();
    let words: Vec<&str> = diagnostic.split_whitespace().collect();
    assert_eq!(words.join(" "), "smtp; 550-5.1.1 nobody 550 5.1.1 of that name");
    bounced.assert_returned("returned");
}

/// Pipes the three parts, as they are listed, to files.
const KEYS: &str = "<first-entry><view-attachments><pipe-entry>cat > words<enter>\
    <next-entry><pipe-entry>cat > report<enter>\
    <next-entry><pipe-entry>cat > returned<enter><exit><exit>";

#[test]
fn mutt() {
    if !installed(&["mutt", "script", PYTHON]) {
        return;
    }
    let bounced = Bounced::new();
    let place = &bounced.place;
    let settings = "set folder=mail mbox_type=Maildir move=no quit=yes wait_key=no pipe_decode=no\n\
                    set charset=utf-8 sleep_time=0\n";
    place.write("muttrc", format!("{settings}push \"{KEYS}\"\n"));
    let mut mutt = program(place, "script");
    mutt.args(["-qec", "mutt -R -n -F muttrc -f mail/mx.test/ann", "/dev/null"]);
    run(place, &mut mutt, Input::Silence);
    let read = |name: &str| fs::read_to_string(place.at(name)).unwrap();
    assert!(read("words").contains(TEXT), "{}", read("words"));
    assert!(read("report").contains(REPORT), "{}", read("report"));
    bounced.assert_returned("returned");
}

#[test]
fn s_nail() {
    if !installed(&["s-nail", PYTHON]) {
        return;
    }
    let bounced = Bounced::new();
    let mut nail = program(&bounced.place, "s-nail");
    nail.args(["-:/", "-Sv15-compat", "-Spipe-message/delivery-status=?"]);
    nail.args(["-R", "-f", "mail/mx.test/ann"]);
    let said = run(&bounced.place, &mut nail, Input::Octets(b"type 1\nquit\n"));
    let parts = ["#1.1 ", "#1.2 ", "#1.3 "].map(|number| said.find(&format!("[-- {number}")));
    assert!(parts.is_sorted() && parts.iter().all(Option::is_some), "{parts:?} in {said}");
    for part in [
        "Content-Type: multipart/report; report-type=delivery-status;",
        "Content-Type: message/delivery-status\n",
        TEXT,
        REPORT,
        // The returned message with all its parts.
        &format!("Subject: {}\n", crate::outside::SUBJECT),
        "ünïcode 漢字",
        "filename=\"octets.bin\"",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}
