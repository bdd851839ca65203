//! Mail that aliases send on to other hosts, through the whole server: under which sender it leaves,
//! what it carries, and how a bounce finds its way back.

use crate::client::{Client, stuffed};
use crate::hosts::{Host, Mail};
use crate::servers::{Binary, FACTEUR};
use crate::support::{Place, files, text, until};
use facteur::mail::address::{Domain, ReversePath};
use facteur::mail::srs::SrsKeys;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

/// A facteur for domains of its own, each with the users ann, bob and postmaster.
pub struct Node {
    pub place: Place,
    /// The first domain, with its lines of the configuration; all its others.
    domains: Vec<(String, String)>,
    /// Lines before all sections.
    top: String,
    /// Lines of the section `relay`.
    relay: String,
    routes: String,
    /// Without a users file a user is whoever has a Maildir.
    has_users: bool,
    server: Option<Binary>,
}

impl Node {
    pub fn new(domain: &str) -> Node {
        let (top, relay, routes) = Default::default();
        let place = Place::new();
        place.write("users", "ann:{PLAIN}x\nbob:{PLAIN}x\npostmaster:{PLAIN}x\n");
        let (domains, has_users) = (Vec::new(), true);
        let node = Node { place, domains, top, relay, routes, has_users, server: None };
        node.domain(domain, "")
    }

    /// One more domain, with more lines for it.
    pub fn domain(mut self, name: &str, more: &str) -> Node {
        self.place.write(&format!("{name}.aliases"), "");
        self.domains.push((name.to_owned(), more.to_owned()));
        self
    }

    /// The aliases of the domain that was named last.
    pub fn aliases(self, lines: &str) -> Node {
        let (name, _) = self.domains.last().unwrap();
        self.place.write(&format!("{name}.aliases"), lines);
        self
    }

    pub fn top(mut self, lines: &str) -> Node {
        self.top.push_str(lines);
        self
    }

    pub fn relay(mut self, lines: &str) -> Node {
        self.relay.push_str(lines);
        self
    }

    /// Whoever connects may send anywhere, and is told what becomes of it.
    pub fn trusting(self) -> Node {
        self.relay("networks = [\"127.0.0.0/8\"]\n")
    }

    pub fn without_users(self) -> Node {
        Node { has_users: false, ..self }
    }

    pub fn route(mut self, domain: &str, address: SocketAddr) -> Node {
        self.routes.push_str(&format!("\"{domain}\" = \"{address}\"\n"));
        self
    }

    pub fn serve(mut self) -> Node {
        self.server = Some(Binary::serve(&self.place, &self.config()));
        self
    }

    /// One more route for a server that runs already, as two servers cannot know each other's port
    /// before.
    pub fn reroute(self, domain: &str, address: SocketAddr) -> Node {
        let node = self.route(domain, address);
        node.place.write("facteur.toml", node.config());
        node.server().signal("HUP");
        node.server().wait_for(&["reloaded "]);
        node
    }

    fn config(&self) -> String {
        let Node { domains, top, relay, routes, .. } = self;
        let users = if self.has_users { "users = \"users\"\n" } else { "" };
        let domain = |(name, more): &(String, String)| {
            format!(
                "[domain.\"{name}\"]\nmaildir = \"mail/{{domain}}/{{user}}\"\n{users}\
                 aliases = \"{name}.aliases\"\n{more}\n"
            )
        };
        let all: String = domains.iter().map(domain).collect();
        let first = &domains[0].0;
        format!(
            "hostname = \"mx.{first}\"\nspool = \"spool\"\n{top}\n[listen]\n\
             smtp = [\"127.0.0.1:0\"]\n{all}[relay]\n{relay}[relay.route]\n{routes}"
        )
    }

    pub fn server(&self) -> &Binary {
        self.server.as_ref().unwrap()
    }

    pub fn address(&self) -> SocketAddr {
        self.server().address
    }

    /// A message from a path, perhaps with parameters, for others.
    pub fn send(&self, from: &str, to: &[&str], message: &[u8]) {
        let mut client = self.server().client();
        client.expect(&format!("MAIL FROM:{from}"), "250 ");
        for to in to {
            client.expect(&format!("RCPT TO:{to}"), "250 ");
        }
        client.expect("DATA", "354 ");
        client.send(&stuffed(message));
        let reply = client.reply();
        assert!(reply.starts_with("250 "), "{reply}");
    }

    /// The mail of a user of the first domain, or of `user@domain`.
    pub fn mail(&self, user: &str) -> Vec<String> {
        let read = |path: &PathBuf| text(&fs::read(path).unwrap());
        self.mail_files(user).iter().map(read).collect()
    }

    pub fn mail_files(&self, user: &str) -> Vec<PathBuf> {
        let (user, domain) = user.split_once('@').unwrap_or((user, &self.domains[0].0));
        files(&self.place.at(&format!("mail/{domain}/{user}/new")))
    }

    /// Whether nothing waits. Looked at twice: what is written while a directory is read may be missed.
    pub fn is_empty(&self) -> bool {
        (0..2).all(|_| files(&self.place.at("spool/queue")).is_empty())
    }

    pub fn until_empty(&self) {
        until("the queue is empty", || self.is_empty());
    }

    pub fn stop(mut self) {
        self.server.take().unwrap().stop();
    }
}

/// What it was before we put our Received field on top.
pub fn without_received(octets: &[u8]) -> &[u8] {
    assert!(octets.starts_with(b"Received: from "), "{}", text(octets));
    let ends = octets.windows(2).enumerate().filter(|(_, pair)| *pair == b"\r\n");
    let mut ends = ends.map(|(at, _)| at + 2);
    let end = ends.find(|at| !matches!(octets.get(*at), Some(b' ' | b'\t')));
    &octets[end.unwrap_or(octets.len())..]
}

pub const MESSAGE: &[u8] = b"Subject: hi\r\n\r\nhello\r\n";

/// Hard on whoever would change anything.
const ODD: &[u8] = b"From: zoe@home.test\r\nTO : far@mx.test\r\nSubject: a\r\n\t folded \r\n\
    DKIM-Signature: v=1;bh=x;  b=y\r\nX-8: \xe9\r\nReturn-Receipt-To:\r\n\r\n.dot\r\n..\r\n\
    \0 \xff at the end \r\n\r\nlast line\r\n";

/// The last message that came to a host.
fn last(host: &Host) -> Mail {
    host.mail().pop().expect("some mail")
}

/// Sends a message on by the alias `far@mx.test`; gives the sender under which it left.
fn sent_on(node: &Node, far: &Host, from: &str) -> String {
    let before = far.mail().len();
    node.send(from, &["<far@mx.test>"], ODD);
    node.until_empty();
    assert_eq!(far.mail().len(), before + 1);
    last(far).from
}

#[test]
fn an_alias_sends_on_under_its_own_domain_and_says_so_on_top() {
    let far = Host::start("");
    let aliases = "far: eve@far.test\ndeep: far\nmixed: ann, deep\n";
    let node = Node::new("mx.test").aliases(aliases).route("far.test", far.address).serve();
    for to_alias in ["far", "deep", "mixed"] {
        node.send("<zoe@home.test>", &[&format!("<{to_alias}+tag@mx.test>")], ODD);
        node.until_empty();
        let Mail { from, to, octets, .. } = last(&far);
        assert!(from.starts_with("SRS0=") && from.ends_with("=home.test=zoe@mx.test"), "{from}");
        assert_eq!(to, ["eve@far.test"]);
        let rest = octets.strip_prefix(format!("Delivered-To: {to_alias}@mx.test\r\n").as_bytes());
        let rest = rest.unwrap_or_else(|| panic!("{}", text(&octets)));
        assert!(without_received(rest) == ODD, "{}", text(&octets));
    }
    assert_eq!(far.mail().len(), 3);
    // The copy here is from whom it was from.
    let [copy] = &node.mail("ann")[..] else { panic!("{:?}", node.mail("ann")) };
    assert!(
        copy.starts_with("Return-Path: <zoe@home.test>\nDelivered-To: ann@mx.test\n"),
        "{copy}"
    );
    node.stop();
}

#[test]
fn senders_that_need_no_other_name_keep_theirs() {
    let far = Host::start("");
    let node = Node::new("mx.test").aliases("far: eve@far.test\n").domain("second.test", "");
    let node = node.route("far.test", far.address).serve();
    for from in ["", "bob@mx.test", "who@second.test", "zoe@[192.0.2.9]"] {
        assert_eq!(sent_on(&node, &far, &format!("<{from}>")), from);
    }
    node.stop();
}

#[test]
fn a_bounce_to_any_rewritten_sender_reaches_that_one() {
    let (far, home) = (Host::start(""), Host::start(""));
    let node = Node::new("mx.test").aliases("far: eve@far.test\n");
    let node = node.route("far.test", far.address).route("home.test", home.address).serve();
    let long = format!("{}@home.test", "x".repeat(64));
    for (sender, utf8) in [
        ("zoe@home.test", ""),
        ("Zoe+tag=a=b@home.test", ""),
        ("\"z oe\"@home.test", ""),
        ("\"z@oe\\\\\"@home.test", ""),
        ("zo\u{e9}@home.test", " SMTPUTF8"),
        ("\"zo\u{e9} x\"@home.test", " SMTPUTF8"),
        (long.as_str(), ""),
        ("srs0=x@home.test", ""),
    ] {
        let rewritten = sent_on(&node, &far, &format!("<{sender}>{utf8}"));
        assert!(rewritten.ends_with("@mx.test"), "{rewritten}");
        // A host may fold the case of what it got, as far as it can.
        for to in [rewritten.clone(), rewritten.replace("SRS0", "srs0")] {
            node.send(&format!("<>{utf8}"), &[&format!("<{to}>")], ODD);
            node.until_empty();
            let Mail { from, to, octets, .. } = last(&home);
            assert_eq!((from.as_str(), to), ("", vec![sender.to_owned()]));
            assert!(without_received(&octets) == ODD);
        }
    }
    node.stop();
}

#[test]
fn by_srs_come_bounces_alone_and_not_many() {
    let (far, home) = (Host::start(""), Host::start(""));
    // Whoever may send anywhere may do so, but not by this.
    let node = Node::new("mx.test").aliases("far: eve@far.test\n").trusting();
    let node = node.route("far.test", far.address).route("home.test", home.address).serve();
    let zoe = format!("RCPT TO:<{}>", sent_on(&node, &far, "<zoe@home.test>"));
    let max = format!("RCPT TO:<{}>", sent_on(&node, &far, "<max@home.test>"));
    let mut client = node.server().client();
    client.expect("MAIL FROM:<robot@far.test>", "250");
    let reply = client.expect(&zoe, "550 5.7.1 ");
    assert!(reply.contains("takes bounces only, which come from <>"), "{reply}");
    client.expect("RCPT TO:<ann@mx.test>", "250");
    client.expect("RSET", "250");
    for [first, second] in [[zoe.as_str(), &max], [&zoe, "RCPT TO:<ann@mx.test>"]] {
        for [first, second] in [[first, second], [second, first], [first, first]] {
            client.expect("MAIL FROM:<>", "250");
            client.expect(first, "250");
            client.expect(second, "550 5.5.3 ");
            client.expect("RSET", "250");
        }
    }
    // None of these brought a message, and none counts.
    let bounce = |client: &mut Client, to: &str, code: &str| {
        client.expect("MAIL FROM:<>", "250");
        client.expect(to, code);
        if code.starts_with("250") {
            client.expect("DATA", "354");
            client.send(b"Subject: Undelivered\r\n\r\n.\r\n");
            let reply = client.reply();
            assert!(reply.starts_with("250 "), "{reply}");
        } else {
            client.expect("RSET", "250");
        }
    };
    (0..100).for_each(|_| bounce(&mut client, &zoe, "250 "));
    bounce(&mut client, &zoe, "450 4.7.1 ");
    bounce(&mut client, &max, "250 ");
    bounce(&mut client, &max, "450 4.7.1 ");
    drop(client);
    node.until_empty();
    assert_eq!(home.mail().len(), 101);
    node.stop();
}

/// The keys as they lie in a spool.
fn keys(node: &Node) -> SrsKeys {
    let hex = fs::read_to_string(node.place.at("spool/srs.secret")).unwrap();
    let digit = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
    SrsKeys::new(&std::array::from_fn(digit), &[])
}

/// Days since 1970, as far from today.
fn day(away: i64) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    (now / (24 * 3600)).checked_add_signed(away).unwrap()
}

#[test]
fn what_we_did_not_sign_is_refused_at_rcpt() {
    let far = Host::start("");
    let node = Node::new("mx.test").aliases("far: eve@far.test\n");
    let node = node.domain("second.test", "").route("far.test", far.address).serve();
    let good = sent_on(&node, &far, "<zoe@home.test>");
    let (keys, alias) = (keys(&node), Domain::parse("mx.test").unwrap());
    let (sender, _) = ReversePath::parse(b"<zoe@home.test>").unwrap();
    let of_day = |away| keys.rewrite(&sender, &alias, |_| false, day(away)).unwrap().to_string();
    let other = if &good[5..6] == "a" { "b" } else { "a" };
    let not_here = "was not made here";
    let mut client = node.server().client();
    for (to, code, why) in [
        (good.clone(), "250 2.1.5 ", ""),
        (good.to_ascii_uppercase(), "250 2.1.5 ", ""),
        (of_day(-21), "250 2.1.5 ", ""),
        (of_day(-23), "550 5.1.1 ", "older than 21 days"),
        (of_day(3), "550 5.1.1 ", "still to come"),
        (format!("SRS0={other}{}", &good[6..]), "550 5.1.1 ", not_here),
        (good.replace("=zoe@", "=eve@"), "550 5.1.1 ", not_here),
        (good.replace("=home.test=", "=far.test="), "550 5.1.1 ", not_here),
        (good.replace("@mx.test", "@second.test"), "550 5.1.1 ", not_here),
        ("SRS1=aaaaaaaa=home.test==aaaaaaaa=aa=x.test=y@mx.test".into(), "550 5.1.1 ", not_here),
        ("SRS0=zoe@mx.test".into(), "550 5.1.1 ", "malformed"),
        ("SRS1=aaaaaaaa=@mx.test".into(), "550 5.1.1 ", "malformed"),
        // Other systems' signs: a name like others here.
        (good.replace("SRS0=", "SRS0+"), "550 5.1.1 ", "no such user"),
        (good.replace("@mx.test", "@other.test"), "550 5.7.1 ", "may not relay"),
    ] {
        client.expect("MAIL FROM:<>", "250");
        let reply = client.expect(&format!("RCPT TO:<{to}>"), code);
        assert!(reply.contains(why), "{to}: {reply}");
        client.expect("RSET", "250");
    }
    drop(client); // whose transaction the stop would wait for
    node.stop();
}

#[test]
fn the_secret_is_made_once_and_a_damaged_one_stops_the_start() {
    let far = Host::start("");
    let mut node = Node::new("mx.test").aliases("far: eve@far.test\n");
    node = node.route("far.test", far.address).serve();
    let secret = node.place.at("spool/srs.secret");
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    let (first, to) = (fs::read(&secret).unwrap(), sent_on(&node, &far, "<zoe@home.test>"));
    node.server.take().unwrap().stop();
    node = node.serve();
    assert_eq!(fs::read(&secret).unwrap(), first);
    let mut client = node.server().client();
    client.expect("MAIL FROM:<>", "250");
    client.expect(&format!("RCPT TO:<{to}>"), "250");
    drop(client);
    node.server.take().unwrap().stop();
    fs::write(&secret, &first[..40]).unwrap();
    let mut serve = Command::new(FACTEUR);
    let ended = serve.arg("-c").arg(node.place.at("facteur.toml")).arg("serve").output().unwrap();
    let said = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    let file = format!("{}:1: a secret is 64 hexadecimal digits", secret.display());
    assert!(said.contains(&file) && said.contains("backup, or remove it"), "{said}");
    assert!(!said.contains(&text(&first[..8])), "the secret shows: {said}");
    assert_eq!(fs::read(&secret).unwrap(), &first[..40], "it was touched");
    // Then a new one is made, and what the old one signed is nobody's.
    fs::remove_file(&secret).unwrap();
    node = node.serve();
    let mut client = node.server().client();
    client.expect("MAIL FROM:<>", "250");
    client.expect(&format!("RCPT TO:<{to}>"), "550 5.1.1 ");
    drop(client);
    node.stop();
}

#[test]
fn a_failure_is_told_to_the_postmaster_of_the_alias_alone() {
    let (dead, home) = (Host::start("RCPT: 550 5.1.1 nobody here"), Host::start(""));
    let far = Host::start(".: 554 5.7.1 no spam");
    let node = Node::new("mx.test").domain("second.test", "");
    let node = node.aliases("team: eve@dead.test, max@dead.test\nlate: bob, eve@far.test\n");
    let node = node.domain("third.test", "catch_all = \"eve@dead.test\"");
    let node = node.route("dead.test", dead.address).route("far.test", far.address);
    let node = node.route("home.test", home.address).serve();
    let notify = "NOTIFY=SUCCESS,FAILURE,DELAY";
    let all = [
        format!("<team@second.test> {notify}"),
        format!("<late@second.test> {notify}"),
        format!("<whoever@third.test> {notify}"),
    ];
    for to in &all {
        node.send("<zoe@home.test> RET=FULL ENVID=x", &[to], MESSAGE);
        node.until_empty();
    }
    let notices = node.mail("postmaster@second.test");
    assert_eq!(notices.len(), 2, "{notices:?}");
    let both = notices.iter().find(|notice| notice.contains("<team@second.test>")).unwrap();
    for part in
        ["rfc822; eve@dead.test", "rfc822; max@dead.test", "5.1.1", "hello", "zoe@home.test"]
    {
        assert!(both.contains(part), "{part} in {both}");
    }
    let late = notices.iter().find(|notice| notice.contains("<late@second.test>")).unwrap();
    assert!(late.contains("Final-Recipient: rfc822; eve@far.test\n"), "{late}");
    assert_eq!(node.mail("postmaster@third.test").len(), 1);
    assert_eq!((node.mail("postmaster").len(), node.mail("bob@second.test").len()), (0, 1));
    assert_eq!(home.seen().connections, 0, "{:?}", home.seen().commands);
    node.stop();
}

#[test]
fn what_catch_all_sends_on_comes_back_too() {
    let (far, home) = (Host::start(""), Host::start(""));
    let node = Node::new("mx.test").domain("old.test", "catch_all = \"eve@far.test\"");
    let node = node.route("far.test", far.address).route("home.test", home.address).serve();
    node.send("<zoe@home.test>", &["<Who.Ever@old.test>", "<ann@old.test>"], MESSAGE);
    node.until_empty();
    let Mail { from, to, .. } = last(&far);
    assert!(from.starts_with("SRS0=") && from.ends_with("=home.test=zoe@old.test"), "{from}");
    assert_eq!((to, node.mail("ann@old.test").len()), (vec!["eve@far.test".to_owned()], 1));
    // Unknown names at that domain go on; a sender that was not made here is not just unknown.
    let mut client: Client = node.server().client();
    client.expect("MAIL FROM:<>", "250");
    client.expect(&format!("RCPT TO:<{}>", from.replace("zoe", "eve")), "550 5.1.1 ");
    drop(client);
    node.send("<>", &[&format!("<{from}>")], MESSAGE);
    node.until_empty();
    assert_eq!(
        (last(&home).from.as_str(), &last(&home).to[..]),
        ("", &["zoe@home.test".into()][..])
    );
    node.stop();
}

#[test]
fn check_names_an_alias_of_too_many() {
    let node = Node::new("mx.test").top("limit.recipients = 100");
    let targets: Vec<String> = (0..101).map(|at| format!("u{at}@far.test")).collect();
    let node = node.aliases(&format!("ok: ann\nmany: {}\n", targets.join(", ")));
    node.place.write("facteur.toml", node.config());
    let mut check = Command::new(FACTEUR);
    let checked = check.arg("-c").arg(node.place.at("facteur.toml")).arg("check").output().unwrap();
    let said = text(&checked.stdout) + &text(&checked.stderr);
    assert_eq!(checked.status.code(), Some(1), "{said}");
    assert!(
        said.contains("mx.test.aliases:2: alias many leads to more than 100 addresses"),
        "{said}"
    );
}

/// Several machines stand behind the MX of one domain, and a bounce comes to any of them.
#[test]
fn a_bounce_comes_back_through_another_machine_that_has_the_same_secret() {
    let far = Host::start("");
    let node =
        || Node::new("mx.test").aliases("far: eve@far.test\n").route("far.test", far.address);
    let one = node().serve();
    let to = format!("RCPT TO:<{}>", sent_on(&one, &far, "<zoe@home.test>"));
    let bounce = |node: &Node| {
        let mut client = node.server().client();
        client.expect("MAIL FROM:<>", "250 ");
        client.ask(&to)
    };
    let stranger = node().serve();
    assert!(bounce(&stranger).starts_with("550 "));
    let twin = node();
    fs::create_dir(twin.place.at("spool")).unwrap();
    let secret = |node: &Node| node.place.at("spool/srs.secret");
    fs::copy(secret(&one), secret(&twin)).unwrap();
    assert!(bounce(&twin.serve()).starts_with("250 "));
    // The line of another one below the own.
    let both = [&stranger, &one].map(|node| fs::read_to_string(secret(node)).unwrap()).concat();
    let third = node();
    fs::create_dir(third.place.at("spool")).unwrap();
    fs::write(secret(&third), both).unwrap();
    fs::set_permissions(secret(&third), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(bounce(&third.serve()).starts_with("250 "));
}
