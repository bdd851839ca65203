//! What becomes of tables, shown as the files that they make.

use super::super::maps::{MapEntry, Maps};
use super::super::targets::NameCompletion;
use super::*;

fn table(text: &str) -> Maps {
    let entry = |line: &str| {
        let (key, value) = line.trim().split_once(' ').unwrap();
        MapEntry { key: key.to_owned(), value: value.to_owned() }
    };
    Maps {
        entries: text.split(';').filter(|line| !line.trim().is_empty()).map(entry).collect(),
        ..Maps::default()
    }
}

fn names(text: &str) -> Vec<Domain> {
    text.split_whitespace().map(|name| Domain::parse(name).unwrap()).collect()
}

/// A book: local | aliased | hosted domains, virtual(5), mailboxes, aliases(5). The accounts are ann, bob and root, and
/// names without a domain are at the first local one.
fn shown(domains_of: &str, virtuals: &str, mailboxes: &str, aliases: &str) -> Vec<String> {
    let mut classes = domains_of.split('|').map(names);
    let local = classes.next().unwrap();
    let book = AddressBook {
        names: NameCompletion {
            origin: local.first().cloned().unwrap_or_else(|| Domain::parse("o.test").unwrap()),
            parent: None,
        },
        aliased: classes.next().unwrap(),
        hosted: classes.next().unwrap(),
        virtuals: table(virtuals),
        mailboxes: table(mailboxes),
        aliases: table(aliases),
        forwards: BTreeSet::new(),
        separator: "-".to_owned(),
        keeps_hosted: true,
        accounts: ["ann", "bob", "root"].map(str::to_owned).to_vec(),
        local,
    };
    let main = book.local.first().cloned();
    let list = |file: &str, reader: Option<&str>| match (file, reader) {
        ("/list", None) => Ok("ann\n# c\nfar@x.test\n:include:/list\n".to_owned()),
        _ => Err(format!("cannot read {file}")),
    };
    let MovedDomains { domains, remarks } = domains(&book, main.as_ref(), &list);
    let word = |word: &MovedTarget| {
        let host = word.host.as_ref().map(|host| format!("@{host}")).unwrap_or_default();
        format!("{}{}{host}", if word.is_user { "\\" } else { "" }, word.name)
    };
    let mut lines = Vec::new();
    for domain in domains {
        if let Some(target) = &domain.alias_of {
            lines.push(format!("{} = {target}", domain.name));
            continue;
        }
        let catch_all =
            domain.catch_all.as_ref().map(|it| format!(" * {}", word(it))).unwrap_or_default();
        lines.push(format!("{} ({}){catch_all}", domain.name, domain.users.join(" ")));
        for alias in &domain.aliases {
            let targets: Vec<String> = alias.targets.iter().map(word).collect();
            lines.push(format!("  {}: {}", alias.name, targets.join(" ")));
        }
    }
    lines.push(format!("{} remarks", remarks.len()));
    lines
}

#[test]
fn aliases_alone() {
    assert_eq!(
        shown(
            "|a.test b.test|",
            "info@a.test x@far.test, me@b.test;me@b.test y@far.test;z@far.test q@a.test",
            "",
            ""
        ),
        ["a.test ()", "  info: x@far.test me@b.test", "b.test ()", "  me: y@far.test", "1 remarks"]
    );
    // A circle leads to nobody, and so does whoever has it alone.
    assert_eq!(
        shown(
            "|a.test|",
            "x@a.test y@a.test;y@a.test x@a.test, ok@far.test;z@a.test none@a.test",
            "",
            ""
        ),
        ["a.test ()", "  x: y", "  y: ok@far.test", "2 remarks"]
    );
}

#[test]
fn mailboxes_and_the_rest_of_a_domain() {
    let boxes = "ann@a.test a/ann/;bob@a.test a/bob/;kim@b.test b/kim/";
    // The rest of the domain hides Ann's mailbox, and not Bob's, whose entry is his own.
    assert_eq!(
        shown("||a.test b.test", "@a.test kim@b.test;bob@a.test bob@a.test", boxes, ""),
        [
            "a.test (ann bob) * kim@b.test",
            "  bob: bob",
            "  ann: kim@b.test",
            "b.test (kim)",
            "1 remarks"
        ]
    );
    // To himself: he keeps his mailbox.
    assert_eq!(
        shown("||a.test b.test", "@a.test bob@a.test", boxes, "")[..2],
        ["a.test (ann bob) * bob".to_owned(), "  ann: bob".to_owned()]
    );
    assert_eq!(
        shown("||a.test", "@a.test bob@a.test, x@far.test", "bob@a.test a/bob/", ""),
        [
            "a.test (bob) * catch-all",
            "  bob: bob x@far.test",
            "  catch-all: bob x@far.test",
            "1 remarks"
        ]
    );
}

#[test]
fn whole_domains() {
    let boxes = "ann@b.test b/ann/";
    assert_eq!(
        shown("|a.test c.test|b.test", "@a.test @b.test;@c.test @a.test", boxes, ""),
        ["b.test (ann)", "a.test = b.test", "c.test = b.test", "0 remarks"]
    );
    // A name of its own beside it: each of the others is written.
    assert_eq!(
        shown(
            "|a.test|b.test",
            "@a.test @b.test;me@a.test x@far.test;@b.test ann@b.test",
            boxes,
            ""
        ),
        [
            "b.test (ann) * ann",
            "a.test () * ann@b.test",
            "  me: x@far.test",
            "  ann: ann@b.test",
            "0 remarks"
        ]
    );
    assert_eq!(
        shown("|a.test|", "@a.test @far.test;me@a.test @far.test", "", ""),
        ["a.test ()", "  me: me@far.test", "1 remarks"]
    );
    // Two that lead to each other.
    assert_eq!(shown("|a.test b.test|", "@a.test @b.test;@b.test @a.test", "", "").len(), 3);
}

#[test]
fn accounts() {
    assert_eq!(
        shown(
            "h.test a.test localhost||",
            "",
            "",
            "root ann;all ann, bob, x@far.test;me \\ann, all;bob bob, root"
        ),
        [
            "h.test (ann bob root)",
            "  root: ann",
            "  all: ann bob x@far.test",
            "  me: ann all",
            "  bob: bob root",
            "a.test = h.test",
            "localhost = h.test",
            "0 remarks"
        ]
    );
    // virtual(5) comes first, also without a domain, and aliases(5) behind it is not asked for its names again.
    assert_eq!(
        shown(
            "h.test||",
            "ann x@far.test;root@h.test root@h.test, bob@h.test",
            "",
            "root ann;all ann;list bob"
        ),
        [
            "h.test (ann bob root)",
            "  root: \\ann bob",
            "  ann: x@far.test",
            "  all: \\ann",
            "  list: bob",
            "0 remarks"
        ]
    );
    // A domain of accounts with names of its own has the same users.
    assert_eq!(
        shown("h.test a.test||", "info@a.test bob", "", "root ann"),
        [
            "h.test (ann bob root)",
            "  root: ann",
            "a.test (ann bob root)",
            "  info: bob@h.test",
            "  root: ann",
            "0 remarks"
        ]
    );
}

#[test]
fn what_is_refused_here() {
    assert_eq!(
        shown(
            "h.test||",
            "",
            "",
            "prog \"|/bin/x a, b\";box /var/mail/x, ann;list :include:/list;gone :include:/none"
        ),
        ["h.test (ann bob root)", "  box: ann", "  list: ann far@x.test", "5 remarks"]
    );
}

#[test]
fn tags_lead_to_somebody() {
    assert_eq!(
        shown(
            "h.test|a.test|",
            "x@a.test ann-tag@h.test, q-tag@h.test;y@a.test x-tag@a.test;z@a.test ann+tag@h.test",
            "",
            ""
        ),
        ["h.test (ann bob root)", "a.test ()", "  x: ann-tag@h.test", "  y: x-tag", "2 remarks"]
    );
}

#[test]
fn a_list_with_an_owner_asks_virtual_again() {
    let virtuals = "ann@h.test far@x.test;bob kim@x.test";
    assert_eq!(
        shown("h.test||", virtuals, "", "list ann, bob, root;owner-list root;other ann, bob"),
        [
            "h.test (ann bob root)",
            "  ann: far@x.test",
            "  bob: kim@x.test",
            "  list: ann bob root",
            "  owner-list: root",
            "  other: \\ann \\bob",
            "0 remarks"
        ]
    );
}

#[test]
fn a_mailbox_for_the_rest_of_a_domain() {
    for (boxes, virtuals, expected) in [
        ("ann@a.test a/ann/;@a.test a/Rest/", "", "a.test (ann rest) * rest"),
        ("ann@a.test a/ann/;@a.test a/ann/", "", "a.test (ann) * ann"),
        ("ann@a.test a/ann/;@a.test b/ann/", "", "a.test (ann catch-all) * catch-all"),
        ("@a.test a/rest/", "rest@a.test x@far.test", "a.test (catch-all) * catch-all"),
        ("ann@a.test a/ann/;@a.test a/rest/", "@a.test x@far.test", "a.test (ann) * x@far.test"),
    ] {
        assert_eq!(shown("||a.test", virtuals, boxes, "")[0], expected, "{boxes}");
    }
    // Of accounts it means nothing.
    assert_eq!(shown("a.test||", "", "@a.test a/rest/", "")[0], "a.test (ann bob root)");
}
