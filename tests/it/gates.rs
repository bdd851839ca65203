//! What strangers pass before their mail is heard, through the whole server: lists of clients (DNSBL), and
//! greylisting.

use crate::client::Client;
use crate::commands::run;
use crate::dnsd::Dnsd;
use crate::hosts::Host;
use crate::outside::{self, Input, program};
use crate::servers::{Binary, FACTEUR, value};
use crate::support::{Place, config, files, text, until};
use std::fs;
use std::time::{Duration, Instant};

/// The zone of lists that work: `one` has the clients of these tests, `two` nobody.
const LISTS: &str = "2.0.0.127.one.test A 127.0.0.2\n1.0.0.127.one.test A 127.0.0.3\n\
    2.0.0.127.two.test A 127.0.0.2\n2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.two.test A 127.0.0.2\n";

/// A server with a name server, to which the tests are balancers of strangers: so each test chooses its client.
struct Gated {
    place: Place,
    dns: Dnsd,
    server: Binary,
}

fn written(dns: &Dnsd, trust: &str, more: &str) -> String {
    let servers = format!("servers = [\"{}\"]\ntimeout = \"2s\"", dns.address());
    let config = config(&format!("[dns]\n{servers}\n[trust]\n{trust}\n{more}"));
    config.replacen("[domain", "proxy = [\"127.0.0.1/32\"]\n[domain", 1)
}

impl Gated {
    fn new(zone: &str, trust: &str, more: &str) -> Gated {
        let (place, dns) = (Place::new(), Dnsd::new(zone));
        let server = Binary::serve(&place, &written(&dns, trust, more));
        Gated { place, dns, server }
    }

    /// A session of that client that has said EHLO.
    fn client(&self, address: &str) -> Client {
        let mut client = Client::connect(self.server.address);
        let family = if address.contains(':') { "TCP6" } else { "TCP4" };
        let own = if address.contains(':') { "::1" } else { "127.0.0.1" };
        client.send(format!("PROXY {family} {address} {own} 1 25\r\n").as_bytes());
        assert!(client.reply().starts_with("220 "));
        client.expect("EHLO client.test", "250");
        client
    }

    fn tested(&self, list: &str, state: &str) -> String {
        self.server.wait_for(&["blocklist ", &format!("list={list} "), &format!("state={state} ")])
    }
}

const OFF: &str = "spf = \"off\"\ndkim = \"off\"\narc = \"off\"\ndmarc = \"off\"\n";

fn working() -> String {
    let zone = "7.2.0.192.one.test A 127.0.0.2\n\
        7.2.0.192.one.test TXT listed, see http://one.test/?192.0.2.7\n\
        8.2.0.192.one.test A 127.0.0.2\n8.2.0.192.one.test TXT !silent\n\
        9.2.0.192.one.test A 127.255.255.254\n\
        7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.two.test A 127.0.0.2\n";
    format!("{}{zone}", LISTS.replace("1.0.0.127.one.test A 127.0.0.3\n", ""))
}

#[test]
fn a_client_that_a_list_has_is_refused() {
    let lists = format!("{OFF}blocklists = [\"one.test\", \"two.test\"]\n");
    let backup =
        "[relay.route]\n\"far.test\" = \"127.0.0.1:9\"\n[relay.backup]\n\"far.test\" = \"\"\n";
    let it = Gated::new(&working(), &lists, backup);
    for list in ["one.test", "two.test"] {
        it.tested(list, "on");
    }
    it.dns.forget();
    let mut client = it.client("192.0.2.7");
    client.expect("MAIL FROM:<ann@client.test>", "250");
    // Who does not exist costs no question, and who is always heard hears.
    client.expect("RCPT TO:<bob@other.test>", "550 5.7.1 ");
    client.expect("RCPT TO:<postmaster>", "250");
    client.expect("RCPT TO:<Postmaster+x@mx.test>", "250");
    client.expect("RCPT TO:<Postmaster@far.test>", "250");
    assert_eq!(it.dns.log(), []);
    client.expect("RCPT TO:<ann@far.test>", "554 5.7.1 ");
    for to in ["bob", "ann"] {
        let reply = client.expect(&format!("RCPT TO:<{to}@mx.test>"), "554 5.7.1 ");
        let words = "192.0.2.7 is listed by one.test: listed, see http://one.test/?192.0.2.7 [";
        assert!(reply.contains(words), "{reply}");
    }
    client.expect("RSET", "250");
    client.expect("MAIL FROM:<ann@client.test>", "250");
    client.expect("RCPT TO:<bob@mx.test>", "554 5.7.1 ");
    assert_eq!(it.dns.log().len(), 2, "asked once a session: {:?}", it.dns.log());
    let told = it.server.wait_for(&["blocklisted ", "client=192.0.2.7", "list=one.test"]);
    assert!(told.contains("code=127.0.0.2") && told.contains("text=\"listed, see "), "{told}");
    let count = it.server.lines().iter().filter(|line| line.starts_with("blocklisted ")).count();
    assert_eq!(count, 1);
    drop(client);
    // Its words come too late, a code of trouble, nobody's, and by IPv6.
    let mut client = it.client("192.0.2.8");
    client.expect("MAIL FROM:<>", "250");
    let reply = client.expect("RCPT TO:<bob@mx.test>", "554 5.7.1 ");
    assert!(reply.contains("192.0.2.8 is listed by one.test ["), "{reply}");
    for (address, code) in
        [("192.0.2.9", "250"), ("192.0.2.10", "250"), ("2001:db8::7", "554 5.7.1")]
    {
        let mut client = it.client(address);
        client.expect("MAIL FROM:<ann@client.test>", "250");
        client.expect("RCPT TO:<bob@mx.test>", code);
    }
    it.server.wait_for(&["warning ", "one.test answers 127.255.255.254: it does not serve"]);
    let session = value(&told, "session").unwrap();
    drop(client);
    it.server.stop();
    let (_, story, _) = run(&it.place, &["trace", &session]);
    assert!(story.contains("list=one.test") && story.contains("554 5.7.1"), "{story}");
}

#[test]
fn those_whom_we_know_and_gateways_are_not_asked_about() {
    for (more, address) in
        [("[relay]\nnetworks = [\"192.0.2.0/24\"]", "192.0.2.7"), ("", "127.0.0.1")]
    {
        let it = Gated::new(&working(), &format!("{OFF}blocklists = [\"one.test\"]\n"), more);
        it.tested("one.test", "on");
        it.dns.forget();
        let mut client = it.client(address);
        client.expect("MAIL FROM:<ann@mx.test>", "250");
        client.expect("RCPT TO:<bob@mx.test>", "250");
        assert_eq!(it.dns.log(), []);
        drop(client);
        it.server.stop();
    }
}

#[test]
fn a_list_that_is_wrong_is_off_and_said_so() {
    let zone = format!(
        "{LISTS}*.all.test A 127.0.0.2\n7.2.0.192.one.test A 127.0.0.2\n7.2.0.192.dead.test A 127.0.0.2\n\
         2.0.0.127.key.test A 127.255.255.254\n2.0.0.127.mute.test !silent\n"
    );
    let names = ["one", "dead", "key", "mute"];
    let lists = names.map(|name| format!("\"{name}.test\"")).join(", ");
    let it = Gated::new(&zone, &format!("{OFF}blocklists = [{lists}]\n"), "");
    for (list, why) in [
        ("one.test", "127.0.0.1 is in it, and must not be: it lists everybody"),
        ("dead.test", "127.0.0.2 is not in it, and has to be"),
        ("key.test", "answers 127.255.255.254: it does not serve this resolver"),
        ("mute.test", "could not be tested: no server answered"),
    ] {
        assert!(it.tested(list, "off").contains(why), "{list}");
    }
    let mut client = it.client("192.0.2.7");
    client.expect("MAIL FROM:<ann@client.test>", "250");
    client.expect("RCPT TO:<bob@mx.test>", "250");
    drop(client);
    let (status, out, err) = run(&it.place, &["check"]);
    assert!(status == 1 && !out.contains("blocklist"), "{out}");
    for line in [
        "error: facteur.toml:",
        "trust.blocklists: one.test is off while its test points are wrong: 127.0.0.1 is in it",
        "trust.blocklists: dead.test is off while",
        "trust.blocklists: mute.test could not be tested: ",
    ] {
        assert!(err.contains(line), "{line}: {err}");
    }
    // The list is mended, and a reload looks at once.
    let mended = working();
    it.dns.set(&mended);
    let config = written(&it.dns, &format!("{OFF}blocklists = [\"one.test\", \"two.test\"]\n"), "");
    fs::write(it.place.at("facteur.toml"), config.replace("timeout = \"2s\"", "timeout = \"3s\""))
        .unwrap();
    it.server.signal("HUP");
    it.tested("one.test", "on");
    let (status, out, err) = run(&it.place, &["check"]);
    assert_eq!((status, err.contains("blocklist")), (0, false), "{err}");
    assert!(out.contains("blocklist one.test, codes 127.0.0.2-127.0.0.255: its test points are right; not asked about IPv6"));
    assert!(out.contains("blocklist two.test, codes 127.0.0.2-127.0.0.255: its test points are right, those of IPv6 too"));
    let mut client = it.client("192.0.2.7");
    client.expect("MAIL FROM:<ann@client.test>", "250");
    client.expect("RCPT TO:<bob@mx.test>", "554 5.7.1");
    drop(client);
    it.server.stop();
}

/// One that is silent costs its two seconds, and after three times nothing.
#[test]
fn a_list_that_stops_to_answer_passes() {
    let it = Gated::new(&working(), &format!("{OFF}blocklists = [\"one.test\"]\n"), "");
    it.tested("one.test", "on");
    it.dns.set("* !silent\n");
    for last in 1..=5 {
        let mut client = it.client(&format!("198.51.100.{last}"));
        client.expect("MAIL FROM:<ann@client.test>", "250");
        let began = Instant::now();
        client.expect("RCPT TO:<bob@mx.test>", "250");
        let took = began.elapsed().as_millis();
        assert!(took < 5_000 && (last > 3 || took >= 1_900), "{last}: {took} ms");
    }
    it.server
        .wait_for(&["warning ", "blocklist one.test does not answer, and is not asked for 60s"]);
    let asked =
        it.dns.log().iter().filter(|asked| asked.name.contains("100.51.198.one.test")).count();
    assert!((3..=6).contains(&asked), "{:?}", it.dns.log());
    it.server.stop();
}

/// What a list says is a stranger's text.
#[test]
fn hostile_words_of_a_list() {
    let long = "x".repeat(250);
    let zone = format!(
        "2.0.0.127.one.test A 127.0.0.2\n7.2.0.192.one.test A 127.0.0.2\n\
         7.2.0.192.one.test TXT a[27][91]2J\u{202e}b\\|{long}|{long}|{long}\n"
    );
    let it = Gated::new(&zone, &format!("{OFF}blocklists = [\"one.test\"]\n"), "");
    it.tested("one.test", "on");
    let mut client = it.client("192.0.2.7");
    client.expect("MAIL FROM:<ann@client.test>", "250");
    let reply =
        client.expect("RCPT TO:<bob@mx.test>", "554 5.7.1 192.0.2.7 is listed by one.test: a");
    assert!(reply.is_ascii() && reply.len() < 500 && !reply.contains('\x1b'), "{reply}");
    assert!(reply.contains("a\\x1b[2J") && reply.ends_with(']'), "{reply}");
    let told = it.server.wait_for(&["blocklisted ", "text="]);
    assert!(!told.contains(['\x1b', '\u{202e}']) && told.len() < 500, "{told}");
    drop(client);
    it.server.stop();
}

#[test]
fn what_is_off_costs_neither_question_nor_thread() {
    let it = Gated::new(&working(), OFF, "");
    let mut client = it.client("192.0.2.7");
    client.expect("MAIL FROM:<ann@client.test>", "250");
    client.expect("RCPT TO:<bob@mx.test>", "250");
    assert_eq!(it.dns.log(), []);
    assert_eq!(threads(&it.server), [""; 0]);
    assert!(!it.place.at("spool/greylist").exists());
    // A reload that asks for it starts it.
    let config = written(&it.dns, &format!("{OFF}blocklists = [\"one.test\"]\n"), GREY);
    fs::write(it.place.at("facteur.toml"), config).unwrap();
    it.server.signal("HUP");
    it.tested("one.test", "on");
    until("they have their threads", || threads(&it.server) == ["blocklists", "greylist"]);
    assert!(rcpt(&mut it.client("203.0.113.7"), "ann@new.test").starts_with("451 "));
    drop(client);
    it.server.stop();
}

/// The threads of a server that look after gates.
fn threads(server: &Binary) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let name = |task: std::io::Result<fs::DirEntry>| {
        text(&fs::read(task.ok()?.path().join("comm")).ok()?).trim().to_owned().into()
    };
    let names = tasks.filter_map(|task| -> Option<String> { name(task) });
    let is_one = |name: &String| ["blocklists", "greylist"].contains(&name.as_str());
    let mut names: Vec<String> = names.filter(is_one).collect();
    names.sort();
    names
}

/// What is said to the first recipient of a transaction of that sender; the session goes on.
fn rcpt(client: &mut Client, from: &str) -> String {
    client.expect(&format!("MAIL FROM:<{from}>"), "250");
    let reply = client.ask("RCPT TO:<bob@mx.test>");
    client.expect("RSET", "250");
    reply
}

/// The zone of senders: a.test is sent by two networks, and by nobody else.
const SENDERS: &str = "a.test TXT v=spf1 ip4:192.0.2.0/24 ip4:198.51.100.0/24 -all\n\
    client.test TXT v=spf1 ip4:192.0.2.0/24 -all\n";

const GREY: &str = "[greylist]\ndelay = \"2s\"\n";

#[test]
fn who_is_new_has_to_come_back() {
    let it = Gated::new(SENDERS, "", GREY);
    let mut client = it.client("203.0.113.7");
    client.expect("MAIL FROM:<ann@new.test>", "250");
    // Who does not exist has nobody to wait for, and who is always heard is not kept waiting.
    client.expect("RCPT TO:<bob@other.test>", "550 5.7.1 ");
    client.expect("RCPT TO:<postmaster@mx.test>", "250");
    for to in ["bob", "ann"] {
        let reply = client.expect(&format!("RCPT TO:<{to}@mx.test>"), "451 4.7.1 ");
        assert!(reply.contains("greylisted, as you are new here: come back in "), "{reply}");
    }
    client.expect("RSET", "250");
    assert!(rcpt(&mut client, "Ann@new.test").starts_with("451 4.7.1 "));
    let told = it.server.wait_for(&["greylisted ", "client=203.0.113.7", "from=ann@new.test"]);
    assert!(told.contains(" by=203.0.113.0/24 wait=2s"), "{told}");
    let is_it = |line: &String| line.starts_with("greylisted ");
    assert_eq!(it.server.lines().into_iter().filter(is_it).count(), 1, "once a session");
    // Another machine of the same network may come back.
    let mut same = it.client("203.0.113.200");
    until("it is known", || rcpt(&mut same, "ann@new.test").starts_with("250"));
    assert!(rcpt(&mut client, "ann@new.test").starts_with("250"));
    for (address, from) in
        [("203.0.113.7", "bob@new.test"), ("203.0.114.7", "ann@new.test"), ("203.0.113.7", "")]
    {
        let reply = rcpt(&mut it.client(address), from);
        assert!(reply.starts_with("451 4.7.1 "), "{address} {from}: {reply}");
    }
    let session = value(&told, "session").unwrap();
    drop((client, same));
    it.server.stop();
    let (_, story, _) = run(&it.place, &["trace", &session]);
    assert!(story.contains("greylisted") && story.contains("by=203.0.113.0/24"), "{story}");
    let (status, out, err) = run(&it.place, &["check"]);
    assert_eq!(status, 0, "{err}");
    assert!(
        out.contains("greylist: who is new comes back after 2s, and is known for 35d\n"),
        "{out}"
    );
}

/// Large senders come back from another network.
#[test]
fn a_domain_that_spf_passes_comes_back_from_anywhere() {
    let it = Gated::new(SENDERS, "", GREY);
    assert!(rcpt(&mut it.client("192.0.2.7"), "ann@a.test").starts_with("451 "));
    it.server.wait_for(&["greylisted ", "from=ann@a.test", "by=a.test"]);
    let mut other = it.client("198.51.100.9");
    until("it is known", || rcpt(&mut other, "ann@a.test").starts_with("250"));
    // Not from where SPF says no, and the null sender is one of its network, whatever HELO proves.
    assert!(rcpt(&mut it.client("203.0.113.7"), "ann@a.test").starts_with("451 "));
    it.server.wait_for(&["greylisted ", "from=ann@a.test", "by=203.0.113.0/24"]);
    assert!(rcpt(&mut it.client("192.0.2.7"), "").starts_with("451 "));
    it.server.wait_for(&["greylisted ", "by=192.0.2.0/24"]);
    drop(other);
    it.server.stop();
}

#[test]
fn whom_we_know_and_allow_is_never_greylisted() {
    let it = Gated::new(SENDERS, "allow = [\"a.test\"]", GREY);
    assert!(rcpt(&mut it.client("192.0.2.7"), "ann@a.test").starts_with("250"));
    assert!(rcpt(&mut it.client("203.0.113.7"), "ann@a.test").starts_with("451 "), "not proved");
    // A gateway.
    assert!(rcpt(&mut it.client("127.0.0.1"), "ann@new.test").starts_with("250"));
    it.server.stop();
    let it = Gated::new(SENDERS, "", &format!("{GREY}[relay]\nnetworks = [\"203.0.113.7\"]"));
    assert!(rcpt(&mut it.client("203.0.113.7"), "ann@new.test").starts_with("250"));
    it.server.stop();
}

#[test]
fn to_whom_our_users_write_is_known() {
    let far = Host::start("");
    let more = format!(
        "{GREY}[relay]\nnetworks = [\"203.0.113.7\"]\n[relay.route]\n\"far.test\" = \"{}\"",
        far.address
    );
    let it = Gated::new(SENDERS, "", &more);
    assert!(rcpt(&mut it.client("203.0.114.1"), "eve@far.test").starts_with("451 "));
    let mut ours = it.client("203.0.113.7");
    ours.expect("MAIL FROM:<bob@mx.test>", "250");
    ours.expect("RCPT TO:<Ann@far.test>", "250");
    ours.expect("DATA", "354");
    ours.send(b"From: bob@mx.test\r\n\r\nHello.\r\n.\r\n");
    assert!(ours.reply().starts_with("250 "));
    until("it is sent", || far.mail().len() == 1);
    // And what a program of this machine sends.
    let mut sendmail = program(&it.place, FACTEUR);
    sendmail.arg("-c").arg(it.place.at("facteur.toml")).args(["sendmail", "carl@far.test"]);
    outside::run(&it.place, &mut sendmail, Input::Octets(b"Subject: x\n\nHello.\n"));
    it.server.signal("USR1");
    until("that is sent", || far.mail().len() == 2);
    for (from, code) in
        [("ann@far.test", "250"), ("carl@far.test", "250"), ("dora@far.test", "451")]
    {
        assert!(rcpt(&mut it.client("203.0.114.1"), from).starts_with(code), "{from}");
    }
    drop(ours);
    it.server.stop();
}

#[test]
fn neither_a_restart_nor_a_kill_makes_anybody_wait_once_more() {
    let it = Gated::new(SENDERS, "", GREY);
    let mut client = it.client("203.0.113.7");
    let began = Instant::now();
    let senders: Vec<String> = (0..50).map(|n| format!("n{n}@new.test")).collect();
    senders.iter().for_each(|from| assert!(rcpt(&mut client, from).starts_with("451 "), "{from}"));
    let Gated { place, dns, server } = it;
    server.signal("KILL");
    drop(server);
    until("they may come back", || began.elapsed() > Duration::from_secs(4));
    let server = Binary::serve(&place, &written(&dns, "", GREY));
    let it = Gated { place, dns, server };
    let mut client = it.client("203.0.113.7");
    senders.iter().for_each(|from| assert!(rcpt(&mut client, from).starts_with("250"), "{from}"));
    drop(client);
    it.server.stop();
    // Known for good, over another restart.
    let Gated { place, dns, .. } = it;
    let server = Binary::serve(&place, &written(&dns, "", &GREY.replace("2s", "1d")));
    let it = Gated { place, dns, server };
    assert!(rcpt(&mut it.client("203.0.113.7"), &senders[7]).starts_with("250"));
    let kept: Vec<String> = files(&it.place.at("spool/greylist"))
        .iter()
        .map(|path| text(&fs::read(path).unwrap()))
        .collect();
    assert!(kept.len() == 1 && !kept[0].contains("new.test"), "no address is kept");
    it.server.stop();
}

#[test]
fn a_greylist_that_cannot_be_kept_is_told_and_works() {
    let (place, dns) = (Place::new(), Dnsd::new(SENDERS));
    fs::create_dir(place.at("spool")).unwrap();
    place.write("spool/greylist", "");
    let server = Binary::serve(&place, &written(&dns, "", GREY));
    server.wait_for(&["warning ", "greylisting is kept in memory alone: "]);
    let it = Gated { place, dns, server };
    let mut client = it.client("203.0.113.7");
    assert!(rcpt(&mut client, "ann@new.test").starts_with("451 "));
    until("it is known", || rcpt(&mut client, "ann@new.test").starts_with("250"));
    drop(client);
    it.server.stop();
}
