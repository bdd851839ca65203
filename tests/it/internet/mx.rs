//! Which host is asked, and after which one (RFC 5321 §5.1, RFC 7505).

use super::{Net, count, listed, post, until_empty};
use crate::hosts::Host;
use crate::servers::Binary;
use crate::support::{Place, until};

/// What a host may do that leaves the next one of its domain to be asked.
const NEXT: [&str; 14] = [
    "greeting: (silent)",
    "greeting: (close)",
    "greeting: (reset)",
    "greeting: 421 4.3.2 not now",
    "greeting: 450 4.3.2 not now",
    "greeting: 421-4.3.2 not | 421 4.3.2 now | (close)",
    "greeting: HTTP/1.1 400 Bad Request",
    "greeting: 554 5.3.2 not for you",
    "greeting: 521 5.3.2 no mail here",
    "greeting: 220 x | (close)",
    "EHLO: 421 4.3.2 not now",
    "EHLO: 451 4.3.2 not now",
    "MAIL: 450 4.3.2 not now",
    "MAIL: 421 4.3.2 not now",
];

/// What a host may say that is the last word for the recipient.
const FINAL: [&str; 6] = [
    "MAIL: 550 5.1.8 not from you",
    "RCPT: 550 5.1.1 nobody",
    "DATA: 554 5.7.1 no data",
    "DATA: 354 go\n.: 554 5.6.0 spam",
    "RCPT: 553-5.1.1 no | 553 5.1.1 body",
    "EHLO: 250-x | 250 PIPELINING\nRCPT: 550 5.1.1 x\nDATA: 554 5.5.1 no recipients",
];

/// A domain `d{n}.test` for each host but the first, which is the worse one of all.
fn each_before_the_first(hosts: usize) -> String {
    let lines = (1..hosts).map(|n| {
        format!(
            "d{n}.test MX 10 h{n}.test\nd{n}.test MX 20 good.test\nh{n}.test A 127.0.0.{}\n",
            n + 2
        )
    });
    lines.collect::<String>() + "good.test A 127.0.0.2\n"
}

#[test]
fn the_next_host_is_asked_when_one_decides_nothing() {
    let scripts: Vec<&str> = std::iter::once("").chain(NEXT).collect();
    let (place, net) = (Place::new(), Net::new(&scripts));
    let refusing =
        "refuse.test MX 10 dead.test\nrefuse.test MX 20 good.test\ndead.test A 127.0.0.99\n";
    net.dns.set(&(each_before_the_first(scripts.len()) + refusing));
    let server = Binary::serve(&place, &net.config("retry = [\"1h\"]", ""));
    post(&server, &["x@refuse.test"]);
    for n in 1..scripts.len() {
        post(&server, &[&format!("x@d{n}.test")]);
    }
    let domains = (1..scripts.len()).map(|n| format!("d{n}")).chain(["refuse".to_owned()]);
    for domain in domains {
        server.wait_for(&["relayed ", &format!("to=x@{domain}.test"), "host=good.test[127.0.0.2]"]);
    }
    until_empty(&place);
    for (host, script) in net.hosts.iter().zip(scripts).skip(1) {
        assert_eq!(host.seen().connections, 1, "{script}");
    }
    assert_eq!(net.taken(0).len(), NEXT.len() + 1);
    server.stop();
}

#[test]
fn a_5xx_is_the_last_word() {
    let scripts: Vec<&str> = std::iter::once("").chain(FINAL).collect();
    let (place, net) = (Place::new(), Net::new(&scripts));
    net.dns.set(&each_before_the_first(scripts.len()));
    let server = Binary::serve(&place, &net.config("", ""));
    let names: Vec<String> = (1..scripts.len()).map(|n| format!("x@d{n}.test")).collect();
    names.iter().for_each(|name| drop(post(&server, &[name])));
    for name in &names {
        server.wait_for(&["bounced ", &format!("to={name}")]);
    }
    let notices = super::mail(&place, "ann", names.len());
    for name in names {
        let its = |notice: &&String| notice.contains(&format!("Final-Recipient: rfc822; {name}\n"));
        let notice = notices.iter().find(its).unwrap();
        assert!(notice.contains("\nAction: failed\nStatus: 5."), "{notice}");
        assert!(notice.contains("\nDiagnostic-Code: smtp; 55"), "{notice}");
    }
    until_empty(&place);
    assert_eq!(net.hosts[0].seen().connections, 0);
    server.stop();
}

#[test]
fn a_refused_ehlo_is_followed_by_helo() {
    let (place, net) = (Place::new(), Net::new(&["EHLO: 502 5.5.1 what"]));
    net.dns.set("far.test A 127.0.0.2");
    let server = Binary::serve(&place, &net.config("", ""));
    post(&server, &["x@far.test"]);
    server.wait_for(&["relayed ", "to=x@far.test"]);
    assert_eq!(net.hosts[0].count("HELO mx.test"), 1);
    server.stop();
}

#[test]
fn equal_hosts_share_the_mail_and_worse_ones_get_none() {
    let (place, net) = (Place::new(), Net::new(&["", "", ""]));
    // A destination of its own for each message, so that no connection is used for a second.
    let lines = (0..40).map(|n| {
        format!("d{n}.test MX 20 worse.test\nd{n}.test MX 10 one.test\nd{n}.test MX 10 two.test\n")
    });
    let hosts = "one.test A 127.0.0.2\ntwo.test A 127.0.0.3\nworse.test A 127.0.0.4\n";
    net.dns.set(&(lines.collect::<String>() + hosts));
    let server = Binary::serve(&place, &net.config("", ""));
    (0..40).for_each(|n| drop(post(&server, &[&format!("x@d{n}.test")])));
    until_empty(&place);
    let (one, two) = (net.taken(0).len(), net.taken(1).len());
    // All to one of them: a chance of 2^-39.
    assert!(one > 0 && two > 0 && one + two == 40, "{one} {two}");
    assert_eq!(net.hosts[2].seen().connections, 0);
    server.stop();
}

#[test]
fn all_addresses_of_a_host_are_tried() {
    let Ok(_) = std::net::TcpListener::bind(("::1", 0)) else {
        return crate::support::skip("no IPv6 here");
    };
    let place = Place::new();
    let (net, six) = loop {
        let net = Net::new(&[""]);
        if let Ok(six) = std::net::TcpListener::bind(("::1", net.port)) {
            break (net, Host::at(six, ""));
        }
    };
    net.dns.set(
        "far.test MX 10 mx.far.test\nmx.far.test AAAA 2001:db8::1\nmx.far.test A 127.0.0.99\n\
         mx.far.test A 127.0.0.2\n\
         six.test MX 10 mx.six.test\nmx.six.test AAAA ::1\nmx.six.test A 127.0.0.2",
    );
    let server = Binary::serve(&place, &net.config("", ""));
    post(&server, &["x@far.test"]);
    server.wait_for(&["relayed ", "to=x@far.test", "host=mx.far.test[127.0.0.2]"]);
    post(&server, &["x@six.test"]);
    server.wait_for(&["relayed ", "to=x@six.test", "host=mx.six.test[::1]"]);
    assert_eq!((six.mail().len(), net.taken(0).len()), (1, 1));
    server.stop();
}

/// Mail that can go nowhere for sure comes back at once, and says why.
#[test]
fn what_dns_denies_comes_back_at_once() {
    let (place, net) = (Place::new(), Net::new(&[""]));
    net.dns.set(
        "null.test MX 0 .\nours.test MX 10 mx.test\nours.test MX 20 good.test\n\
         bare.test MX 10 nobody.test\ntext.test NS ns.test\ngood.test A 127.0.0.2\n\
         worse.test MX 10 good.test\nworse.test MX 20 mx.test\nworse.test MX 30 worst.test\n\
         worst.test A 127.0.0.98",
    );
    let server = Binary::serve(&place, &net.config("", ""));
    let cases = [
        ("null.test", "5.1.10", "556"),
        ("nowhere.test", "5.1.2", "550"),
        ("ours.test", "5.4.6", "550"),
        ("bare.test", "5.4.4", "550"),
        ("text.test", "5.4.4", "550"),
    ];
    for (index, (domain, status, code)) in cases.iter().enumerate() {
        let id = post(&server, &[&format!("x@{domain}")]);
        let line = server.wait_for(&["bounced ", &format!("id={id}"), &format!("to=x@{domain}")]);
        assert!(line.contains(status), "{line}");
        let notices = super::mail(&place, "ann", index + 1);
        let its = |notice: &&String| notice.contains(&format!("rfc822; x@{domain}\n"));
        let notice = notices.iter().find(its).unwrap();
        for part in [format!("\nStatus: {status}\n"), format!("({code})"), domain.to_string()] {
            assert!(notice.contains(&part), "{part}: {notice}");
        }
    }
    // Hosts that are better than we are may be sent to, and no others.
    post(&server, &["x@worse.test"]);
    server.wait_for(&["relayed ", "to=x@worse.test", "host=good.test"]);
    until_empty(&place);
    assert_eq!(net.taken(0), ["x@worse.test"]);
    server.stop();
}

#[test]
fn a_worse_mx_waits_for_the_better_ones() {
    let (place, net) = (Place::new(), Net::new(&["greeting: 421 4.3.2 no", ""]));
    net.dns.set(
        "far.test MX 10 good.test\nfar.test MX 20 mx.test\nfar.test MX 30 other.test\n\
         good.test A 127.0.0.2\nother.test A 127.0.0.3",
    );
    let server = Binary::serve(&place, &net.config("retry = [\"1h\"]", ""));
    post(&server, &["x@far.test"]);
    server.wait_for(&["deferred ", "to=x@far.test", "421 4.3.2 no"]);
    assert_eq!(net.hosts[1].seen().connections, 0);
    net.hosts[0].change("greeting: 220 x");
    server.signal("USR1");
    server.wait_for(&["relayed ", "to=x@far.test"]);
    server.stop();
}

/// What DNS does not know, or says without being able to, makes nothing come back.
#[test]
fn dns_trouble_only_defers() {
    let (place, net) = (Place::new(), Net::new(&[""]));
    let thousand: String = (0..1000).map(|n| format!("many.test MX {n} h{n}.test\n")).collect();
    let trouble = format!(
        "fail.test !servfail\nsilent.test !silent\nrefused.test !refused\nempty.test !empty\n\
         garbage.test !garbage\nlame.test !lame\npointer.test !pointer\n\
         hangup.test !truncate-tcp\ncircle.test CNAME circle.test\n\
         hosts.test MX 10 mx.hosts.test\nmx.hosts.test !servfail\n{thousand}"
    );
    net.dns.set(&trouble);
    let domains = [
        "fail", "silent", "refused", "empty", "garbage", "lame", "pointer", "hangup", "circle",
        "hosts", "many",
    ];
    let server = Binary::serve(&place, &net.config("retry = [\"1h\"]", ""));
    domains.iter().for_each(|name| drop(post(&server, &[&format!("x@{name}.test")])));
    for name in domains {
        let line = server.wait_for(&["deferred ", &format!("to=x@{name}.test")]);
        assert!(line.contains("4.4."), "{line}");
    }
    let rows = listed(&place);
    assert_eq!(rows.len(), domains.len());
    assert!(rows.iter().all(|row| row["error"].as_str().unwrap().contains("4.4.")), "{rows:#?}");
    // Mended.
    let good = domains.iter().map(|name| format!("{name}.test A 127.0.0.2\n"));
    net.dns.set(&(good.collect::<String>() + "mx.hosts.test A 127.0.0.2"));
    server.signal("USR1");
    for name in domains {
        server.wait_for(&["relayed ", &format!("to=x@{name}.test")]);
    }
    until_empty(&place);
    assert_eq!(count(&server, &["bounced"]), 0);
    server.stop();
}

#[test]
fn aliases_literals_and_foreign_names() {
    let (place, net) = (Place::new(), Net::new(&["", ""]));
    net.dns.set(
        "alias.test CNAME real.test\nreal.test MX 10 mx.real.test\nmx.real.test CNAME h.test\n\
         h.test A 127.0.0.2\n\
         xn--bcher-kva.test MX 10 mx.xn--bcher-kva.test\nmx.xn--bcher-kva.test A 127.0.0.2",
    );
    let server = Binary::serve(&place, &net.config("", ""));
    post(&server, &["x@alias.test"]);
    server.wait_for(&["relayed ", "to=x@alias.test", "host=mx.real.test[127.0.0.2]"]);
    post(&server, &["x@[127.0.0.3]"]);
    server.wait_for(&["relayed ", "to=x@[127.0.0.3]", "host=[127.0.0.3][127.0.0.3]"]);
    post(&server, &["x@xn--bcher-kva.test"]);
    server.wait_for(&["relayed ", "to=x@xn--bcher-kva.test"]);
    let mut client = server.client();
    client.expect("MAIL FROM:<ann@mx.test> SMTPUTF8", "250");
    client.expect("RCPT TO:<x@B\u{dc}cher.test>", "250");
    client.expect("DATA", "354");
    client.send("Subject: \u{fc}\r\n\r\nx\r\n.\r\n".as_bytes());
    assert!(client.reply().starts_with("250"));
    until("the fourth", || net.taken(0).len() == 3);
    // In DNS a name is always in ASCII.
    assert!(net.dns.log().iter().all(|asked| asked.name.is_ascii()));
    assert_eq!(net.dns.asked("xn--bcher-kva.test", "MX"), 1);
    assert_eq!(net.taken(1), ["x@[127.0.0.3]"]);
    server.stop();
}

#[test]
fn routes_and_a_smarthost_need_no_mx() {
    let (place, net) = (Place::new(), Net::new(&["", "", ""]));
    net.dns.set("relay.isp.test A 127.0.0.4\n* !servfail");
    let port = net.port;
    let relay = format!(
        "smarthost = \"relay.isp.test:{port}\"\n[relay.route]\n\
         \"far.test\" = \"127.0.0.2:{port}\"\n\".far.test\" = \"127.0.0.3:{port}\"\n"
    );
    let server = Binary::serve(&place, &net.config(&relay, ""));
    post(&server, &["a@far.test", "b@sub.far.test", "c@else.test", "d@[192.0.2.1]"]);
    for to in ["a@far.test", "b@sub.far.test", "c@else.test", "d@[192.0.2.1]"] {
        server.wait_for(&["relayed ", &format!("to={to}")]);
    }
    until_empty(&place);
    assert_eq!(
        (net.taken(0), net.taken(1)),
        (vec!["a@far.test".into()], vec!["b@sub.far.test".into()])
    );
    assert_eq!(net.taken(2), ["c@else.test", "d@[192.0.2.1]"]);
    assert!(net.dns.log().iter().all(|asked| asked.kind != "MX"));
    server.stop();
}

/// What a host cannot take is not sent to it, and its sender hears why.
#[test]
fn what_a_host_lacks() {
    let (place, net) = (
        Place::new(),
        Net::new(&["EHLO: 250-x | 250 8BITMIME", "EHLO: 250 x", "EHLO: 250-x | 250 SIZE 100"]),
    );
    net.dns.set("ascii.test A 127.0.0.2\nseven.test A 127.0.0.3\nsmall.test A 127.0.0.4");
    let server = Binary::serve(&place, &net.config("", ""));
    let cases = [
        ("x@ascii.test", " SMTPUTF8 BODY=8BITMIME", "Subject: \u{fc}\r\n\r\nx\r\n", "5.6.7"),
        // Other text with 8 bits would be converted; this has to arrive as it is.
        (
            "x@seven.test",
            " BODY=8BITMIME",
            "Content-Type: multipart/signed; boundary=x\r\n\r\n--x\r\n\r\n\u{fc}\r\n--x--\r\n",
            "5.6.3",
        ),
        ("x@small.test", "", &"Subject: hi\r\n\r\n0123456789\r\n".repeat(20), "5.3.4"),
    ];
    for (index, (to, parameters, message, status)) in cases.iter().enumerate() {
        let mut client = server.client();
        client.expect(&format!("MAIL FROM:<ann@mx.test>{parameters}"), "250");
        client.expect(&format!("RCPT TO:<{to}>"), "250");
        client.expect("DATA", "354");
        client.send(format!("{message}.\r\n").as_bytes());
        assert!(client.reply().starts_with("250"));
        let line = server.wait_for(&["bounced ", &format!("to={to}")]);
        assert!(line.contains(status), "{line}");
        let notices = super::mail(&place, "ann", index + 1);
        assert!(notices.iter().any(|notice| notice.contains(&format!("\nStatus: {status}\n"))));
    }
    assert!(net.hosts.iter().all(|host| host.count("MAIL") == 0));
    // What they can take they get.
    post(&server, &["x@ascii.test", "x@seven.test"]);
    server.wait_for(&["relayed ", "to=x@ascii.test"]);
    server.wait_for(&["relayed ", "to=x@seven.test"]);
    server.stop();
}

/// The sender's words reach the next hop as they came.
#[test]
fn parameters_are_passed_on() {
    let (place, net) = (Place::new(), Net::new(&[""]));
    net.dns.set("far.test A 127.0.0.2");
    let server = Binary::serve(&place, &net.config("", ""));
    let mut client = server.client();
    client.expect("MAIL FROM:<ann@mx.test> RET=HDRS ENVID=e+2Bf BODY=8BITMIME", "250");
    client.expect("RCPT TO:<x@far.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;o@far.test", "250");
    client.expect("DATA", "354");
    client.send("Subject: hi\r\n\r\n\u{fc}\r\n.\r\n".as_bytes());
    assert!(client.reply().starts_with("250"));
    server.wait_for(&["relayed ", "to=x@far.test"]);
    let commands = net.hosts[0].seen().commands;
    let mail = commands.iter().find(|line| line.starts_with("MAIL")).unwrap();
    for part in ["FROM:<ann@mx.test>", "RET=HDRS", "ENVID=e+2Bf", "BODY=8BITMIME", "SIZE="] {
        assert!(mail.contains(part), "{part}: {mail}");
    }
    let rcpt = commands.iter().find(|line| line.starts_with("RCPT")).unwrap();
    assert!(rcpt.contains("NOTIFY=SUCCESS,FAILURE") && rcpt.contains("ORCPT=rfc822;o@far.test"));
    until_empty(&place);
    // The next hop knows DSN, so the notice of success is its business.
    assert!(place.mail("ann").is_empty());
    server.stop();
}

/// A host that turns us away at its door may be closed for an hour; one that says 521 takes no mail at all, and
/// when all of them say so that is the last word (RFC 7504, 4).
#[test]
fn a_greeting_with_5xx_is_final_only_where_it_says_so_everywhere() {
    let closed =
        ["", "greeting: 521 5.3.2 no mail", "greeting: 521 no mail", "greeting: 554 5.3.2 no"];
    let (place, net) = (Place::new(), Net::new(&closed));
    net.dns.set(
        "never.test MX 10 a.test\nnever.test MX 20 b.test\nmixed.test MX 10 a.test\n\
         mixed.test MX 20 c.test\na.test A 127.0.0.3\nb.test A 127.0.0.4\nc.test A 127.0.0.5\n",
    );
    let server = Binary::serve(&place, &net.config("retry = [\"1h\"]", ""));
    post(&server, &["x@never.test"]);
    server.wait_for(&[
        "bounced ",
        "to=x@never.test",
        "b.test[127.0.0.4]",
        "521 no mail (greeting)",
    ]);
    post(&server, &["x@mixed.test"]);
    server.wait_for(&[
        "deferred ",
        "to=x@mixed.test",
        "c.test[127.0.0.5]",
        "554 5.3.2 no (greeting)",
    ]);
    server.stop();
}
