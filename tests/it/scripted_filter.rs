//! A filter on python3-milter that does whatever a filter can do (`tests/programs/filter.py`), behind Postfix
//! and behind us: each says, delivers and holds the same, and tells the filter the same.

use crate::beside::{Argued, Beside, Fate, Filter, Letter, differences, first_difference};
use crate::daemons::Daemon;
use crate::outside::{PYTHON, has_modules, program, script};
use crate::support::{Dice, Place, text};
use serde_json::{Map, Value, json};
use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::fs;

/// What facteur makes of a letter in place of what Postfix makes of it, for a reason that stands beside it.
type Argument = fn(&Letter, &Fate) -> Fate;

const MAIL: &str = "From: Ann <ann@a.test>\r\nTo: bob@mx.test\r\nSubject: Hello  you\r\n\
    X-Many: one\r\nX-Folded: first\r\n\tsecond\r\n  third\r\nX-Many: two\r\n\
    Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@a.test>\r\nX-Many:three\r\n\
    X-Empty:\r\n\r\nHello Bob,\r\n\r\n.  two words\tand a dot \r\nx\r\n\r\n\r\n";

/// Letters, and what two filters do with each.
#[derive(Default)]
struct Cases {
    letters: Vec<Letter>,
    scripts: [Map<String, Value>; 2],
    argued: Argued,
}

impl Cases {
    /// One more: the steps of the first filter, and of the second, each `{stage: [step, ...]}`.
    fn add(&mut self, message: impl AsRef<[u8]>, first: Value, second: Value) -> &mut Letter {
        let name = format!("c{}", self.letters.len());
        for (scripts, script) in self.scripts.iter_mut().zip([first, second]) {
            scripts.insert(name.clone(), script);
        }
        self.letters.push(Letter::new(&name, message));
        self.letters.last_mut().unwrap()
    }

    /// As many as that of the letters added last are expected to differ from Postfix by this.
    fn argue(&mut self, count: usize, change: Argument) {
        let letters = self.letters.iter().rev().take(count);
        self.argued.extend(letters.map(|letter| (letter.name.clone(), change)));
    }

    /// At the end of the message, by the first filter and by the second one, each in a letter of its own.
    fn at_end(&mut self, message: impl AsRef<[u8]>, steps: impl Borrow<Value>) {
        let steps = steps.borrow();
        self.add(&message, json!({"eom": steps}), json!({}));
        self.add(&message, json!({}), json!({"eom": steps}));
    }

    /// Steps in some stage for the recipients a, b and c.
    fn for_three(&mut self, first: Value) {
        let letter = self.add(MAIL, first, json!({}));
        letter.to = ["a", "b", "c"].map(|user| format!("{}-{user}", letter.name)).to_vec();
    }

    /// What a letter's mailboxes can be.
    fn users(&self) -> Vec<String> {
        let names = self.letters.iter().map(|letter| &letter.name);
        names.flat_map(|name| ["bob", "a", "b", "c"].map(|user| format!("{name}-{user}"))).collect()
    }

    /// Plays all letters; gives what differs, in fates and in what the filters were told.
    fn play(&self) -> Option<Vec<String>> {
        let place = Place::new();
        let [ours, theirs] = ["ours", "theirs"].map(|side| self.start(&place, side));
        let beside =
            Beside::start(&ours.filters(&place), &theirs.filters(&place), &self.users(), "")?;
        let fates = beside.play(&self.letters);
        let mut differ = differences(&self.letters, &fates, &self.argued);
        let held = self.letters.iter().zip(&fates).filter(|(_, (_, theirs))| theirs.is_held);
        let held: BTreeSet<&String> = held.map(|(letter, _)| &letter.name).collect();
        for (number, letter) in
            (0..2).flat_map(|n| self.letters.iter().map(move |letter| (n, letter)))
        {
            let seen = ["ours", "theirs"].map(|side| {
                let file = place.at(&format!("{side}{number}.seen")).join(&letter.name);
                text(&fs::read(file).unwrap_or_default())
            });
            // Who refuses at once, or asks all the same, tells less or more.
            let differs = held.contains(&letter.name) || self.argued.contains_key(&letter.name);
            if seen[0] != seen[1] && !differs {
                let told = first_difference(&seen[0], &seen[1]);
                differ.push(format!("{}, filter {number} was told: {told}", letter.name));
            }
        }
        beside.server.stop();
        Some(differ)
    }

    /// Both filters of one side; the second wants values with their space.
    fn start(&self, place: &Place, side: &'static str) -> Side {
        let daemons = [0, 1].map(|number| {
            let at = |end: &str| place.at(&format!("{side}{number}.{end}"));
            fs::write(at("json"), Value::Object(self.scripts[number].clone()).to_string()).unwrap();
            fs::create_dir(at("seen")).unwrap();
            let mut command = program(place, PYTHON);
            command.arg(script("filter.py")).args([at("sock"), at("json"), at("seen")]);
            command.args(if number == 1 { &["spaces"][..] } else { &[] });
            let name = format!("filter-{side}{number}");
            let daemon = Daemon::at_file(place, &name, command, &at("sock"));
            // Postfix's server runs as another user.
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            fs::set_permissions(at("sock"), open).unwrap();
            daemon.without_asking()
        });
        Side { _daemons: daemons, side }
    }
}

struct Side {
    _daemons: [Daemon; 2],
    side: &'static str,
}

impl Side {
    fn filters(&self, place: &Place) -> [Filter; 2] {
        [("first", 0), ("second", 1)]
            .map(|(name, at)| Filter::free(name, &place.at(&format!("{}{at}.sock", self.side))))
    }
}

/// Where the filter is not installed, or Postfix cannot be started, nothing can be compared.
fn can_run() -> bool {
    has_modules("Milter") && crate::postfix::Postfix::found().is_some()
}

/// Postfix keeps a CR wherever a filter writes one, and lines of a field with nothing but blanks in them, at which
/// other readers see the end of the header. Here neither is kept.
fn tidy(_: &Letter, theirs: &Fate) -> Fate {
    theirs.clone().with_copies(|copy| copy.replace('\r', "").replace("\n\t\n", "\n"))
}

/// Postfix knows no folder for junk.
fn junk(_: &Letter, theirs: &Fate) -> Fate {
    let mut fate = theirs.clone();
    let copies = std::mem::take(&mut fate.copies).into_iter();
    fate.copies = copies.map(|(name, mail)| (format!("{name}/.Junk"), mail)).collect();
    fate
}

/// Headers of every kind, changed in every way.
fn headers(cases: &mut Cases) {
    for position in [0, 1, 2, 3, 4, 8, 9, 12, 13, 14, 100] {
        cases.at_end(MAIL, json!([["addheader", "X-New", "value", position]]));
        cases.at_end(
            MAIL,
            json!([
                ["addheader", "X-New", "1", position],
                ["addheader", "X-New", "2", position],
                ["addheader", "X-Other", "3", position + 1],
            ]),
        );
    }
    for value in [
        "",
        " ",
        "value",
        " value",
        "\tvalue",
        "  two spaces",
        "end ",
        "a\n\tb",
        "a\n b\n  c",
        " a\n b",
        "a\r\n\tb",
        "a\n",
        "ünïcode 漢字",
        "\u{7f}\u{1}",
        "a\n\n\tb",
        "a\nX-Smuggled: b",
        "%s \\ \"",
    ] {
        cases.at_end(MAIL, json!([["addheader", "X-New", value]]));
        cases.at_end(MAIL, json!([["addheader", "X-New", value, 1]]));
        cases.at_end(MAIL, json!([["chgheader", "Subject", 1, value]]));
        if value.contains('\r') || value.ends_with('\n') || value.contains("\n\n") {
            cases.argue(6, tidy);
        }
    }
    for length in [70, 998, 2_000, 30_000] {
        cases.at_end(MAIL, json!([["addheader", "X-New", "v ".repeat(length / 2)]]));
        cases.at_end(MAIL, json!([["addheader", "X-New", "v".repeat(length), 1]]));
    }
    for index in [0, 1, 2, 3, 4, 100] {
        for value in [json!("changed"), json!(""), Value::Null] {
            cases.at_end(MAIL, json!([["chgheader", "X-Many", index, value]]));
            cases.at_end(MAIL, json!([["chgheader", "x-many", index, value]]));
        }
    }
    for value in [json!("changed"), Value::Null] {
        for name in
            ["From", "X-Folded", "X-Empty", "Received", "X-None", "Return-Path", "Message-ID"]
        {
            cases.at_end(MAIL, json!([["chgheader", name, 1, value]]));
        }
    }
    for steps in [
        json!([["chgheader", "X-Many", 1, null], ["chgheader", "X-Many", 1, null]]),
        json!([
            ["chgheader", "X-Many", 3, null],
            ["chgheader", "X-Many", 2, null],
            ["chgheader", "X-Many", 1, null]
        ]),
        json!([
            ["chgheader", "X-Many", 1, null],
            ["chgheader", "X-Many", 1, "new"],
            ["chgheader", "X-Many", 2, "last"]
        ]),
        json!([["addheader", "X-Many", "zero", 1], ["chgheader", "X-Many", 1, "changed"]]),
        json!([["addheader", "X-Many", "zero", 0], ["chgheader", "X-Many", 1, "changed"]]),
        json!([["addheader", "X-Many", "four"], ["chgheader", "X-Many", 4, "changed"]]),
        json!([["addheader", "X-Many", "four"], ["chgheader", "X-Many", 4, null]]),
        json!([["chgheader", "From", 1, null], ["addheader", "X-New", "third", 3]]),
        json!([["chgheader", "X-None", 1, "added"], ["addheader", "X-New", "behind"]]),
        json!([
            ["chgheader", "X-Folded", 1, null],
            ["addheader", "X-New", "5", 5],
            ["addheader", "X-New", "6", 6]
        ]),
    ] {
        cases.at_end(MAIL, steps);
    }
    cases.at_end(MAIL, json!([["addheader", "X-Spam", "Yes"], ["addheader", "X-Spam", "Yes"]]));
    cases.argue(2, junk);
    let many: String = (0..1_000).map(|number| format!("X-Many: {number}\r\n")).collect();
    let all: Vec<Value> = (0..1_000).map(|_| json!(["chgheader", "X-Many", 1, null])).collect();
    let half: Vec<Value> =
        (0..500).map(|at| json!(["chgheader", "X-Many", at + 1, null])).collect();
    for steps in [all, half] {
        cases.at_end(format!("{many}Subject: many\r\n\r\nx\r\n"), Value::Array(steps));
    }
}

/// Postfix takes out a Return-Path before filters see the message, here it is theirs to see, and counts.
fn with_path(_: &Letter, theirs: &Fate) -> Fate {
    theirs.clone().with_copies(|copy| {
        let third = copy.find("X-Third:").unwrap();
        let line = copy[third..].lines().next().unwrap();
        let without = copy.replacen(&format!("{line}\n"), "", 1);
        without.replacen("Delivered-To: eve", &format!("{line}\nDelivered-To: eve"), 1)
    })
}

/// Postfix ends a header above a line that is no field, always. Here only one that a filter changed.
fn as_sent(_: &Letter, theirs: &Fate) -> Fate {
    theirs.clone().with_copies(|copy| copy.replacen("\n\n", "\n", 1))
}

/// Messages that are hard to read, each with a field on top, in the middle and at the end.
fn messages(cases: &mut Cases) {
    let long = "x".repeat(5_000);
    let lines = "line\r\n".repeat(30_000);
    for message in [
        "",
        "\r\n",
        "\r\n\r\n",
        "Subject: no body\r\n",
        "Subject: empty body\r\n\r\n",
        "Subject: one empty line\r\n\r\n\r\n",
        "\r\nno header\r\n",
        "Subject:no space\r\n\r\nx\r\n",
        "Subject:\ttab\r\n\r\nx\r\n",
        "Subject:   three\r\n\r\nx\r\n",
        "Subject:\r\n folded at once\r\n\r\nx\r\n",
        "Subject: \r\n folded behind a space\r\n\r\nx\r\n",
        "Subject: end \r\n\r\nx\r\n",
        "Subject: gr\u{fc}\u{df}\r\n\r\n\u{fc}\r\n",
        "Subject: x\r\nX-No_thing: ~\r\n\r\n.\r\n..\r\n.x\r\n",
        "Subject: a\r\nsubject: b\r\nSUBJECT: c\r\n\r\nx\r\n",
        "Received: from a by b; Mon, 23 Nov 2026 10:00:00 +0000\r\nSubject: a\r\n\r\nx\r\n",
    ] {
        let message: Vec<u8> = message.chars().map(|octet| octet as u8).collect();
        let steps = json!([
            ["addheader", "X-First", "1", 1],
            ["addheader", "X-Third", "3", 3],
            ["addheader", "X-Last", "4"],
            ["chgheader", "Subject", 1, "changed"],
        ]);
        cases.at_end(&message, steps);
        cases.at_end(&message, json!([]));
    }
    let steps = json!([["addheader", "X-First", "1", 1], ["addheader", "X-Third", "3", 3]]);
    cases.at_end("Return-Path: <eve@b.test>\r\nDelivered-To: eve\r\nX: a\r\n\r\nx\r\n", &steps);
    cases.argue(2, with_path);
    for message in
        ["Subject: a\r\nno field\r\nX: 1\r\n\r\nx\r\n", "text\r\n", "a b: c\r\n\r\nx\r\n"]
    {
        cases.at_end(message, &steps);
        cases.at_end(message, json!([]));
        cases.argue(2, as_sent);
    }
    for message in [
        format!("Subject: {long}\r\n\r\n{long}\r\n"),
        format!("Subject: a\r\n {}\r\n\r\n{lines}{long}{long}{long}", "b\r\n ".repeat(1_000)),
        format!("Subject: big\r\n\r\n{lines}"),
    ] {
        let message = message.trim_end_matches("\r\n").to_owned() + "\r\n";
        cases.at_end(message, json!([["addheader", "X-First", "1", 1]]));
    }
}

/// Postfix fails where a filter does something else between two pieces of a body. Here they are one body.
fn in_pieces(letter: &Letter, theirs: &Fate) -> Fate {
    let mut fate = ended_with(theirs, "250 2.0.0");
    let header = MAIL.split_once("\r\n\r\n").unwrap().0.replace('\r', "");
    let to = &letter.to[0];
    let top = format!("Delivered-To: {to}@mx.test\nReturn-Path: <ann@a.test>\nReceived\n");
    fate.copies.insert(to.clone(), vec![format!("{top}{header}\nX-New: 1\n\na\nb\n")]);
    fate
}

fn bodies(cases: &mut Cases) {
    let big = "0123456789abcdef\r\n".repeat(40_000);
    for body in [
        "",
        "\r\n",
        "\n",
        "new\r\n",
        "new",
        "new\n",
        "a\nb\n",
        "a\r\nb",
        "a\rb\r\n",
        ".\r\n..\r\n",
        "\r\n\r\nx\r\n",
        "\u{fc}\r\n",
        "nul \u{0} in it\r\n",
        &"y".repeat(3_000),
        &big,
    ] {
        cases.at_end(MAIL, json!([["replacebody", body]]));
        if body.replace("\r\n", "").contains('\r') {
            cases.argue(2, tidy);
        }
    }
    cases.at_end(
        MAIL,
        json!([["replacebody", "a"], ["replacebody", "b\r"], ["replacebody", "\nc\r\n"]]),
    );
    let pieces =
        json!([["replacebody", "a\r\n"], ["addheader", "X-New", "1"], ["replacebody", "b\r\n"]]);
    cases.add(MAIL, json!({"eom": pieces}), json!({}));
    cases.argue(1, in_pieces);
    // Each sees what those before have made of it.
    cases.add(
        MAIL,
        json!({"eom": [["replacebody", "first\r\n"], ["addheader", "X-A", "1", 1], ["chgheader", "Subject", 1, "a"]]}),
        json!({"eom": [["addheader", "X-B", "2", 1], ["chgheader", "X-A", 1, "3"]]}),
    );
    cases.add(
        MAIL,
        json!({"eom": [["replacebody", "first\r\n"]]}),
        json!({"eom": [["replacebody", "second\r\n"]]}),
    );
    cases.add(MAIL, json!({"eom": [["replacebody", "first\r\n"], ["reject"]]}), json!({}));
}

/// A recipient who is added twice, or is one already, gets two copies of Postfix. Here he gets one.
fn once(_: &Letter, theirs: &Fate) -> Fate {
    let mut fate = theirs.clone();
    fate.copies.values_mut().for_each(Vec::dedup);
    fate
}

/// Postfix asks no filter any more once one has held the message. Here the others are asked all the same, and
/// what one refuses is refused.
fn refused(_: &Letter, theirs: &Fate) -> Fate {
    ended_with(theirs, "550 5.7.1")
}

fn put_off(_: &Letter, theirs: &Fate) -> Fate {
    ended_with(theirs, "451 4.7.1")
}

fn discarded(_: &Letter, theirs: &Fate) -> Fate {
    ended_with(theirs, "250 2.0.0")
}

fn ended_with(theirs: &Fate, reply: &str) -> Fate {
    let mut replies = theirs.replies.clone();
    *replies.last_mut().unwrap() = reply.to_owned();
    Fate { replies, ..Fate::default() }
}

fn envelopes(cases: &mut Cases) {
    let at = |cases: &Cases, user: &str| format!("c{}-{user}@mx.test", cases.letters.len());
    for form in ["<@>", "@", " <@> ", "Bob <@>"] {
        let added = form.replace('@', &at(cases, "b"));
        cases.for_three(json!({"eom": [["addrcpt", added]]}));
        cases.argue(1, once);
        let bob = form.replace('@', &at(cases, "bob"));
        cases.for_three(json!({"eom": [["addrcpt", bob]]}));
        let gone = form.replace('@', &at(cases, "b"));
        cases.for_three(json!({"eom": [["delrcpt", gone]]}));
    }
    let two = [at(cases, "bob"), at(cases, "bob").to_uppercase().replace("MX.TEST", "mx.test")];
    cases
        .for_three(json!({"eom": [["addrcpt", two[0]], ["addrcpt", two[0]], ["delrcpt", two[1]]]}));
    let [a, b, c, bob] = ["a", "b", "c", "bob"].map(|user| at(cases, user));
    cases.for_three(json!({"eom": [["delrcpt", a], ["delrcpt", b], ["delrcpt", c]]}));
    let [a, b, c, bob] = [a, b, c, bob].map(|old| {
        old.replacen(&old[..old.find('-').unwrap()], &format!("c{}", cases.letters.len()), 1)
    });
    cases.for_three(
        json!({"eom": [["delrcpt", a], ["delrcpt", b], ["delrcpt", c], ["addrcpt", bob]]}),
    );
    let again = at(cases, "a");
    cases.for_three(json!({"eom": [["delrcpt", again], ["addrcpt", again]]}));
    let again = at(cases, "bob");
    cases.for_three(json!({"eom": [["addrcpt", again], ["delrcpt", again]]}));
    cases.for_three(json!({"eom": [["delrcpt", "<none@mx.test>"]]}));
    for sender in ["<eve@b.test>", "eve@b.test", "<>", "<Eve.B@b.test>", "Eve <eve@b.test>"] {
        cases.for_three(json!({"eom": [["chgfrom", sender]]}));
    }
    cases.for_three(json!({"eom": [["chgfrom", "<a@b.test>"], ["chgfrom", "<b@b.test>"]]}));
    cases.for_three(json!({"eom": [["quarantine", "wait"]]}));
    cases.for_three(json!({"eom": [["addheader", "X-New", "1"], ["quarantine", "wait"], ["chgfrom", "<b@b.test>"]]}));
    cases.for_three(json!({"eom": [["quarantine", "a"], ["quarantine", "b"]]}));
    cases.for_three(json!({"eom": [["quarantine", "wait"], ["reject"]]}));
    cases.for_three(json!({"eom": [["quarantine", "wait"], ["discard"]]}));
    cases.for_three(
        json!({"eom": [["progress"], ["progress"], ["addheader", "X-New", "1"], ["progress"]]}),
    );
    // The second filter decides after the first has held or changed it.
    let answers: [(&str, Option<Argument>); 4] = [
        ("reject", Some(refused)),
        ("tempfail", Some(put_off)),
        ("discard", Some(discarded)),
        ("accept", None),
    ];
    for (answer, argument) in answers {
        cases.add(MAIL, json!({"eom": [["quarantine", "wait"]]}), json!({"eom": [[answer]]}));
        if let Some(argument) = argument {
            cases.argue(1, argument);
        }
        cases.add(MAIL, json!({"eom": [["addheader", "X-New", "1"]]}), json!({"eom": [[answer]]}));
        cases.add(MAIL, json!({"eom": [[answer]]}), json!({"eom": [["addheader", "X-New", "1"]]}));
    }
}

/// Postfix takes EHLO in any case, and says at MAIL what a filter has answered; here it is said at once.
fn at_once(_: &Letter, theirs: &Fate) -> Fate {
    let mut fate = theirs.clone();
    fate.replies.remove(0);
    fate
}

/// Every answer in every stage.
fn answers(cases: &mut Cases) {
    let replies = [
        json!([["reject"]]),
        json!([["tempfail"]]),
        json!([["discard"]]),
        json!([["accept"]]),
        json!([["setreply", "550", "5.7.1", "go away"], ["reject"]]),
        json!([["setreply", "554", "5.6.0", "one", "two", "three"], ["reject"]]),
        json!([["setreply", "550", null, "no code"], ["reject"]]),
        json!([["setreply", "451", "4.7.1", "later"], ["tempfail"]]),
        json!([["setreply", "450", null, "half, 50%% of it"], ["tempfail"]]),
        json!([["setreply", "550", "5.7.1", "for a refusal only"], ["tempfail"]]),
        json!([["setreply", "451", "4.7.1", "for later only"], ["reject"]]),
        json!([["setreply", "421", "4.7.0", "closing"], ["tempfail"]]),
        json!([["setreply", "550", "5.7.1", "unused"], ["continue"]]),
    ];
    for stage in ["helo", "mail", "rcpt", "data", "header", "header:Subject", "eoh", "body", "eom"]
    {
        for steps in &replies {
            cases.add(MAIL, json!({stage: steps}), json!({}));
            let answer = steps[steps.as_array().unwrap().len() - 1][0].as_str().unwrap();
            // Only "closing" counts at once there as well.
            if stage == "helo" && matches!(answer, "reject" | "tempfail") && steps[0][1] != "421" {
                cases.argue(1, at_once);
            }
        }
        cases.add(MAIL, json!({}), json!({stage: [["reject"]]}));
        if stage == "helo" {
            cases.argue(1, at_once);
        }
        cases.add(
            MAIL,
            json!({stage: [["accept"]]}),
            json!({"eom": [["addheader", "X-New", "1", 1]]}),
        );
    }
    cases.add(MAIL, json!({"body": [["skip"]]}), json!({}));
    for answer in ["reject", "tempfail", "discard", "accept"] {
        for (user, end) in [("a", json!([])), ("b", json!([["addheader", "X-New", "1"]]))] {
            let one = format!("rcpt:c{}-{user}@mx.test", cases.letters.len());
            cases.for_three(json!({one: [[answer]], "eom": end}));
        }
    }
}

/// Chains of changes at random places of random headers.
fn at_random(cases: &mut Cases) {
    let mut dice = Dice::new(1993);
    let names = ["X-A", "X-B", "X-C", "Subject"];
    for _ in 0..60 {
        let fields: String = (0..3 + dice.below(6))
            .map(|at| format!("{}: {at}\r\n", names[dice.below(names.len())]))
            .collect();
        let mut steps = || -> Vec<Value> {
            (0..1 + dice.below(6))
                .map(|at| {
                    let name = names[dice.below(names.len())];
                    let value = format!("new {at}");
                    match dice.below(4) {
                        0 => json!(["addheader", name, value]),
                        1 => json!(["addheader", name, value, dice.below(10)]),
                        2 => json!(["chgheader", name, 1 + dice.below(4), value]),
                        _ => json!(["chgheader", name, 1 + dice.below(4), null]),
                    }
                })
                .collect()
        };
        let (first, second) = (steps(), steps());
        cases.add(format!("{fields}\r\nx\r\n"), json!({"eom": first}), json!({"eom": second}));
    }
}

fn compare(fill: &[fn(&mut Cases)]) {
    if !can_run() {
        return;
    }
    let mut cases = Cases::default();
    fill.iter().for_each(|fill| fill(&mut cases));
    let Some(differ) = cases.play() else { return };
    let count = differ.len();
    assert!(differ.is_empty(), "{count} of {}:\n{}", cases.letters.len(), differ.join("\n"));
}

#[test]
fn headers_are_changed_as_behind_postfix() {
    compare(&[headers, at_random]);
}

#[test]
fn messages_reach_filters_as_behind_postfix() {
    compare(&[messages, bodies]);
}

#[test]
fn envelopes_are_changed_as_behind_postfix() {
    compare(&[envelopes]);
}

#[test]
fn answers_count_as_behind_postfix() {
    compare(&[answers]);
}
