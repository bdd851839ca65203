//! Notices of each kind, octet for octet as `maildir-fixtures/notices/NAME.eml` has them, and as
//! Python's email package reads them.

use crate::outside::{Input, PYTHON, installed, program, run, script};
use crate::support::{Place, files, text};
use facteur::mail::address::{Domain, Mailbox, ReversePath};
use facteur::mail::dsn::{Notice, NoticeAction, NoticeText, Original, ToldRecipient};
use facteur::mail::envelope::{BodyType, Ret};
use jiff::{Timestamp, ZonedDateTime};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

type Lazy<T> = LazyLock<T>;

static HOST: Lazy<Domain> = Lazy::new(|| Domain::parse("mx.test").unwrap());
static DATE: Lazy<ZonedDateTime> =
    Lazy::new(|| "2026-11-23T14:05:06+01:00[+01:00]".parse().unwrap());
static ANN: Lazy<Mailbox> = Lazy::new(|| mailbox("ann@client.test"));
static SENDER: Lazy<ReversePath> = Lazy::new(|| ReversePath::Mailbox(ANN.clone()));
static POSTMASTER: Lazy<Mailbox> = Lazy::new(|| mailbox("postmaster@mx.test"));
static EVA_SENDER: Lazy<ReversePath> = Lazy::new(|| ReversePath::Mailbox(EVA.clone()));
static EVE: Lazy<Mailbox> = Lazy::new(|| mailbox("eve@far.test"));
static BOB: Lazy<Mailbox> = Lazy::new(|| mailbox("\"bob  b\"@other.test"));
static TEAM: Lazy<Mailbox> = Lazy::new(|| mailbox("team@mx.test"));
static EVA: Lazy<Mailbox> = Lazy::new(|| mailbox("éva@client.test"));
static KYOTO: Lazy<Mailbox> = Lazy::new(|| mailbox("京都@far.test"));

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

fn moment(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const HEADER: &[u8] = b"From: ann@client.test\nTo: eve@far.test\nSubject: Lunch\n\n";
const PLAIN: &[u8] =
    b"From: ann@client.test\nTo: eve@far.test\nSubject: Lunch\n\nAt one?\n\n--\nAnn\n";
const LATIN: &[u8] = b"From: ann@client.test\nSubject: Lunch\nMIME-Version: 1.0\n\
    Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n\n\
    D\xe9jeuner \xe0 une heure, sans fin de ligne";
const UTF8: &str = "From: éva@client.test\nTo: 京都@far.test\nSubject: Déjeuner\n\nà une heure\n";
const UTF8_HEADER: &str = "From: éva@client.test\nTo: 京都@far.test\nSubject: Déjeuner\n\n";

/// A notice, what it returns, and what programs are to read in it.
struct Case {
    name: &'static str,
    notice: Notice<'static>,
    original: &'static [u8],
    /// Types of the second and the third part.
    types: [&'static str; 2],
    /// The fields of the recipients, in order.
    fields: &'static str,
}

/// About one recipient, whose mail has failed.
fn notice(told: Vec<ToldRecipient<'static>>) -> Notice<'static> {
    let original = Original {
        id: "m0fk3v9q2d71xz",
        sender: &SENDER,
        arrival: moment("2026-11-23T09:00:00Z"),
        envid: None,
        subject: Some("Lunch"),
        smtputf8: false,
        returned: Ret::Full,
        eight_bit: false,
    };
    Notice {
        id: "m0fk3v9q2d72xz",
        random: 0x0123_4567_89ab_cdef,
        reporting_mta: &HOST,
        date: &DATE,
        to: &ANN,
        original,
        recipients: told,
        others: 0,
    }
}

fn headers_of(mut notice: Notice<'static>) -> Notice<'static> {
    notice.original.returned = Ret::Headers;
    notice
}

fn told(
    action: NoticeAction,
    status: &'static str,
    reply: Option<&'static str>,
    words: &'static str,
) -> ToldRecipient<'static> {
    ToldRecipient {
        recipient: &EVE,
        orcpt: None,
        via: None,
        action,
        status,
        host: reply.map(|_| "mx.far.test"),
        diagnostic: reply,
        place: "",
        words,
        seen: &[],
        last_attempt: Some(moment("2026-11-23T13:05:00Z")),
        will_retry_until: None,
    }
}

const REFUSED: &str = "550-5.1.1 The email account that you tried to reach does not exist. Please \
    try double-checking the recipient's address for typos.\n550 5.1.1 https://far.test/help";

/// What DNS says of us, one line of it by somebody who wants to break out of it.
static SEEN: LazyLock<[String; 4]> = LazyLock::new(|| {
    [
        "example.org has no SPF record".to_owned(),
        "the key at 2026a._domainkey.example.org is not the one we sign with".to_owned(),
        "the reverse name of 192.0.2.7, a\n\n--=_m0fk3v9q2d72xz_0123456789abcdef--\u{202e}x, does not lead back \
         to it"
            .to_owned(),
        "192.0.2.8 has no reverse name".to_owned(),
    ]
});

/// A reply that would like to be fields, parts, an end, or shown backwards.
const HOSTILE: &str = "550-5.7.1 no\r\nAction: delivered\nStatus: 2.0.0\n\n\
    Final-Recipient: rfc822; bob@other.test\n--=_m0fk3v9q2d72xz_0123456789abcdef--\n\
    \u{1b}[2J\u{202e}desrever\u{2028}\0\u{85}\tDéjà\r550 5.7.1 end";

fn failures() -> Vec<Case> {
    let full = ["message/delivery-status", "message/rfc822"];
    let failed = |reply| told(NoticeAction::Failed, "5.1.1", Some(reply), "");
    vec![
        Case {
            name: "failed-by-reply",
            notice: notice(vec![failed(REFUSED)]),
            original: PLAIN,
            types: full,
            fields: "Final-Recipient: rfc822; eve@far.test\nAction: failed\nStatus: 5.1.1\n\
                Remote-MTA: dns; mx.far.test\n\
                Diagnostic-Code: smtp; 550-5.1.1 The email account that you tried to reach does not \
                exist. Please try double-checking the recipient's address for typos. \
                550 5.1.1 https://far.test/help\n\
                Last-Attempt-Date: Mon, 23 Nov 2026 14:05:00 +0100\n",
        },
        Case {
            name: "failed-for-our-records",
            notice: notice(vec![ToldRecipient {
                seen: &*SEEN,
                place: "RCPT",
                ..told(
                    NoticeAction::Failed,
                    "5.7.26",
                    Some("550 5.7.26 This mail is unauthenticated"),
                    "",
                )
            }]),
            original: PLAIN,
            types: full,
            // Programs read the same as without: it is for people.
            fields: "Final-Recipient: rfc822; eve@far.test\nAction: failed\nStatus: 5.7.26\n\
                Remote-MTA: dns; mx.far.test\n\
                Diagnostic-Code: smtp; 550 5.7.26 This mail is unauthenticated\n\
                Last-Attempt-Date: Mon, 23 Nov 2026 14:05:00 +0100\n",
        },
        Case {
            name: "failed-in-our-words",
            notice: notice(vec![ToldRecipient {
                host: Some("mx.far.test"),
                last_attempt: None,
                ..told(
                    NoticeAction::Failed,
                    "4.4.2",
                    None,
                    "was silent too long (MAIL), for 5 days",
                )
            }]),
            original: PLAIN,
            types: full,
            fields: "Final-Recipient: rfc822; eve@far.test\nAction: failed\nStatus: 4.4.2\n\
                Diagnostic-Code: x-facteur; mx.far.test was silent too long (MAIL), for 5 days\n",
        },
        Case {
            name: "failed-headers-only",
            notice: headers_of(notice(vec![failed("550 5.1.1 nobody")])),
            original: HEADER,
            types: ["message/delivery-status", "text/rfc822-headers"],
            fields: "Final-Recipient: rfc822; eve@far.test\nAction: failed\nStatus: 5.1.1\n\
                Remote-MTA: dns; mx.far.test\nDiagnostic-Code: smtp; 550 5.1.1 nobody\n\
                Last-Attempt-Date: Mon, 23 Nov 2026 14:05:00 +0100\n",
        },
        Case {
            name: "failed-hostile-reply",
            notice: {
                let mut notice = notice(vec![ToldRecipient {
                    status: "5.1.1\nX: y",
                    host: Some("mx.far.test\nAction: delivered"),
                    ..failed(HOSTILE)
                }]);
                notice.original.subject = Some("Lunch\"\n\n--=_m0fk\u{202e}");
                notice
            },
            original: PLAIN,
            types: full,
            fields: "Final-Recipient: rfc822; eve@far.test\nAction: failed\nStatus: 5.0.0\n\
                Remote-MTA: dns; mx.far.test?Action: delivered\n\
                Diagnostic-Code: smtp; 550-5.7.1 no Action: delivered Status: 2.0.0 \
                Final-Recipient: rfc822; bob@other.test --=_m0fk3v9q2d72xz_0123456789abcdef-- \
                ?[2J?desrever??? D\\x{E9}j\\x{E0}?550 5.7.1 end\n\
                Last-Attempt-Date: Mon, 23 Nov 2026 14:05:00 +0100\n",
        },
        Case {
            name: "failed-for-postmaster",
            notice: Notice {
                to: &POSTMASTER,
                ..notice(vec![ToldRecipient { via: Some(&TEAM), ..failed("550 5.1.1 nobody") }])
            },
            original: PLAIN,
            types: full,
            fields: "Final-Recipient: rfc822; eve@far.test\nAction: failed\nStatus: 5.1.1\n\
                Remote-MTA: dns; mx.far.test\nDiagnostic-Code: smtp; 550 5.1.1 nobody\n\
                Last-Attempt-Date: Mon, 23 Nov 2026 14:05:00 +0100\n",
        },
        Case {
            name: "failed-envid-orcpt",
            notice: {
                let mut notice = notice(vec![ToldRecipient {
                    orcpt: Some("rfc822;team+2Blunch@mx.test"),
                    via: Some(&TEAM),
                    // Told of what is delayed only, so not here.
                    will_retry_until: Some(moment("2026-11-28T09:00:00Z")),
                    ..failed("550 5.1.1 nobody")
                }]);
                notice.original.envid = Some("QQ+20314+2B+3D159");
                notice
            },
            original: PLAIN,
            types: full,
            fields: "Original-Recipient: rfc822; team+lunch@mx.test\n\
                Final-Recipient: rfc822; eve@far.test\nAction: failed\nStatus: 5.1.1\n\
                Remote-MTA: dns; mx.far.test\nDiagnostic-Code: smtp; 550 5.1.1 nobody\n\
                Last-Attempt-Date: Mon, 23 Nov 2026 14:05:00 +0100\n",
        },
        Case {
            name: "failed-8-bit",
            notice: {
                let mut notice = notice(vec![ToldRecipient {
                    recipient: &KYOTO,
                    orcpt: Some("utf-8;\\x{4EAC}\\x{90FD}\\x{2B}x@mx.test"),
                    ..failed("550 5.1.1 inconnu à cette adresse")
                }]);
                notice.original.eight_bit = true;
                notice
            },
            original: LATIN,
            types: full,
            fields: "Original-Recipient: utf-8; \\x{4EAC}\\x{90FD}\\x{2B}x@mx.test\n\
                Final-Recipient: utf-8; \\x{4EAC}\\x{90FD}@far.test\n\
                Action: failed\nStatus: 5.1.1\nRemote-MTA: dns; mx.far.test\n\
                Diagnostic-Code: smtp; 550 5.1.1 inconnu \\x{E0} cette adresse\n\
                Last-Attempt-Date: Mon, 23 Nov 2026 14:05:00 +0100\n",
        },
    ]
}

/// The sender of this has UTF-8 in the address, and wrote with SMTPUTF8.
fn international(told: ToldRecipient<'static>) -> Notice<'static> {
    let orcpt = Some("utf-8;\\x{4EAC}\\x{90FD}@far.test");
    let mut notice = notice(vec![ToldRecipient { recipient: &KYOTO, orcpt, ..told }]);
    (notice.to, notice.original.sender) = (&EVA, &EVA_SENDER);
    notice.original.subject = Some("Déjeuner");
    (notice.original.smtputf8, notice.original.eight_bit) = (true, true);
    notice
}

fn others() -> Vec<Case> {
    let brief = ["message/delivery-status", "text/rfc822-headers"];
    let delayed = ToldRecipient {
        will_retry_until: Some(moment("2026-11-28T09:00:00Z")),
        ..told(NoticeAction::Delayed, "4.2.2", Some("452 4.2.2 mailbox full"), "")
    };
    let failed = ToldRecipient {
        recipient: &BOB,
        ..told(NoticeAction::Failed, "5.1.2", None, "other.test takes no mail, it says (null MX)")
    };
    let here = ToldRecipient {
        recipient: &TEAM,
        last_attempt: None,
        ..told(NoticeAction::Delivered, "2.1.5", None, "")
    };
    let relayed = told(NoticeAction::Relayed, "2.0.0", Some("250 ok"), "");
    let refused =
        told(NoticeAction::Failed, "5.1.1", Some("550 5.1.1 inconnu à cette adresse"), "");
    vec![
        Case {
            name: "delayed",
            notice: headers_of(notice(vec![delayed.clone()])),
            original: HEADER,
            types: brief,
            fields: "Final-Recipient: rfc822; eve@far.test\nAction: delayed\nStatus: 4.2.2\n\
                Remote-MTA: dns; mx.far.test\nDiagnostic-Code: smtp; 452 4.2.2 mailbox full\n\
                Last-Attempt-Date: Mon, 23 Nov 2026 14:05:00 +0100\n\
                Will-Retry-Until: Sat, 28 Nov 2026 10:00:00 +0100\n",
        },
        Case {
            name: "delivered",
            notice: headers_of(notice(vec![here.clone()])),
            original: HEADER,
            types: brief,
            fields: "Final-Recipient: rfc822; team@mx.test\nAction: delivered\nStatus: 2.1.5\n",
        },
        Case {
            name: "relayed",
            notice: headers_of(notice(vec![relayed])),
            original: HEADER,
            types: brief,
            fields: "Final-Recipient: rfc822; eve@far.test\nAction: relayed\nStatus: 2.0.0\n\
                Remote-MTA: dns; mx.far.test\nDiagnostic-Code: smtp; 250 ok\n\
                Last-Attempt-Date: Mon, 23 Nov 2026 14:05:00 +0100\n",
        },
        Case {
            name: "expanded",
            notice: headers_of(notice(vec![ToldRecipient {
                action: NoticeAction::Expanded,
                ..here.clone()
            }])),
            original: HEADER,
            types: brief,
            fields: "Final-Recipient: rfc822; team@mx.test\nAction: expanded\nStatus: 2.1.5\n",
        },
        Case {
            name: "several",
            notice: notice(vec![here, delayed, failed]),
            original: PLAIN,
            types: ["message/delivery-status", "message/rfc822"],
            fields: "Final-Recipient: rfc822; team@mx.test\nAction: delivered\nStatus: 2.1.5\n\n\
                Final-Recipient: rfc822; eve@far.test\nAction: delayed\nStatus: 4.2.2\n\
                Remote-MTA: dns; mx.far.test\nDiagnostic-Code: smtp; 452 4.2.2 mailbox full\n\
                Last-Attempt-Date: Mon, 23 Nov 2026 14:05:00 +0100\n\
                Will-Retry-Until: Sat, 28 Nov 2026 10:00:00 +0100\n\n\
                Final-Recipient: rfc822; \"bob  b\"@other.test\nAction: failed\nStatus: 5.1.2\n\
                Diagnostic-Code: x-facteur; other.test takes no mail, it says (null MX)\n\
                Last-Attempt-Date: Mon, 23 Nov 2026 14:05:00 +0100\n",
        },
        Case {
            name: "utf8",
            notice: international(refused.clone()),
            original: UTF8.as_bytes(),
            types: ["message/global-delivery-status", "message/global"],
            fields: INTERNATIONAL,
        },
        Case {
            name: "utf8-headers-only",
            notice: headers_of(international(refused)),
            original: UTF8_HEADER.as_bytes(),
            types: ["message/global-delivery-status", "message/global-headers"],
            fields: INTERNATIONAL,
        },
    ]
}

const INTERNATIONAL: &str = "Original-Recipient: utf-8; 京都@far.test\n\
    Final-Recipient: utf-8; 京都@far.test\nAction: failed\nStatus: 5.1.1\n\
    Remote-MTA: dns; mx.far.test\n\
    Diagnostic-Code: smtp; 550 5.1.1 inconnu à cette adresse\n\
    Last-Attempt-Date: Mon, 23 Nov 2026 14:05:00 +0100\n";

fn cases() -> Vec<Case> {
    failures().into_iter().chain(others()).collect()
}

fn golden(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("maildir-fixtures/notices");
    folder.join(format!("{name}.eml"))
}

#[test]
fn every_kind_is_as_its_golden_says() {
    let mut names = BTreeSet::new();
    for Case { name, notice, original, .. } in cases() {
        let NoticeText { head, tail, .. } = notice.write();
        let whole = [head.as_bytes(), original, tail.as_bytes()].concat();
        let expected = fs::read(golden(name)).unwrap_or_default();
        assert!(whole == expected, "{name} is:\n{}\nnot:\n{}", text(&whole), text(&expected));
        names.insert(golden(name));
    }
    let there: BTreeSet<PathBuf> = files(golden("x").parent().unwrap()).into_iter().collect();
    assert_eq!(there, names, "each golden has a case");
}

/// What stands in a golden of that name must be what this test's notice asks of the transport.
#[test]
fn goldens_need_what_their_notices_say() {
    for Case { name, notice, .. } in cases() {
        let (written, octets) = (notice.write(), fs::read(golden(name)).unwrap());
        let eight_bit = written.body == BodyType::EightBitMime;
        assert_eq!(eight_bit, !octets.is_ascii(), "{name}");
        assert_eq!(written.smtputf8, name.starts_with("utf8"), "{name}");
    }
}

/// `Name: value` lines as Python gives them: a list of pairs for each block.
fn pairs(fields: &str) -> Vec<Value> {
    let pair = |line: &str| json!(line.split_once(": ").unwrap());
    fields.trim_end().split("\n\n").map(|block| block.lines().map(pair).collect()).collect()
}

#[test]
fn python_reads_every_field() {
    if !installed(&[PYTHON]) {
        return;
    }
    let place = Place::new();
    for Case { name, notice, original, types, fields } in cases() {
        let mut python = program(&place, PYTHON);
        python.arg(script("report.py")).arg(golden(name)).arg("returned");
        let said = run(&place, &mut python, Input::Octets(b""));
        let read: Value = serde_json::from_str(&said).unwrap();
        let returned = fs::read(place.at("returned")).unwrap();
        assert!(returned == original, "{name} returns {}", text(&returned));
        assert_eq!(read["types"], json!(["text/plain", types[0], types[1]]), "{name}");
        assert_eq!(read["report_type"], "delivery-status", "{name}");
        let header = &read["header"];
        let to = notice.to.to_string();
        assert_eq!(header["From"], "Mail Delivery System <postmaster@mx.test>", "{name}");
        assert_eq!(header["To"].as_str(), Some(to.as_str()), "{name}");
        assert_eq!(header["Auto-Submitted"], "auto-replied", "{name}");
        assert_eq!(header["Message-ID"], "<m0fk3v9q2d72xz@mx.test>", "{name}");
        assert_eq!(header["Date"], "Mon, 23 Nov 2026 14:05:06 +0100", "{name}");
        let envid = notice.original.envid.map(|_| "Original-Envelope-Id: QQ 314+=159\n");
        let mut expected = pairs(&format!(
            "{}Reporting-MTA: dns; mx.test\nArrival-Date: Mon, 23 Nov 2026 10:00:00 +0100\n",
            envid.unwrap_or_default()
        ));
        expected.extend(pairs(fields));
        assert_eq!(read["blocks"], json!(expected), "{name}");
        let words = read["text"].as_str().unwrap();
        for told in &notice.recipients {
            assert!(words.contains(&format!("\n  <{}>\n", told.recipient)), "{name}: {words}");
        }
        assert!(words.lines().all(|line| line.chars().count() <= 78), "{name}: {words}");
    }
}
