//! A whole server with filters that do what a script says: each opinion at each stage, what is changed in a Maildir, in
//! the queue and at the next hop, and what filters are told.

use crate::client::Client;
use crate::commands::run;
use crate::filterd::Filter;
use crate::hosts::Host;
use crate::lmtp::{keeper, site};
use crate::servers::{Binary, value};
use crate::support::{Place, config, files, text, until};
use std::fs;

/// The binary behind one filter.
pub struct Filtered {
    pub place: Place,
    pub filter: Filter,
    pub server: Binary,
}

pub const MAIL: &[u8] = b"From: ann@a.test\r\nSubject: hello\r\n\r\nHi\r\n";

/// All that a filter may do.
pub const MAY: &str = "may = [\"header\", \"body\", \"recipients\", \"sender\", \"quarantine\"]";

impl Filtered {
    /// `more`: lines of the filter's table, and tables behind it.
    pub fn new(script: &str, more: &str) -> Filtered {
        let (place, filter) = (Place::new(), Filter::start(script));
        let server = Binary::serve(&place, &config(&filter.table("f", more)));
        Filtered { place, filter, server }
    }

    pub fn client(&self) -> Client {
        self.server.client()
    }

    /// The mail of a user, in the inbox.
    pub fn inbox(&self, user: &str) -> Vec<String> {
        self.place.mail(user).iter().map(|mail| text(mail)).collect()
    }

    pub fn junk(&self, user: &str) -> usize {
        files(&self.place.maildir(user).join(".Junk/new")).len()
    }

    pub fn queued(&self) -> Vec<String> {
        let files = files(&self.place.at("spool/queue"));
        files.iter().map(|path| text(&fs::read(path).unwrap())).collect()
    }

    /// The values of `key` in lines of the log that say all this.
    pub fn told(&self, texts: &[&str], key: &str) -> Vec<String> {
        let lines = self.server.lines();
        let fits = lines.iter().filter(|line| texts.iter().all(|text| line.contains(text)));
        fits.filter_map(|line| value(line, key)).collect()
    }
}

/// The names of the fields of a message, with LF.
fn names(mail: &str) -> Vec<&str> {
    let header = mail.split("\n\n").next().unwrap();
    let fields = header.lines().filter(|line| !line.starts_with([' ', '\t']));
    fields.map(|line| line.split(':').next().unwrap()).collect()
}

#[test]
fn what_filters_are_told() {
    let it = Filtered::new("", "");
    let mut client = it.client();
    client.expect("MAIL FROM:<ann@a.test> SIZE=40 BODY=8BITMIME", "250");
    client.expect("RCPT TO:<bob@mx.test> NOTIFY=NEVER", "250");
    client.expect("RCPT TO:<\"x y\"@mx.test>", "250");
    client.expect("DATA", "354");
    client.send(MAIL);
    let reply = client.expect(".", "250");
    let id = reply.rsplit(' ').next().unwrap();
    let seen = it.filter.seen();
    let shown = seen.join("\n");
    let at = |text: &str| {
        seen.iter()
            .position(|line| line.starts_with(text))
            .unwrap_or_else(|| panic!("{text}: {shown}"))
    };
    let order = [
        "negotiate",
        "macros connect j=mx.test {daemon_name}=mx.test {daemon_addr}=127.0.0.1 {daemon_port}=",
        "connect ",
        "helo client.test",
        &format!("macros mail i={id} {{mail_addr}}=ann@a.test {{mail_host}}=a.test"),
        "mail <ann@a.test> SIZE=40 BODY=8BITMIME",
        &format!("macros rcpt i={id} {{rcpt_addr}}=bob@mx.test {{rcpt_host}}=mx.test"),
        "rcpt <bob@mx.test> NOTIFY=NEVER",
        "rcpt <\"x y\"@mx.test>",
        &format!("macros data i={id}"),
        "data",
        "header From: ann@a.test",
        "header Subject: hello",
        "eoh",
        "body Hi",
        "end",
    ];
    let places: Vec<usize> = order.iter().map(|text| at(text)).collect();
    assert!(places.is_sorted(), "{shown}");
    // Our Received is none of what it sees.
    assert_eq!(it.filter.heard("header").len(), 2, "{shown}");
    client.expect("QUIT", "221");
    until("it hears that the client has gone", || {
        it.filter.heard("quit").len() + it.filter.heard("next").len() == 1
    });
    assert!(it.told(&["filtered "], "filter").is_empty(), "{:?}", it.server.lines());
    it.server.stop();
}

/// What is answered at each stage is what the client hears, with its own code, and the session behind it.
#[test]
fn each_refusal_at_each_stage() {
    let it = Filtered::new("", "");
    for (stage, commands) in [
        ("helo", 1),
        ("mail", 2),
        ("rcpt", 3),
        ("data", 4),
        ("header", 5),
        ("eoh", 5),
        ("body", 5),
        ("end", 5),
    ] {
        for (answer, heard, action) in [
            ("reject", "550 5.7.1 ", "reject"),
            ("tempfail", "451 4.7.1 ", "tempfail"),
            ("reply 554 5.6.0 I do not\twant it", "554 5.6.0 I do not", "reject"),
            ("reply 450 come back", "450 4.7.1 come back", "tempfail"),
        ] {
            it.filter.change(&format!("{stage}*1: {answer}"));
            let mut client = Client::connect(it.server.address);
            client.reply();
            let mut replies = Vec::new();
            for command in
                ["EHLO client.test", "MAIL FROM:<ann@a.test>", "RCPT TO:<bob@mx.test>", "DATA"]
                    .into_iter()
                    .take(commands)
            {
                replies.push(client.ask(command));
            }
            if commands == 5 {
                client.send(MAIL);
                replies.push(client.ask("."));
            }
            let last = replies.pop().unwrap();
            assert!(replies.iter().all(|reply| reply.starts_with(['2', '3'])), "{replies:?}");
            assert!(last.starts_with(heard) && last.ends_with(']'), "{stage}, {answer}: {last}");
            assert!(!last.contains('\t'), "{last}");
            // The session goes on, but for one whose name was refused.
            match stage {
                "helo" => client.expect("MAIL FROM:<>", "503"),
                _ => client.expect("RSET", "250"),
            };
            let mut client = if stage == "helo" { it.client() } else { client };
            client.expect("EHLO client.test", "250");
            client.delivered(&["zoe@mx.test"], MAIL);
            let session = last.rsplit(['[', ']']).nth(1).unwrap();
            let texts = ["filtered ", session, &format!(" action={action}")];
            it.server.wait_for(&texts);
            assert_eq!(it.told(&texts, "filter"), ["f"], "{:?}", it.server.lines());
        }
    }
    assert!(it.inbox("bob").is_empty());
    it.server.stop();
}

/// At the greeting a refusal is all that the client hears; a 421 closes at any stage.
#[test]
fn refusals_of_a_client() {
    let it = Filtered::new("", "");
    it.filter.change("connect*1: reply 554 5.7.1 not you");
    let mut client = Client::connect(it.server.address);
    let greeting = client.reply();
    assert!(greeting.starts_with("554 5.7.1 not you ["), "{greeting}");
    for command in ["EHLO client.test", "MAIL FROM:<>", "NOOP", "STARTTLS"] {
        client.expect(command, "503 5.5.1 ");
    }
    client.expect("QUIT", "221");
    for (stage, commands) in [("connect", 0), ("helo", 1), ("mail", 2), ("rcpt", 3), ("data", 4)] {
        it.filter.change(&format!("{stage}*1: reply 421 4.7.0 go away"));
        let mut client = Client::connect(it.server.address);
        let mut last = client.reply();
        for command in
            ["EHLO client.test", "MAIL FROM:<ann@a.test>", "RCPT TO:<bob@mx.test>", "DATA"]
                .into_iter()
                .take(commands)
        {
            last = client.ask(command);
        }
        assert!(last.starts_with("421 4.7.0 go away ["), "{stage}: {last}");
        assert!(client.is_over(), "{stage}");
    }
    // Whoever is accepted is asked about no more.
    it.filter.change("connect*1: accept");
    let before = it.filter.seen().len();
    it.client().delivered(&["bob@mx.test"], MAIL);
    let seen = it.filter.seen()[before..].to_vec();
    assert!(!seen.iter().any(|line| line.starts_with("mail")), "{seen:?}");
    it.server.stop();
}

/// One recipient may be refused, the others get it; those that we refuse are told only to who wants that.
#[test]
fn recipients_one_by_one() {
    let relaying = "[relay]\nnetworks = []\n";
    let it =
        Filtered::new("rcpt <no@: reply 550 5.1.1 nobody\nnegotiate: options 6 511 2048", relaying);
    let mut client = it.client();
    client.expect("MAIL FROM:<ann@a.test>", "250");
    client.expect("RCPT TO:<no@mx.test>", "550 5.1.1 nobody");
    client.expect("RCPT TO:<eve@far.test>", "550 5.7.1");
    client.expect("RCPT TO:<bob@mx.test>", "250");
    client.expect("DATA", "354");
    client.send(MAIL);
    client.expect(".", "250");
    assert_eq!(it.inbox("bob").len(), 1);
    let rcpts = it.filter.heard("rcpt");
    assert_eq!(rcpts, ["rcpt <no@mx.test>", "rcpt <eve@far.test>", "rcpt <bob@mx.test>"]);
    let refused = it.filter.heard("macros rcpt");
    assert!(refused[1].contains("{rcpt_mailer}=error"), "{refused:?}");
    it.server.stop();
}

/// Fields where Postfix would put them, the body another one: in the Maildir.
#[test]
fn what_is_changed_in_a_maildir() {
    let script = "end: add X-Last: z | insert 0 X-Top: a | insert 2 X-Under: b | change 1 Subject: new\\n folded \
        | change 1 From: | change 9 X-None: c | continue";
    let it = Filtered::new(script, MAY);
    let mail = b"From: ann@a.test\r\nReturn-Path: <x@y>\r\nSubject: hello\r\nTo: bob\r\n\r\nHi\r\n";
    it.client().delivered(&["bob@mx.test"], mail);
    let mail = &it.inbox("bob")[0];
    let fields = names(mail);
    let expected = [
        "Return-Path",
        "Delivered-To",
        "X-Top",
        "Received",
        "X-Under",
        "Subject",
        "To",
        "X-Last",
        "X-None",
    ];
    assert_eq!(fields, expected, "{mail}");
    assert!(mail.contains("\nSubject: new\n folded\n") && mail.ends_with("\n\nHi\n"), "{mail}");
    it.filter.change("end*1: body one\\n | body .two\\n | add X-B: 1 | continue");
    it.client().delivered(&["ann@mx.test"], b"Return-Path: <x@y>\r\nSubject: hello\r\n\r\nHi\r\n");
    let mail = &it.inbox("ann")[0];
    assert_eq!(
        names(mail),
        ["Return-Path", "Delivered-To", "Received", "Subject", "X-B"],
        "{mail}"
    );
    assert!(mail.ends_with("\n\none\n.two\n"), "{mail}");
    it.server.wait_for(&["filtered ", "action=changed", "the body"]);
    let changed = it.told(&["filtered ", "action=changed"], "id");
    assert_eq!(changed.len(), 2);
    it.server.stop();
}

/// All see the same octets: the queue, the next hop, and a copy that comes late.
#[test]
fn what_is_changed_on_the_way() {
    let host = Host::start("RCPT*1: 451 later");
    let more = format!(
        "{MAY}\n[relay]\nnetworks = [\"127.0.0.0/8\"]\n[relay.route]\n\"far.test\" = \"{}\"\n",
        host.address
    );
    let it =
        Filtered::new("end: add X-F: 1 | change 1 Subject: new | body other\\n | continue", &more);
    let to = ["bob@mx.test", "eve@far.test"];
    it.client().delivered(&to, MAIL);
    it.server.wait_for(&["deferred ", "to=eve@far.test"]);
    let file = &it.queued()[0];
    assert!(file.contains("\nSubject: new\nX-F: 1\n\nother\n"), "{file}");
    it.server.signal("USR1");
    let relayed = || host.mail().into_iter().find(|mail| !mail.to.is_empty());
    until("it is relayed", || relayed().is_some());
    let mail = text(&relayed().unwrap().octets);
    assert!(mail.ends_with("\r\nSubject: new\r\nX-F: 1\r\n\r\nother\r\n"), "{mail}");
    // The size that is announced is that of what is sent.
    let announced =
        host.seen().commands.iter().find(|line| line.starts_with("MAIL")).cloned().unwrap();
    assert!(announced.contains(&format!("SIZE={}", mail.len())), "{announced}, {}", mail.len());
    it.server.stop();
}

#[test]
fn what_may_not_be_done_is_told_and_left_undone() {
    let it = Filtered::new(
        "end: add X-F: 1 | body other\\n | rcpt+ <eve@mx.test> | rcpt- <bob@mx.test> | from <x@y.test> \
         | quarantine why | continue",
        "may = []",
    );
    it.client().delivered(&["bob@mx.test"], MAIL);
    let mail = &it.inbox("bob")[0];
    assert!(mail.ends_with("From: ann@a.test\nSubject: hello\n\nHi\n"), "{mail}");
    it.server.wait_for(&["filtered ", "action=undone", "hold"]);
    let undone = it.told(&["filtered ", "action=undone"], "what");
    assert_eq!(undone.len(), 6, "{undone:?}");
    assert!(it.inbox("eve").is_empty() && it.queued().is_empty());
    it.server.stop();
}

#[test]
fn junk_by_a_field() {
    let it = Filtered::new("", "");
    for (script, is_junk) in [
        ("end*1: add X-Spam: yes | continue", true),
        ("end*1: insert 0 x-spam-flag: YES | continue", true),
        ("end*1: add X-Spam: no | continue", false),
        ("end*1: add X-Spam: Yes | change 2 X-Spam: no | continue", false),
        ("end*1: change 1 X-Spam: Yes | continue", true),
        // What the stranger wrote himself.
        ("end*1: continue", false),
    ] {
        it.filter.change(script);
        let before = (it.inbox("bob").len(), it.junk("bob"));
        it.client().delivered(&["bob@mx.test"], b"X-Spam: Yes\r\nSubject: x\r\n\r\nHi\r\n");
        let after = (it.inbox("bob").len(), it.junk("bob"));
        let junk = usize::from(is_junk);
        assert_eq!(after, (before.0 + 1 - junk, before.1 + junk), "{script}");
    }
    it.server.stop();
}

/// 250 with an id, and nothing is kept; the log says who wanted that.
#[test]
fn discarded_at_any_stage() {
    let it = Filtered::new("", MAY);
    for stage in ["mail", "rcpt", "data", "header", "eoh", "body", "end"] {
        it.filter.change(&format!("{stage}*1: discard"));
        let reply = it.client().delivered(&["bob@mx.test"], MAIL);
        let id = reply.rsplit(' ').next().unwrap();
        it.server.wait_for(&["filtered ", &format!("id={id}"), "filter=f", "action=discard"]);
        it.server.wait_for(&["accepted ", &format!("id={id}")]);
    }
    // Whoever takes out all recipients throws it away as well.
    it.filter.change("end*1: rcpt- <bob@mx.test> | continue");
    let reply = it.client().delivered(&["bob@mx.test"], MAIL);
    let id = reply.rsplit(' ').next().unwrap();
    it.server.wait_for(&["filtered ", &format!("id={id}"), "action=discard"]);
    assert!(it.inbox("bob").is_empty() && it.queued().is_empty());
    // Before there is a message it means nothing.
    it.filter.change("connect*1: discard");
    it.client().delivered(&["bob@mx.test"], MAIL);
    it.server.wait_for(&["filtered ", "stage=connect", "action=undone"]);
    assert_eq!(it.inbox("bob").len(), 1);
    it.server.stop();
}

/// It waits whole, for those here and elsewhere, junk and changes kept.
#[test]
fn held_until_a_person_lets_it_go() {
    let host = Host::start("");
    let more = format!(
        "{MAY}\n[relay]\nnetworks = [\"127.0.0.0/8\"]\n[relay.route]\n\"far.test\" = \"{}\"\n",
        host.address
    );
    let script = "end: quarantine looks \"odd\" | add X-Spam: Yes | continue";
    let it = Filtered::new(script, &more);
    let reply = it.client().delivered(&["bob@mx.test", "eve@far.test"], MAIL);
    let id = reply.rsplit(' ').next().unwrap();
    it.server.wait_for(&["held ", &format!("id={id}"), "filter=f"]);
    let file = &it.queued()[0];
    assert!(file.contains("\njunk: yes\nheld: f \"looks \\\"odd\\\"\"\n"), "{file}");
    it.server.signal("USR1");
    assert!(it.inbox("bob").is_empty() && it.junk("bob") == 0 && host.mail().is_empty());
    let (status, out, _) = run(&it.place, &["queue", "list"]);
    assert!(status == 0 && out.contains("held by f: looks"), "{out}");
    let (status, out, err) = run(&it.place, &["queue", "retry", id]);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    until("it goes", || it.queued().is_empty());
    assert_eq!((it.junk("bob"), host.mail().len()), (1, 1));
    let mail = text(&host.mail()[0].octets);
    assert!(mail.contains("\r\nX-Spam: Yes\r\n"), "{mail}");
    it.server.stop();
}

#[test]
fn another_envelope() {
    let host = Host::start("");
    let aliases = "list: zoe, far@far.test\nloop: loop2\nloop2: loop\n";
    let more = format!(
        "{MAY}\n[relay.route]\n\"far.test\" = \"{}\"\n[domain.\"al.test\"]\nmaildir = \"mail/{{domain}}/{{user}}\"\n\
         aliases = \"aliases\"\nusers = \"users\"\n",
        host.address
    );
    let place = Place::new();
    place.write("aliases", aliases);
    place.write("users", "zoe:{PLAIN}x:::::\n");
    let filter = Filter::start(
        "end: from <other@a.test> | rcpt- <bob@mx.test> | rcpt+ <carl@mx.test> | rcpt+ <list@al.test> \
         | rcpt+ <nobody@al.test> | rcpt+ <loop@al.test> | rcpt+ <far@far.test> | continue",
    );
    let server = Binary::serve(&place, &config(&filter.table("f", &more)));
    let it = Filtered { place, filter, server };
    it.client().delivered(&["bob@mx.test", "ann@mx.test"], MAIL);
    until("the far one has it", || !host.mail().is_empty());
    assert!(it.inbox("bob").is_empty());
    for user in ["ann", "carl"] {
        let mail = &it.inbox(user)[0];
        assert!(mail.starts_with("Return-Path: <other@a.test>\n"), "{mail}");
    }
    let zoe = files(&it.place.at("mail/al.test/zoe/new"));
    assert_eq!((zoe.len(), host.mail().len()), (1, 1));
    assert_eq!(host.mail()[0].to, ["far@far.test"]);
    let undone = it.told(&["filtered ", "action=undone"], "what");
    assert_eq!(undone.len(), 2, "{undone:?}");
    assert!(
        undone[0].contains("nobody@al.test") && undone[1].contains("loop@al.test"),
        "{undone:?}"
    );
    it.server.stop();
}

/// Who was added is not left out because a disk does not tell now whether he exists: the message would go to nobody.
#[test]
fn a_recipient_who_cannot_be_looked_up_is_waited_for() {
    let more = format!("{MAY}\n[domain.\"al.test\"]\nmaildir = \"al/{{user}}\"\n");
    let place = Place::new();
    std::fs::create_dir(place.at("al")).unwrap();
    std::os::unix::fs::symlink("zoe", place.at("al/zoe")).unwrap();
    let filter = Filter::start("end: rcpt- <bob@mx.test> | rcpt+ <zoe@al.test> | continue");
    let server = Binary::serve(&place, &config(&filter.table("f", &more)));
    let it = Filtered { place, filter, server };
    let mut client = it.client();
    for (is_there, reply) in [(false, "451 4.3.0"), (true, "250")] {
        if is_there {
            std::fs::remove_file(it.place.at("al/zoe")).unwrap();
            std::fs::create_dir_all(it.place.at("al/zoe/new")).unwrap();
            std::fs::create_dir_all(it.place.at("al/zoe/cur")).unwrap();
            std::fs::create_dir_all(it.place.at("al/zoe/tmp")).unwrap();
        }
        client.expect("MAIL FROM:<ann@a.test>", "250");
        client.expect("RCPT TO:<bob@mx.test>", "250");
        client.expect("DATA", "354");
        client.send(&[MAIL, b".\r\n"].concat());
        let heard = client.reply();
        assert!(heard.starts_with(reply), "{heard}");
    }
    assert_eq!(files(&it.place.at("al/zoe/new")).len(), 1);
    assert!(it.inbox("bob").is_empty());
    it.server.stop();
}

/// Several transactions in a session, one of them reset, one by chunks, one pipelined.
#[test]
fn one_session_brings_many() {
    let it = Filtered::new("end: add X-F: 1 | continue", "");
    let mut client = it.client();
    client.expect("MAIL FROM:<ann@a.test>", "250");
    client.expect("RCPT TO:<bob@mx.test>", "250");
    client.expect("RSET", "250");
    until("it hears of that", || it.filter.heard("abort").len() == 1);
    client.delivered(&["bob@mx.test"], MAIL);
    client.expect("MAIL FROM:<ann@a.test>", "250");
    client.expect("RCPT TO:<bob@mx.test>", "250");
    client.send(b"BDAT 18\r\nFrom: ann@a.test\r\n");
    assert!(client.reply().starts_with("250"));
    client.send(b"BDAT 6 LAST\r\n\r\nHi\r\n");
    assert!(client.reply().starts_with("250"));
    client.send(
        b"MAIL FROM:<ann@a.test>\r\nRCPT TO:<bob@mx.test>\r\nRCPT TO:<zoe@mx.test>\r\nDATA\r\n",
    );
    let replies: Vec<String> = (0..4).map(|_| client.reply()).collect();
    assert!(replies[3].starts_with("354"), "{replies:?}");
    client.send(MAIL);
    client.expect(".", "250");
    let bob = it.inbox("bob");
    assert_eq!((bob.len(), it.inbox("zoe").len()), (3, 1));
    assert!(bob.iter().all(|mail| mail.contains("\nX-F: 1\n")), "{bob:?}");
    assert_eq!((it.filter.connections(), it.filter.heard("data").len()), (1, 3));
    // Who refuses at DATA refuses a message by chunks as a whole.
    it.filter.change("data*1: reply 554 5.7.1 no data");
    client.expect("MAIL FROM:<ann@a.test>", "250");
    client.expect("RCPT TO:<bob@mx.test>", "250");
    client.send(b"BDAT 6 LAST\r\n\r\nHi\r\n");
    assert!(client.reply().starts_with("554 5.7.1 no data ["));
    client.delivered(&["bob@mx.test"], MAIL);
    it.server.stop();
}

/// Each sees what those before it did, and none behind one that refuses is asked.
#[test]
fn in_their_order() {
    let place = Place::new();
    let (first, second) = (
        Filter::start("end: add X-First: 1 | change 1 Subject: by first | continue"),
        Filter::unix(&place, "second.sock", "end: add X-Second: 2 | continue"),
    );
    let server = Binary::serve(
        &place,
        &config(&format!("{}{}", first.table("first", ""), second.table("second", ""))),
    );
    server.client().delivered(&["bob@mx.test"], MAIL);
    let heard = second.heard("header");
    assert_eq!(heard[1..], ["header Subject: by first", "header X-First: 1"]);
    let mail = text(&place.mail("bob")[0]);
    assert!(mail.contains("\nX-First: 1\nX-Second: 2\n\n"), "{mail}");
    first.change("end*1: reject");
    let before = second.heard("header").len();
    let mut client = server.client();
    assert!(client.deliver(&["bob@mx.test"], MAIL).starts_with("550 5.7.1"));
    assert_eq!(second.heard("header").len(), before);
    server.stop();
}

/// The story of a message says which filter said what, and how long that took.
#[test]
fn the_trace_tells_of_each() {
    let it = Filtered::new("end*1: add X-F: 1 | continue", MAY);
    let reply = it.client().delivered(&["bob@mx.test"], MAIL);
    let id = reply.rsplit(' ').next().unwrap().to_owned();
    it.filter.change("rcpt*1: discard");
    let reply = it.client().delivered(&["zoe@mx.test"], MAIL);
    let thrown = reply.rsplit(' ').next().unwrap().to_owned();
    it.filter.change("mail*1: reply 550 5.7.1 not you");
    let reply = it.client().ask("MAIL FROM:<ann@a.test>");
    let session = reply.rsplit(['[', ']']).nth(1).unwrap().to_owned();
    it.server.wait_for(&["filtered ", &session]);
    let told = |handle: &str, words: &[&str]| {
        until("the trace has it", || {
            let (_, out, _) = run(&it.place, &["trace", handle]);
            words.iter().all(|word| out.contains(word))
        });
    };
    told(&id, &["filter f, end of message: ", "changed", " ms)", "filtered filter=f"]);
    told(&thrown, &["filter f, rcpt: discard", "action=discard"]);
    told(&session, &["filter f, mail: reject", "550 5.7.1 not you"]);
    told("zoe@mx.test", &[" discarded "]);
    it.server.stop();
}

/// Only mail of its services is a filter's.
#[test]
fn only_its_services() {
    let it = Filtered::new("connect: reject", "services = [\"submission\", \"sendmail\"]");
    it.client().delivered(&["bob@mx.test"], MAIL);
    assert_eq!(it.filter.connections(), 0);
    it.server.stop();
}

/// What another server keeps is changed, held and sent to those who were added like all other mail.
#[test]
fn mail_that_another_server_keeps() {
    let (place, kept) = (Place::new(), keeper(".*1: 250 2.1.5 a | 250 2.1.5 b"));
    place.write("aliases", "");
    let filter =
        Filter::start("end*1: quarantine why | add X-F: 1 | rcpt+ <bob@kept.test> | continue");
    let site = site(&kept.address.to_string(), "any_user = true", &filter.table("f", MAY));
    let server = Binary::serve(&place, &site.replace("lmtp = \"", "lmtp = \"inet:"));
    let it = Filtered { place, filter, server };
    let reply = it.client().delivered(&["ann@kept.test"], MAIL);
    let id = reply.rsplit(' ').next().unwrap();
    assert_eq!((it.queued().len(), kept.mail().len()), (1, 0));
    let (status, out, err) = run(&it.place, &["queue", "retry", id]);
    assert_eq!(status, 0, "{out}{err}");
    until("it goes", || it.queued().is_empty());
    let mail = kept.mail();
    let to: Vec<&String> = mail.iter().flat_map(|mail| &mail.to).collect();
    assert!(to.contains(&&"ann@kept.test".to_owned()) && to.contains(&&"bob@kept.test".to_owned()));
    assert!(mail.iter().all(|mail| text(&mail.octets).contains("\r\nX-F: 1\r\n")));
    it.filter.change("end*1: body other\\n | continue");
    it.client().delivered(&["ann@kept.test"], MAIL);
    let last = kept.mail().pop().unwrap();
    assert!(text(&last.octets).ends_with("\r\n\r\nother\r\n"), "{}", text(&last.octets));
    it.server.stop();
}
