//! Envelopes and greetings as programs in the field write them: what Postfix takes, we take.

use crate::client::Client;
use crate::postfix::Postfix;
use crate::servers::Binary;
use crate::support::{Place, config};
use std::net::SocketAddr;
use std::time::Duration;

const GREETINGS: &[&str] = &[
    "EHLO mylaptop.",
    "HELO mylaptop",
    "EHLO my_laptop",
    "HELO -laptop-",
    "EHLO [2001:db8::7]",
    "HELO [192.0.2.256]",
    "EHLO [192.0.2.7",
    "EHLO \u{d6}ZG\u{dc}R-PC",
    "HELO my laptop",
    "EHLO client..test",
    "HELO <script>",
    "EHLO (laptop)",
    "EHLO \"laptop\"",
    "EHLO laptop@client.test",
    "HELO a;b",
    "EHLO user's PC",
    "EHLO  client.test",
    "EHLO\tclient.test",
    "EHLO ..",
    "EHLO a\\b",
    "EHLO <>",
    " EHLO client.test",
    "EHLO",
];

/// Behind `MAIL FROM:` and `RCPT TO:`.
const PATHS: &[&str] = &[
    " <a@air.test>",
    "   <a@air.test>",
    "\t<a@air.test>",
    "< a@air.test >",
    "<a@air.test >",
    " < a@air.test>",
    "a@air.test",
    " a@air.test",
    "a@air.test>",
    "<<a@air.test>>",
    "<a@air.test>>",
    "<ilo.@far.test>",
    "<.ilo@far.test>",
    "<some..one@dest.test>",
    "<.@dest.test>",
    "<..@dest.test>",
    "some..one@dest.test",
    "<\"some..one\"@dest.test>",
    "<\"some\".one@dest.test>",
    "<some.\"one\"@dest.test>",
    "<u@lloyd_workday.test>",
    "<u@_dest.test>",
    "<u@dest_.test>",
    "<u@-dest.test>",
    "<u@a--b.test>",
    "<u@dest.test.>",
    "<u@[IPv6:2001:db8::1]>",
    "<u@[2001:db8::1]>",
    "<u@[192.0.2.1>",
    "<u@192.0.2.1>",
    "<Ann <u@dest.test>>",
    "<u@dest.test (Ann)>",
    "<(Ann)u@dest.test>",
    "<u @dest.test>",
    "<u@ dest.test>",
    "<u @ dest.test>",
    "<@a.test:u@dest.test>",
    " <@a.test:u@dest.test>",
    "<u%v@dest.test>",
    "<a!b@dest.test>",
    "<\"u@v\"@dest.test>",
    "\"u v\"@dest.test",
    "<u@dest.test>\t",
    "<u>",
    "u",
    "<postmaster>",
    " postmaster",
    "<<postmaster>>",
    "<>",
    " <>",
    "< >",
    "<<>>",
    "",
    "<",
    "<u@>",
    "<u@dest..test>",
    "<ann smith@dest.test>",
    "<u@dest.test,v@dest.test>",
];

const MAIL: &[&str] = &[
    "MAIL  FROM:<u@dest.test>",
    "MAIL\tFROM:<u@dest.test>",
    " MAIL FROM:<u@dest.test>",
    "MAIL FROM: <u@dest.test> SIZE=10",
    "MAIL FROM:u@dest.test SIZE=10",
    "MAIL FROM:<u@dest.test>\tSIZE=10",
    "MAIL FROM:<u@dest.test> ENVID=ab+3dcd",
    "MAIL FROM:<u@dest.test> ENVID=a=b",
    "MAIL FROM:<u@dest.test> ENVID=",
    "MAIL FROM :<u@dest.test>",
    "MAIL <u@dest.test>",
    "MAIL FROM:<u@dest.test> X=1",
];

const RCPT: &[&str] = &[
    "RCPT  TO:<u@dest.test>",
    "RCPT TO: <u@dest.test> NOTIFY=NEVER",
    "RCPT TO:u@dest.test NOTIFY=NEVER",
    "RCPT TO:<u@dest.test> ORCPT=rfc822;bounce=x@b.test",
    "RCPT TO:<u@dest.test> ORCPT=rfc822;",
    "RCPT TO:<u@dest.test> ORCPT=rfc822;a+2bb@c.test",
    "RCPT TO:<u@dest.test> ORCPT=rfc822;\u{e9}@c.test",
    "RCPT TO:<u@dest.test> NOTIFY=X",
];

/// Of a client of `relay.networks`, as the Postfix of this test has only such.
#[test]
fn what_postfix_takes_we_take() {
    let place = Place::new();
    let more = "[relay]\nnetworks = [\"127.0.0.0/8\"]\n[limit]\nsessions_per_client = 1000";
    let server = Binary::serve(&place, &config(more));
    let Some(postfix) = Postfix::start(server.address) else { return };
    let (hello, mail) = ("EHLO client.test", "MAIL FROM:<s@client.test>");
    let said = |verb: &str, path: &&str| format!("{verb}:{path}");
    let plain = |lines: &[&str]| lines.iter().map(|line| line.to_string()).collect::<Vec<_>>();
    let cases = [
        (vec![], plain(GREETINGS)),
        (vec![hello], PATHS.iter().map(|path| said("MAIL FROM", path)).collect()),
        (vec![hello, mail], PATHS.iter().map(|path| said("RCPT TO", path)).collect()),
        (vec![hello], plain(MAIL)),
        (vec![hello, mail], plain(RCPT)),
    ];
    let reply = |address: SocketAddr, before: &[&str], form: &str| {
        let mut client = Client::connect(address);
        client.reply();
        before.iter().for_each(|line| drop(client.expect(line, "250")));
        client.ask(form)
    };
    let (mut stricter, mut taken) = (Vec::new(), 0);
    for (before, forms) in &cases {
        for form in forms {
            if !reply(postfix.address, before, form).starts_with("250") {
                continue;
            }
            taken += 1;
            let ours = reply(server.address, before, form);
            if !ours.starts_with("250") {
                stricter.push(format!("{form}: {ours}"));
            }
        }
    }
    assert!(stricter.is_empty(), "{stricter:#?}");
    assert!(taken >= 80, "Postfix took {taken} only");
}

/// It is never run, and the line is over: what comes next is a command of its own.
#[test]
fn a_bare_lf_and_nothing_behind_it() {
    let place = Place::new();
    let server = Binary::serve(&place, &config(""));
    let mut client = Client::greeted(server.address);
    client.send(b"MAIL FROM:<a@b.test>\n");
    assert_eq!(client.reply(), "500 5.5.2 lines end in CR LF");
    client.expect("RCPT TO:<ann@mx.test>", "503 5.5.1");
    client.send(b"QUIT\n");
    assert_eq!(client.reply(), "500 5.5.2 lines end in CR LF");
    client.expect("NOOP", "250 2.0.0");
    // With something behind it the line has no end there, and is one line.
    client.send(b"NOOP\nNOOP\r\n");
    assert!(client.reply().starts_with("501 5.5.2 "));
    assert_eq!(client.reply_within(Duration::from_millis(100)), None);
    let line = server.wait_for(&["rejected", "reply=\"500 5.5.2 lines end in CR LF\""]);
    assert!(line.contains("session=") && line.contains("MAIL FROM:<a@b.test>"), "{line}");
}
