//! What holds for every notice, whatever a peer said. What notices look like stands in
//! `maildir-fixtures/notices`.

use super::*;
use crate::limits::{LINE_MAX, LINE_WIDTH};
use proptest::prelude::*;

const ACTIONS: [NoticeAction; 5] = NoticeAction::ALL;

/// Gives a notice about one recipient to `look`, after `change`.
fn with_notice(change: impl FnOnce(&mut Notice), look: impl FnOnce(NoticeText)) {
    let host = Domain::parse("mx.test").unwrap();
    let date = "2026-11-23T14:00:00+01:00[+01:00]".parse().unwrap();
    let ann = Mailbox::parse("ann@client.test").unwrap();
    let eve = Mailbox::parse("eve@far.test").unwrap();
    let sender = ReversePath::Mailbox(ann.clone());
    let original = Original {
        id: "m1",
        sender: &sender,
        arrival: "2026-11-23T09:00:00Z".parse().unwrap(),
        envid: None,
        subject: None,
        smtputf8: false,
        returned: Ret::Full,
        eight_bit: false,
    };
    let told = ToldRecipient {
        recipient: &eve,
        orcpt: None,
        via: None,
        action: NoticeAction::Failed,
        status: "5.1.1",
        host: None,
        diagnostic: None,
        place: "",
        words: "",
        seen: &[],
        last_attempt: None,
        will_retry_until: None,
    };
    let mut notice = Notice {
        id: "m2",
        random: 7,
        reporting_mta: &host,
        date: &date,
        to: &ann,
        original,
        recipients: vec![told],
        others: 0,
    };
    change(&mut notice);
    look(notice.write());
}

/// Fails when a line is too long, or stands where no line of ours can.
fn assert_sound(written: &NoticeText) {
    let boundary = "--=_m2_0000000000000007";
    let parts: Vec<&str> = written.head.split(&format!("\n{boundary}\n")).collect();
    let [header, text, status, returned] = parts[..] else { panic!("{}", written.head) };
    assert_eq!(written.tail, format!("\n{boundary}--\n"));
    assert!(returned.ends_with("\n\n") && returned.lines().count() == 3, "{returned}");
    assert!(written.head.lines().all(|line| line.len() <= LINE_MAX), "{}", written.head);
    assert!(
        !written
            .head
            .contains(|c: char| c != '\n' && c != '\t' && shown(&c.to_string()) == "?" && c != '?')
    );
    assert_names(
        header,
        &["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version"],
    );
    let (_, fields) = status.split_once("\n\n").unwrap();
    let (message, recipients) = fields.split_once("\n\n").unwrap();
    assert_names(message, &["Original-Envelope-Id", "Reporting-MTA", "Arrival-Date"]);
    let known = [
        "Original-Recipient",
        "Final-Recipient",
        "Action",
        "Status",
        "Remote-MTA",
        "Diagnostic-Code",
        "Last-Attempt-Date",
        "Will-Retry-Until",
    ];
    for recipient in recipients.split("\n\n") {
        assert_names(recipient, &known);
    }
    let seven = text.is_ascii() && header.is_ascii() && (status.is_ascii() || written.smtputf8);
    assert!(seven, "{}", written.head);
}

/// Each line is one of these fields, each at most once, or goes on with one; none is blank.
fn assert_names(fields: &str, known: &[&str]) {
    let mut seen = Vec::new();
    for line in fields.lines() {
        if line.starts_with([' ', '\t']) {
            assert!(!line.trim().is_empty(), "{fields}");
            continue;
        }
        let name = line.split_once(": ").unwrap_or_else(|| panic!("{line:?} in {fields}")).0;
        assert!(known.contains(&name) || name.starts_with("Content-"), "{line:?} in {fields}");
        assert!(!seen.contains(&name), "{name} twice in {fields}");
        seen.push(name);
    }
}

/// Texts that would like to be more than a text.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "550 ",
        "\n",
        "\r\n",
        "\r",
        "\n\n",
        "--=_m2_0000000000000007",
        "Action: delivered",
        "\0",
        "\u{202e}",
        "\u{2028}",
        "\u{85}",
        "\t",
        " ",
        "é",
        "京",
        "=20",
        "x",
        "\u{1b}[2J",
        ";",
        "+0A",
        "\\x{A}",
        "\\x{202E}",
        "utf-8;",
        "rfc822;",
    ]);
    let long = "[a-zé]{0,1500}";
    prop::collection::vec(prop_oneof![8 => pieces.prop_map(str::to_owned), 1 => long], 0..40)
        .prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_forges_anything(
        reply in hostile(), words in hostile(), host in hostile(), orcpt in hostile(),
        subject in hostile(), status in hostile(), envid in hostile(), smtputf8: bool,
        action in 0usize..5, said: bool,
    ) {
        // Both come from a line of at most 500 octets (RFC 3461 §4.2), checked or not.
        let (orcpt, envid) = (safe::cut(&orcpt, 400), safe::cut(&envid, 100));
        let change = |notice: &mut Notice| {
            let told = &mut notice.recipients[0];
            told.action = ACTIONS[action];
            (told.status, told.words) = (leak(&status), leak(&words));
            told.host = Some(leak(&host));
            told.diagnostic = said.then(|| leak(&reply));
            told.orcpt = Some(leak(&orcpt));
            notice.original.subject = Some(leak(&subject));
            notice.original.envid = Some(leak(&envid));
            notice.original.smtputf8 = smtputf8;
        };
        with_notice(change, |written| assert_sound(&written));
    }
}

/// Lives as long as the test's process: a notice borrows what it tells.
fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

#[test]
fn lines_are_short_where_words_are() {
    let reply = "550 5.7.1 a rather long explanation of what this host thinks of us ".repeat(20);
    let change = |notice: &mut Notice| notice.recipients[0].diagnostic = Some(leak(&reply));
    with_notice(change, |written| {
        let longest = written.head.lines().map(str::len).max();
        assert!(longest.is_some_and(|longest| longest <= LINE_WIDTH), "{}", written.head);
        let unfolded = written.head.replace("\n ", " ");
        assert!(unfolded.contains(&format!("smtp; {}\n", reply.trim_end())), "{unfolded}");
    });
}

#[test]
fn a_status_suits_its_action() {
    use NoticeAction::*;
    for (action, status, written) in [
        (Failed, "5.1.1", "5.1.1"),
        (Failed, "4.4.7", "4.4.7"),
        (Failed, "2.1.5", "5.0.0"),
        (Failed, "5.1", "5.0.0"),
        (Failed, "5.1.1.1", "5.0.0"),
        (Failed, "5.1000.1", "5.0.0"),
        (Failed, "5.1.1 x", "5.0.0"),
        (Failed, "54.1.1", "5.0.0"),
        (Failed, "", "5.0.0"),
        (Failed, "5.x.5.1", "5.0.0"),
        (Delayed, "4.2.2", "4.2.2"),
        (Delayed, "5.2.2", "4.0.0"),
        (Delivered, "2.1.5", "2.1.5"),
        (Relayed, "5.0.0", "2.0.0"),
        (Expanded, "2.0.0", "2.0.0"),
    ] {
        let change = |notice: &mut Notice| {
            (notice.recipients[0].action, notice.recipients[0].status) = (action, status);
        };
        with_notice(change, |notice| {
            let field = format!("\nAction: {action}\nStatus: {written}\n");
            assert!(notice.head.contains(&field), "{status}: {}", notice.head);
        });
    }
}

#[test]
fn who_wants_what() {
    let notify = |success, failure, delay| Some(Notify { success, failure, delay });
    for (notify, wanted) in [
        (None, [true, true, false, false, false]),
        (notify(false, false, false), [false; 5]),
        (notify(true, false, false), [false, false, true, true, true]),
        (notify(false, true, false), [true, false, false, false, false]),
        (notify(false, false, true), [false, true, false, false, false]),
        (notify(true, true, true), [true; 5]),
    ] {
        assert_eq!(ACTIONS.map(|action| wants(notify, action)), wanted, "{notify:?}");
    }
}

#[test]
fn what_is_returned() {
    for (action, ret, expected) in [
        (NoticeAction::Failed, None, Ret::Full),
        (NoticeAction::Failed, Some(Ret::Full), Ret::Full),
        (NoticeAction::Failed, Some(Ret::Headers), Ret::Headers),
        (NoticeAction::Delayed, Some(Ret::Full), Ret::Headers),
        (NoticeAction::Delivered, None, Ret::Headers),
    ] {
        let change = |notice: &mut Notice| {
            let delivered =
                ToldRecipient { action: NoticeAction::Delivered, ..notice.recipients[0].clone() };
            notice.recipients[0].action = action;
            notice.recipients.push(delivered);
            assert_eq!(returned(ret, &notice.recipients), expected, "{action} {ret:?}");
        };
        with_notice(change, drop);
    }
}

#[test]
fn only_what_needs_it_asks_for_extensions() {
    let eva = Mailbox::parse("\u{e9}va@far.test").unwrap();
    let eva: &'static Mailbox = Box::leak(Box::new(eva));
    let check = |change: &dyn Fn(&mut Notice), body, smtputf8| {
        with_notice(change, |written| {
            assert_eq!((written.body, written.smtputf8), (body, smtputf8), "{}", written.head);
        });
    };
    use BodyType::{EightBitMime, SevenBit};
    check(&|_| {}, SevenBit, false);
    // A sender who never said SMTPUTF8 gets a notice that needs none, whatever it is about.
    check(&|notice| notice.recipients[0].recipient = eva, SevenBit, false);
    check(&|notice| notice.recipients[0].diagnostic = Some("550 \u{e9}"), SevenBit, false);
    check(&|notice| notice.original.subject = Some("\u{e9}"), SevenBit, false);
    check(&|notice| notice.original.eight_bit = true, EightBitMime, false);
    check(&|notice| notice.original.smtputf8 = true, SevenBit, false);
    let utf8 = |notice: &mut Notice| {
        (notice.original.smtputf8, notice.recipients[0].recipient) = (true, eva);
    };
    check(&utf8, EightBitMime, true);
    check(&|notice| notice.to = eva, EightBitMime, true);
    let both = |notice: &mut Notice| {
        (notice.original.smtputf8, notice.original.eight_bit) = (true, true);
    };
    check(&both, EightBitMime, true);
}
