//! Odd headers, and what becomes of them.

use super::*;
use crate::limits::ADDRESS_WORDS_MAX;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn whole(text: &str) -> SubmittedHeader<'_> {
    SubmittedHeader::read(text.as_bytes(), true).unwrap().unwrap()
}

fn repaired(text: &[u8]) -> Vec<u8> {
    let date = "2026-02-03T04:05:06+01:00[+01:00]".parse::<ZonedDateTime>().unwrap();
    let header = SubmittedHeader::read(text, true).unwrap().unwrap();
    let with = Completion {
        date: &date,
        message_id: "id@mx.test",
        name: Some("Ann Smith"),
        from: "ann@mx.test",
        sender: None,
        domain: Domains::Later,
    };
    [&header.completed(&with), &text[header.body_at()..]].concat()
}

const DATE: &str = "Date: Tue, 03 Feb 2026 04:05:06 +0100\n";
const FROM: &str = "From: Ann Smith <ann@mx.test>\n";
const ID: &str = "Message-ID: <id@mx.test>\n";

#[track_caller]
fn becomes(before: &str, after: &str) {
    let after = after.replace("{DATE}", DATE).replace("{FROM}", FROM).replace("{ID}", ID);
    assert_eq!(String::from_utf8_lossy(&repaired(before.as_bytes())), after, "{before:?}");
}

#[test]
fn what_is_missing_is_added_below() {
    becomes("Subject: x\n\nbody\n", "Subject: x\n{DATE}{FROM}{ID}\nbody\n");
    becomes("date: x\nMESSAGE-ID : y\n\n", "date: x\nMESSAGE-ID : y\n{FROM}\n");
    becomes("From: x\nMessage-Id: <y>\n\n\n", "From: x\nMessage-Id: <y>\n{DATE}\n\n");
    // Broken, but there.
    becomes("Date: x\nFrom: <<\nMessage-ID: <\n\n", "Date: x\nFrom: <<\nMessage-ID: <\n\n");
    // There, and worse than none.
    becomes("Date:\nFrom: <>\nMessage-ID: \n <>\n\n", "{DATE}{FROM}{ID}\n");
    becomes("From: (nobody),\nSender:\nTo:\n\n", "To:\n{DATE}{FROM}{ID}\n");
    becomes(
        "Date: x\nFrom:\nFrom: a@b\nMessage-ID: y\n\n",
        "Date: x\nFrom: a@b\nMessage-ID: y\n\n",
    );
}

#[test]
fn blind_copies_go_with_all_their_lines() {
    let all = "Date: d\nFrom: f\nMessage-ID: i\n";
    becomes(
        &format!("Bcc: a,\n b,\n\tc\n{all}BCC : d\nX: y\n z\nbcc:\n\nBcc: body\n"),
        &format!("{all}X: y\n z\n\nBcc: body\n"),
    );
    becomes(&format!("{all}X-Bcc: a\nBccs: b"), &format!("{all}X-Bcc: a\nBccs: b\n\n"));
}

#[test]
fn where_a_header_ends() {
    // No header at all.
    becomes("Hello,\nthis is text.\n", "{DATE}{FROM}{ID}\nHello,\nthis is text.\n");
    becomes(" folded\nX: y\n", "{DATE}{FROM}{ID}\n folded\nX: y\n");
    becomes("", "{DATE}{FROM}{ID}\n");
    becomes("\nbody", "{DATE}{FROM}{ID}\nbody");
    becomes(": no name\n", "{DATE}{FROM}{ID}\n: no name\n");
    // A header that ends without an empty line, or with the message.
    becomes(
        "X: y\nHello: to you\nBye now: x\n",
        "X: y\nHello: to you\n{DATE}{FROM}{ID}\nBye now: x\n",
    );
    becomes("X: y", "X: y\n{DATE}{FROM}{ID}\n");
    becomes("X: y\n z", "X: y\n z\n{DATE}{FROM}{ID}\n");
    // White space alone is a fold, not an empty line (RFC 5322 §4.2).
    becomes("X: y\n \nZ: z\n\n", "X: y\n \nZ: z\n{DATE}{FROM}{ID}\n");
}

#[test]
fn the_line_of_an_mbox_is_dropped_on_top_only() {
    becomes("From ann Mon Jan  1 00:00:00 2026\nX: y\n\n", "X: y\n{DATE}{FROM}{ID}\n");
    becomes("From ann\n>From bob\nX: y\n\nFrom z\n", "X: y\n{DATE}{FROM}{ID}\nFrom z\n");
    becomes("From ann\n\nbody\n", "{DATE}{FROM}{ID}\nbody\n");
    becomes("From : a\nX: y\n\n", "From : a\nX: y\n{DATE}{ID}\n");
    becomes("X: y\nFrom ann\n", "X: y\n{DATE}{FROM}{ID}\nFrom ann\n");
    becomes("From ann", "{DATE}{FROM}{ID}\n");
}

#[test]
fn a_message_sent_on_gets_resent_fields_on_top() {
    let resent = format!("Resent-{DATE}Resent-{FROM}Resent-{ID}");
    becomes("X: y\nresent-to: a@b\nBcc: c\n\n", &format!("{resent}X: y\nresent-to: a@b\n\n"));
    becomes(
        "Resent-Date: d\nResent-Bcc: a@b\nResent-Message-ID: <i>\nSubject: s\n\n",
        &format!("Resent-{FROM}Resent-Date: d\nResent-Message-ID: <i>\nSubject: s\n\n"),
    );
}

#[test]
fn a_domain_for_who_writes_and_who_is_written_to() {
    let date = "2026-02-03T04:05:06+01:00[+01:00]".parse::<ZonedDateTime>().unwrap();
    let from = Mailbox::parse("root@one.test").unwrap();
    let (one, two) = (Domain::parse("one.test").unwrap(), Domain::parse("two.test").unwrap());
    let completed = |text: &str, sender: Option<&Mailbox>| {
        let domain = Domains::Known(&one, &two);
        let (date, name, from) = (&date, None, "root@one.test");
        let with = Completion { date, message_id: "i", name, from, sender, domain };
        let text = format!("Date: d\nMessage-ID: i\n{text}\n");
        let completed = String::from_utf8(whole(&text).completed(&with)).unwrap();
        completed.strip_prefix("Date: d\nMessage-ID: i\n").unwrap().to_owned()
    };
    for (text, after) in [
        (
            "From: root (Cron Daemon)\nTo: root\n",
            "From: root@one.test (Cron Daemon)\nTo: root@two.test\n\n",
        ),
        ("Subject: x\n", "Subject: x\nFrom: root@one.test\n\n"),
        (
            "From: a@b\nReply-To: c\nCc: d, e@f\n",
            "From: a@b\nReply-To: c@one.test\nCc: d@two.test, e@f\n\n",
        ),
    ] {
        assert_eq!(completed(text, None), after, "{text}");
    }
    let sent = completed("From: a@b\nSender: c@d\n", Some(&from));
    assert_eq!(sent, "From: a@b\nSender: root@one.test\n\n");
}

#[test]
fn who_has_to_say_who_sends() {
    let here = Domain::parse("here.test").unwrap();
    for (text, wants, lacks) in [
        ("To: x\n", false, false),
        ("From:\n", false, false),
        ("From: ann\n", false, false),
        ("From: bob\n", true, false),
        ("From: ann, bob\n", true, true),
        ("From: ann, bob\nSender: eve\n", true, false),
        ("From: ann, bob\nSender:\n", true, true),
        ("From: ann bob\n", true, false),
        ("From: bob\nResent-To: x\n", false, false),
    ] {
        let is_own = |author: &Mailbox| author.to_string() == "ann@here.test";
        let found = (whole(text).wants_sender(&here, is_own), whole(text).lacks_sender(&here));
        assert_eq!(found, (wants, lacks), "{text}");
    }
}

#[test]
fn octets_are_kept() {
    let odd = b"Date: \xff\0\r\nFrom: \x1b\n \x80\nMessage-ID:\t.\n\n\xff\0";
    assert_eq!(repaired(odd), odd);
}

#[test]
fn more_is_asked_for_until_the_end_is_seen() {
    for text in ["X: y\nZ: z\n  z\n\nbody\n", "X: y\nZ: z\nHello: a b\nno field: x\nbody"] {
        let all = whole(text);
        let seen =
            (0..=text.len()).map(|cut| SubmittedHeader::read(&text.as_bytes()[..cut], false));
        let seen: Vec<_> = seen.map(|read| read.unwrap().map(|header| header.body_at())).collect();
        let first = seen.iter().position(Option::is_some).unwrap();
        // Nobody waits for more than the first octets behind the header.
        assert!(first <= all.body_at() + "no field:".len(), "{first}");
        assert!(seen[first..].iter().all(|at| *at == Some(all.body_at())), "{seen:?}");
    }
    for open in ["", "From", "From ann 10:00", "X", "X: y\n", "X: y\n\t", "no "] {
        assert!(SubmittedHeader::read(open.as_bytes(), false).unwrap().is_none(), "{open:?}");
    }
}

#[test]
fn size_is_bounded() {
    let line = "X: 345678901234\n";
    let fits = line.repeat(SUBMITTED_HEADER_MAX / line.len());
    assert!(SubmittedHeader::read(fits.as_bytes(), true).is_ok());
    assert!(SubmittedHeader::read(fits.as_bytes(), false).unwrap().is_none());
    for is_whole in [true, false] {
        let long = format!("{fits}X: y\n");
        assert_eq!(SubmittedHeader::read(long.as_bytes(), is_whole).err(), Some(HeaderTooLong));
        let folded = format!("X: {}", "y".repeat(SUBMITTED_HEADER_MAX));
        assert_eq!(SubmittedHeader::read(folded.as_bytes(), is_whole).err(), Some(HeaderTooLong));
    }
    // A line without a colon is text, however long.
    let text = format!("X: y\n{}", "y".repeat(2 * SUBMITTED_HEADER_MAX));
    let read = SubmittedHeader::read(text.as_bytes(), false);
    assert_eq!(read.unwrap().unwrap().body_at(), 5);
    // The body does not count.
    let body = format!("X: y\n\n{fits}{fits}");
    assert_eq!(SubmittedHeader::read(body.as_bytes(), false).unwrap().unwrap().body_at(), 6);
}

fn to(value: &str) -> Result<Vec<String>, String> {
    let text = format!("To: {value}\n");
    let found = whole(&text).recipients(&Domain::parse("here.test").unwrap(), 100);
    let texts = |found: Vec<Mailbox>| found.iter().map(Mailbox::to_string).collect();
    found.map(texts).map_err(|bad| bad.to_string())
}

#[test]
fn lists_that_are_good() {
    for (value, meant) in [
        ("", ""),
        (" , ,", ""),
        ("(nobody)", ""),
        ("ann", "ann@here.test"),
        ("ann@mx.test", "ann@mx.test"),
        ("<ann..b@mx.test>, .ann@m_x.test.", "\"ann..b\"@mx.test \".ann\"@m_x.test"),
        ("ann@MX.test, bob", "ann@mx.test bob@here.test"),
        ("<ann@mx.test>", "ann@mx.test"),
        ("<ann>", "ann@here.test"),
        ("Ann Smith <ann@mx.test>", "ann@mx.test"),
        ("Ann J. Smith <ann@mx.test>", "ann@mx.test"),
        ("\"Smith, Ann\" <ann@mx.test>, b@mx.test", "ann@mx.test b@mx.test"),
        ("\"a \\\" < b\" <ann@mx.test>", "ann@mx.test"),
        ("ann@far.test <ann@mx.test>", "ann@mx.test"),
        ("=?utf-8?q?Smith=2C_Ann?= =?iso-8859-1?b?4Q==?= <ann@mx.test>", "ann@mx.test"),
        ("\u{c9}va <\u{e9}va@b\u{fc}cher.test>", "\u{e9}va@xn--bcher-kva.test"),
        ("ann@mx.test (Ann (my, <friend>) \\) Smith)", "ann@mx.test"),
        ("(a) ann (b) @ (c) mx (d) . test (e)", "ann@mx.test"),
        ("ann . smith @ mx . test", "ann.smith@mx.test"),
        ("Ann\n Smith\n\t<ann\n @mx.test>\n ,\n bob@mx.test", "ann@mx.test bob@mx.test"),
        ("\"ann smith\"@mx.test", "\"ann smith\"@mx.test"),
        ("\"ann\n smith\"@mx.test", "\"ann smith\"@mx.test"),
        ("\"ann\".smith@mx.test", "ann.smith@mx.test"),
        ("\"a\\\"b\\\\c\"@mx.test", "\"a\\\"b\\\\c\"@mx.test"),
        ("\"ann@x\"@mx.test", "\"ann@x\"@mx.test"),
        ("ann@[192.0.2.1], <b@[IPv6:2001:db8::1]>", "ann@[192.0.2.1] b@[IPv6:2001:db8::1]"),
        ("<@one.test,@two.test:ann@mx.test>", "ann@mx.test"),
        ("<@one.test, , @two.test :ann@mx.test>", "ann@mx.test"),
        ("undisclosed-recipients:;", ""),
        ("Undisclosed recipients: ;", ""),
        ("undisclosed-recipients:", ""),
        (
            "Team: ann@mx.test, Bob <bob@mx.test>; carl@mx.test",
            "ann@mx.test bob@mx.test carl@mx.test",
        ),
        ("\"My, team\" (x): ann, (nobody) ,;, One:;, bob", "ann@here.test bob@here.test"),
        ("Team: <ann@mx.test>;", "ann@mx.test"),
        ("ann@mx.test, ann@mx.test", "ann@mx.test ann@mx.test"),
        ("a!b%c@mx.test", "a!b%c@mx.test"),
        ("=?utf-8?q?x?=@mx.test", "=?utf-8?q?x?=@mx.test"),
    ] {
        assert_eq!(to(value).map(|all| all.join(" ")).as_deref(), Ok(meant), "{value:?}");
    }
}

#[test]
fn lists_that_are_bad() {
    for (value, said) in [
        ("ok@mx.test, ann smith@mx.test", "To: \"ann smith@mx.test\": a name and an address are"),
        ("Ann Smith", "To: \"Ann Smith\": a name and an address"),
        ("ann@mx.test bob@mx.test, x", "To: \"ann@mx.test bob@mx.test,\": a name and"),
        ("\"ann", "To: \"\"ann\": \" is opened and not closed"),
        ("ann@mx.test, (a (b) c", "To: \"(a (b) c\": ( is opened"),
        ("(a\\", "( is opened"),
        ("\"a\\", "\" is opened"),
        ("Ann <ann@mx.test", "To: \"Ann <ann@mx.test\": < is opened"),
        ("ann@[192.0.2.1", "[ is opened"),
        ("ann@[nobody]", "bad address literal"),
        ("ann@mx.test]", "unexpected ]"),
        ("ann)", "unexpected )"),
        ("a\\b", "unexpected \\"),
        ("ann>", "unexpected >"),
        ("a\u{0}b", "unexpected octet 0"),
        ("a\u{1b}[2J", "To: \"a\u{fffd}\": unexpected octet 27"),
        ("ann@mx.test; bob@mx.test", "To: \"ann@mx.test;\": unexpected ;"),
        ("<ann@mx.test>;", "unexpected ;"),
        ("<ann@mx.test> Ann", "To: \"<ann@mx.test> Ann\": a comma is missing"),
        ("<ann@mx.test> <bob@mx.test>", "a comma is missing"),
        ("One: Two: ann;;", "a group is written"),
        (":;", "a group is written"),
        ("ann@mx.test: bob;", "To: \"ann@mx.test:\": a group is written"),
        ("Team: ann, bob", "To: \"bob\": a group is written"),
        ("Team: <ann>", "a group is written"),
        ("<>", "bad local part"),
        ("Ann <>", "bad local part"),
        ("@mx.test", "bad local part"),
        ("\"a\tb\"@mx.test", "bad local part"),
        ("ann:b@mx.test>", "unexpected >"),
        ("ann@", "bad domain"),
        ("ann@.mx.test", "bad domain"),
        ("ann@mx..test", "bad domain"),
        ("ann@\"mx\".test", "bad domain"),
        ("ann@bob@mx.test", "bad domain"),
        ("<ann@mx.test, bob>", "bad domain"),
        ("<@one.test>", "bad source route"),
        ("<@one.test ann@mx.test>", "bad source route"),
        ("<@one.test:>", "bad local part"),
    ] {
        let error = to(value).unwrap_err();
        assert!(error.contains(said), "{value:?}: {error}");
    }
    let error = to("a@mx.test,\n Ann\n Smith,").unwrap_err();
    assert!(!error.contains('\n') && error.contains("\"Ann Smith,\""), "{error}");
}

#[test]
fn lists_that_are_long() {
    let long = format!("{}@mx.test", "a".repeat(65));
    assert!(to(&long).unwrap_err().contains("longer than 64"), "as a recipient");
    let from = format!("From: {long}\n");
    let here = Domain::parse("here.test").unwrap();
    assert_eq!(whole(&from).authors(&here).unwrap()[0].to_string(), long);
    assert!(to(&format!("{}@mx.test", "a".repeat(250))).unwrap_err().contains("256 octets"));
    assert!(to(&"a ".repeat(ADDRESS_WORDS_MAX + 1)).unwrap_err().contains("at most 512 words"));
    assert!(to(&"a,".repeat(101)).unwrap_err().contains("more than 100 addresses"));
    assert_eq!(to(&"a,".repeat(100)).map(|all| all.len()), Ok(100));
    let deep = format!("{}{} ann", "(".repeat(100_000), ")".repeat(100_000));
    assert_eq!(to(&deep).unwrap(), ["ann@here.test"]);
    // A long piece is cut where it is shown.
    let error = to(&format!("\"{}", "x".repeat(100_000))).unwrap_err();
    assert!(error.len() < 300 && error.contains("xxx...\""), "{error}");
}

#[test]
fn who_gets_it() {
    let here = Domain::parse("here.test").unwrap();
    for (text, meant) in [
        ("Cc: c\nTO: a, b\nBcc: d\nX: no\nto : e\n\nTo: body\n", "c a b d e"),
        ("X: no\n\n", ""),
        ("To: a\nBcc: b\nResent-To: c\nresent-bcc: d\nResent-Cc: e\n", "c d e"),
        ("To: a\nResent-From: x\n", ""),
        ("To: a\n Subject: b\n\n", "?"),
    ] {
        let found = whole(text).recipients(&here, 10);
        let found = found.map_or("?".to_owned(), |found| {
            found.iter().map(|m| m.local.as_str()).collect::<Vec<_>>().join(" ")
        });
        assert_eq!(found, meant, "{text:?}");
    }
    // The bound is for all fields together.
    let bad = whole("To: a, b\ncc: c, d").recipients(&here, 3).unwrap_err();
    assert_eq!((bad.field.as_str(), bad.flaw), ("cc", ListFlaw::TooMany(3)));
}

#[test]
fn who_wrote_it() {
    let here = Domain::parse("here.test").unwrap();
    for (text, meant) in [
        ("From: Ann <a@mx.test>\nSender: s@mx.test\nReply-To: r@mx.test\n", "a@mx.test"),
        ("From: a@mx.test, b\nfrom: c\nResent-From: d\n", "a@mx.test b@here.test c@here.test"),
        ("From:\n", ""),
        ("From ann@mx.test Mon\nTo: b\n", ""),
    ] {
        let found = whole(text).authors(&here).unwrap();
        let found: Vec<_> = found.iter().map(Mailbox::to_string).collect();
        assert_eq!(found.join(" "), meant, "{text:?}");
    }
    assert!(whole("From: a b\n").authors(&here).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_panics_and_nothing_else_changes(
        octets in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "((To|From|Bcc|resent-cc|X): )?[ab<>@.,:;\"()\\\\\\[\\]\\n\\t é-]{0,60}\\n?".prop_map(String::into_bytes),
            "((To|From|Bcc|X) ?:[a@ ,<>]{0,9}\\n[ \\t]?){0,9}\\n?x?".prop_map(String::into_bytes),
        ],
        cut in 0usize..200,
    ) {
        let header = SubmittedHeader::read(&octets, true).unwrap().unwrap();
        let here = Domain::parse("here.test").unwrap();
        let _ = header.recipients(&here, 5).map_err(|bad| bad.to_string());
        let _ = header.authors(&here).map_err(|bad| bad.to_string());
        // What is seen of a beginning is what is seen of the whole.
        if let Ok(Some(early)) = SubmittedHeader::read(&octets[..cut.min(octets.len())], false) {
            prop_assert_eq!(early.body_at(), header.body_at());
        }
        let once = repaired(&octets);
        prop_assert!(once.ends_with(&octets[header.body_at()..]));
        prop_assert!(memchr::memmem::find(&once, b"\nBcc").is_none() || header.body_at() < octets.len());
        // A whole header needs nothing more.
        prop_assert_eq!(repaired(&once), once);
    }
}
