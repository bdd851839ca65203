//! Notices through the whole server: who is told what, how often, and what a next hop is told to tell
//! (RFC 3461 §5.2, RFC 3464).

use crate::forwarding::{MESSAGE, Node};
use crate::hosts::Host;
use crate::outside::{Input, PYTHON, installed, program, run, script};
use crate::support::{Place, until};
use serde_json::{Value, json};
use std::path::PathBuf;

/// A host that has never heard of notices.
const PLAIN: &str = "EHLO: 250-host.test | 250 SIZE 10000000";
const NOBODY: &str = "RCPT: 550 5.1.1 nobody here";

/// A server for its own users, any name at mx.test.
fn node() -> Node {
    Node::new("mx.test").domain("any.test", "any_user = true").trusting()
}

/// What the notices to a user say has happened, in order; nothing else is in that mailbox.
fn actions(node: &Node, user: &str) -> Vec<String> {
    let notices = node.mail(user);
    let fields = |notice: &String| {
        assert!(notice.starts_with("Return-Path: <>\n"), "{notice}");
        assert!(notice.contains("\nAuto-Submitted: auto-replied\n"), "{notice}");
        let lines = notice.lines().filter_map(|line| line.strip_prefix("Action: "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut actions: Vec<String> = notices.iter().flat_map(fields).collect();
    actions.sort();
    actions
}

/// Every notice in these mailboxes is one to Python, too.
fn python_reads(node: &Node, users: &[&str]) {
    if !installed(&[PYTHON]) {
        return;
    }
    let files: Vec<PathBuf> = users.iter().flat_map(|user| node.mail_files(user)).collect();
    assert!(!files.is_empty());
    for file in files {
        let place = Place::new();
        let mut python = program(&place, PYTHON);
        python.arg(script("report.py")).arg(file).arg("returned");
        let read: Value =
            serde_json::from_str(&run(&place, &mut python, Input::Octets(b""))).unwrap();
        assert_eq!(read["report_type"], "delivery-status");
        assert_eq!(read["header"]["From"], "Mail Delivery System <postmaster@mx.mx.test>");
        let blocks = read["blocks"].as_array().unwrap();
        let has = |block: &Value, name| block.as_array().unwrap().iter().any(|f| f[0] == name);
        assert!(
            blocks[0].as_array().unwrap().contains(&json!(["Reporting-MTA", "dns; mx.mx.test"]))
        );
        for block in &blocks[1..] {
            let all = ["Final-Recipient", "Action", "Status"].iter().all(|name| has(block, *name));
            assert!(all && blocks.len() > 1, "{block}");
        }
    }
}

#[test]
fn who_is_told_what_notify_asks_for() {
    let (good, plain, no) = (Host::start(""), Host::start(PLAIN), Host::start(NOBODY));
    let node = node().route("good.test", good.address).route("plain.test", plain.address);
    let node = node.route("no.test", no.address).serve();
    let places = ["bob@mx.test", "eve@good.test", "eve@plain.test", "eve@no.test"];
    // What is told of each of these.
    let cases = [
        ("", ["", "", "", "failed"]),
        ("NEVER", ["", "", "", ""]),
        ("SUCCESS", ["delivered", "", "relayed", ""]),
        ("FAILURE", ["", "", "", "failed"]),
        ("DELAY", ["", "", "", ""]),
        ("SUCCESS,DELAY", ["delivered", "", "relayed", ""]),
        ("FAILURE,DELAY", ["", "", "", "failed"]),
        ("SUCCESS,FAILURE,DELAY", ["delivered", "", "relayed", "failed"]),
    ];
    let sender = |case: usize, place: usize| format!("s{case}-{place}@any.test");
    for (case, (notify, _)) in cases.iter().enumerate() {
        let notify = if notify.is_empty() { "".into() } else { format!(" NOTIFY={notify}") };
        for (place, to) in places.iter().enumerate() {
            let from = format!("<{}>", sender(case, place));
            node.send(&from, &[&format!("<{to}>{notify}")], MESSAGE);
        }
    }
    node.until_empty();
    for (case, (notify, told)) in cases.iter().enumerate() {
        for (place, told) in told.iter().enumerate() {
            let expected: Vec<&str> =
                Some(*told).filter(|told| !told.is_empty()).into_iter().collect();
            assert_eq!(
                actions(&node, &sender(case, place)),
                expected,
                "{notify} {}",
                places[place]
            );
        }
    }
    assert_eq!((node.mail("bob").len(), good.mail().len(), plain.mail().len()), (8, 8, 8));
    assert!(node.mail("postmaster").is_empty());
    python_reads(&node, &[&sender(0, 3), &sender(2, 0), &sender(2, 2)]);
    node.stop();
}

#[test]
fn a_host_that_knows_notices_is_told_all_that_was_asked() {
    let (good, plain) = (Host::start(""), Host::start(PLAIN));
    let node = node().route("good.test", good.address).route("plain.test", plain.address);
    node.place.write("mx.test.aliases", "team: max@good.test\n");
    let node = node.serve();
    let asked = "NOTIFY=SUCCESS,DELAY ORCPT=rfc822;team+2Bx@y.test";
    let to = ["<eve@good.test>", "<eve@plain.test>", "<team@mx.test>"];
    let mut to: Vec<String> = to.iter().map(|to| format!("{to} {asked}")).collect();
    to.extend(["<dan@good.test> NOTIFY=NEVER".into(), "<fay@good.test>".into()]);
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    node.send("<ann@mx.test> RET=HDRS ENVID=QQ+2B314", &to, MESSAGE);
    node.until_empty();
    let said = |host: &Host, start| {
        let commands = host.seen().commands.into_iter();
        let mut lines: Vec<String> = commands.filter(|line| line.starts_with(start)).collect();
        lines.sort();
        lines
    };
    let mail = said(&good, "MAIL").remove(0);
    assert!(mail.starts_with("MAIL FROM:<ann@mx.test> SIZE="), "{mail}");
    assert!(mail.ends_with(" RET=HDRS ENVID=QQ+2B314"), "{mail}");
    let expected = [
        "RCPT TO:<dan@good.test> NOTIFY=NEVER".to_owned(),
        format!("RCPT TO:<eve@good.test> {asked}"),
        "RCPT TO:<fay@good.test>".to_owned(),
        format!("RCPT TO:<max@good.test> {asked}"),
    ];
    assert_eq!(said(&good, "RCPT"), expected);
    assert_eq!(said(&plain, "RCPT"), ["RCPT TO:<eve@plain.test>"]);
    assert!(!said(&plain, "MAIL")[0].contains(" RET="), "{:?}", said(&plain, "MAIL"));
    // Of the host that cannot tell, we do.
    let [notice] = &node.mail("ann")[..] else { panic!("{:?}", node.mail("ann")) };
    for part in [
        "\nOriginal-Envelope-Id: QQ+314\n",
        "\nOriginal-Recipient: rfc822; team+x@y.test\nFinal-Recipient: rfc822; eve@plain.test\n\
         Action: relayed\n",
        "\nContent-Type: text/rfc822-headers\n",
    ] {
        assert!(notice.contains(part), "{part} in {notice}");
    }
    assert!(!notice.contains("good.test"), "{notice}");
    node.stop();
}

#[test]
fn strangers_are_told_nothing() {
    let (plain, home) = (Host::start(PLAIN), Host::start(""));
    let node = Node::new("mx.test").aliases("far: eve@plain.test\n");
    let node = node.route("plain.test", plain.address).route("home.test", home.address).serve();
    for to in ["<bob@mx.test>", "<far@mx.test>"] {
        let to = format!("{to} NOTIFY=SUCCESS,FAILURE,DELAY");
        node.send("<zoe@home.test> RET=FULL ENVID=1", &[&to], MESSAGE);
    }
    // From one of ours, says who is not: he may be anybody.
    node.send("<ann@mx.test>", &["<bob@mx.test> NOTIFY=SUCCESS"], MESSAGE);
    node.until_empty();
    assert_eq!((node.mail("bob").len(), plain.mail().len()), (2, 1));
    assert!(node.mail("ann").is_empty() && node.mail("postmaster").is_empty());
    assert_eq!(home.seen().connections, 0);
    node.stop();
}

#[test]
fn those_who_failed_together_stand_in_one_notice() {
    let (no, other) = (Host::start(NOBODY), Host::start(".: 554 5.7.1 not this"));
    let node = node().route("no.test", no.address).route("other.test", other.address).serve();
    let never = "<d@no.test> NOTIFY=NEVER";
    let to = ["<a@no.test>", "<b@no.test> NOTIFY=FAILURE", "<c@no.test>", never, "<e@other.test>"];
    node.send("<ann@mx.test>", &to, MESSAGE);
    node.until_empty();
    let notices = node.mail("ann");
    assert_eq!((notices.len(), actions(&node, "ann").len()), (2, 4), "{notices:?}");
    let three = notices.iter().find(|notice| notice.contains("<a@no.test>")).unwrap();
    assert!(three.contains("<b@no.test>") && three.contains("<c@no.test>"), "{three}");
    assert!(notices.iter().all(|notice| !notice.contains("d@no.test")), "{notices:?}");
    python_reads(&node, &["ann"]);
    node.stop();
}

#[test]
fn what_is_returned_is_what_was_asked_for() {
    let no = Host::start(NOBODY);
    let node = node().route("no.test", no.address).serve();
    let large = [b"Subject: large\r\n\r\n".to_vec(), b"0123456\r\n".repeat(20_000)].concat();
    let large = [large, b"the end\r\n".to_vec()].concat();
    let small = b"Subject: small\r\n\r\nthe end\r\n".to_vec();
    for (case, (ret, message, is_whole)) in [
        ("", &small, true),
        (" RET=FULL", &small, true),
        (" RET=HDRS", &small, false),
        ("", &large, false),
        (" RET=FULL", &large, true),
        (" RET=HDRS", &large, false),
    ]
    .into_iter()
    .enumerate()
    {
        let user = format!("r{case}@any.test");
        node.send(&format!("<{user}>{ret}"), &["<eve@no.test>"], message);
        until("it is told", || node.mail(&user).len() == 1);
        let notice = &node.mail(&user)[0];
        let kind = if is_whole { "message/rfc822" } else { "text/rfc822-headers" };
        assert!(notice.contains(&format!("\nContent-Type: {kind}\n")), "{ret} {case}");
        assert_eq!(notice.contains("\nthe end\n"), is_whole, "{ret} {case}");
        assert!(notice.contains("\nReceived: from client.test") && notice.contains("\nSubject: "));
    }
    node.until_empty();
    node.stop();
}

#[test]
fn a_delay_is_announced_once_and_then_the_end_is_told() {
    let script = "RCPT TO:<sense1@*2: 450 4.2.0 later\nRCPT TO:<sense2@*2: 450 4.2.0 later\n\
                  RCPT TO:<late@: 450 4.2.0 later";
    let later = Host::start(script);
    let node = node().relay("delay_notice = \"1s\"\nretry = [\"1s\"]\nexpire = \"4s\"\n");
    node.place.write("mx.test.aliases", "team: late@later.test\n");
    let node = node.route("later.test", later.address).serve();
    let cases = [
        ("<late@later.test>", vec!["delayed", "failed"]),
        ("<late@later.test> NOTIFY=NEVER", vec![]),
        ("<late@later.test> NOTIFY=SUCCESS", vec![]),
        ("<late@later.test> NOTIFY=FAILURE", vec!["failed"]),
        ("<late@later.test> NOTIFY=DELAY", vec!["delayed"]),
        ("<late@later.test> NOTIFY=FAILURE,DELAY", vec!["delayed", "failed"]),
        // That host tells nobody who asked for nothing; who was told of the delay hears the end.
        ("<sense1@later.test>", vec!["delayed", "relayed"]),
        ("<sense2@later.test> NOTIFY=DELAY", vec!["delayed"]),
        // Its end is the postmaster's to hear.
        ("<team@mx.test>", vec![]),
    ];
    for (case, (to, _)) in cases.iter().enumerate() {
        node.send(&format!("<d{case}@any.test>"), &[to], MESSAGE);
    }
    node.until_empty();
    for (case, (to, expected)) in cases.iter().enumerate() {
        assert_eq!(actions(&node, &format!("d{case}@any.test")), *expected, "{to}");
    }
    assert_eq!(actions(&node, "postmaster"), ["failed"]);
    let first = node.mail("d0@any.test");
    let late = first.iter().find(|notice| notice.contains("Action: delayed")).unwrap();
    assert!(late.contains("\nWill-Retry-Until: ") && late.contains("450 4.2.0 later"), "{late}");
    let end = first.iter().find(|notice| notice.contains("Action: failed")).unwrap();
    assert!(end.contains("\nStatus: 4.4.7\n"), "{end}");
    python_reads(&node, &["d0@any.test", "d6@any.test"]);
    node.stop();
}

#[test]
fn who_is_written_to_directly_is_no_matter_of_an_alias() {
    let no = Host::start(NOBODY);
    let node = node().route("no.test", no.address);
    node.place.write("mx.test.aliases", "team: bob, eve@no.test\n");
    let node = node.serve();
    for to in [["<team@mx.test>", "<eve@no.test>"], ["<eve@no.test>", "<team@mx.test>"]] {
        node.send("<ann@mx.test>", &to, MESSAGE);
    }
    node.until_empty();
    assert_eq!(actions(&node, "ann"), ["failed", "failed"]);
    assert_eq!((node.mail("bob").len(), node.mail("postmaster").len()), (2, 0));
    // Each host got it once, from the one who sent it.
    let from = "MAIL FROM:<ann@mx.test>";
    assert_eq!((no.count(from), no.count("MAIL"), no.count("RCPT")), (2, 2, 2));
    // Behind the alias alone it is the postmaster's.
    node.send("<ann@mx.test>", &["<team@mx.test>"], MESSAGE);
    node.until_empty();
    assert_eq!((actions(&node, "ann").len(), actions(&node, "postmaster").len()), (2, 1));
    node.stop();
}
