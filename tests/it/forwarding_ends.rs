//! Notices about notices: each chain of them ends, whoever the postmaster is and whatever becomes of
//! his mail.

use crate::forwarding::{MESSAGE, Node};
use crate::hosts::Host;
use crate::memory::MemoryDisk;
use crate::servers::Inside;
use crate::support::{Place, text, until, within};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const NOBODY: &str = "RCPT: 550 5.1.1 nobody here";

/// How many notices were written.
fn noticed(node: &Node) -> usize {
    node.server().lines().iter().filter(|line| line.starts_with("noticed ")).count()
}

/// The mail of a stranger, which an alias of b.test sends on to where it fails.
fn fail(node: &Node) {
    node.send("<zoe@home.test>", &["<dead@b.test>"], MESSAGE);
    node.server().wait_for(&["bounced ", "to=eve@dead.test"]);
    node.until_empty();
}

#[test]
fn postmasters_at_a_dead_host_end_in_the_log() {
    let dead = Host::start(NOBODY);
    let node = Node::new("a.test").aliases("postmaster: x@dead.test\n").domain("b.test", "");
    let aliases = "dead: eve@dead.test\npostmaster: y@dead.test, z@dead.test\n";
    let node = node.aliases(aliases).route("dead.test", dead.address).serve();
    fail(&node);
    // The postmaster of the alias's domain, then the first of all, then nobody.
    assert_eq!((noticed(&node), dead.count("RCPT"), dead.count("MAIL FROM:<> ")), (2, 4, 2));
    node.stop();
}

#[test]
fn a_postmaster_by_his_own_alias_gets_one_notice_and_so_does_the_other() {
    let (dead, far) = (Host::start(NOBODY), Host::start(""));
    // Nobody has a Maildir yet, and there is no list of users.
    let node = Node::new("b.test").without_users();
    let node = node.aliases("dead: eve@dead.test\npostmaster: postmaster, max@far.test\n");
    let node = node.route("dead.test", dead.address).route("far.test", far.address).serve();
    fail(&node);
    assert_eq!((node.mail("postmaster").len(), far.mail().len(), noticed(&node)), (1, 1, 1));
    let [mail] = &far.mail()[..] else { panic!("{:?}", far.mail()) };
    assert_eq!((mail.from.as_str(), &mail.to[..]), ("", &["max@far.test".to_owned()][..]));
    node.stop();
}

#[test]
fn an_unknown_postmaster_is_somebody() {
    let dead = Host::start(NOBODY);
    for (users, aliases, to) in [
        (false, "", "postmaster@b.test"),
        // Each leads to the other: then they are themselves.
        (true, "postmaster: postmaster@a.test\n", "postmaster@b.test"),
    ] {
        let node = Node::new("b.test").aliases(&format!("dead: eve@dead.test\n{aliases}"));
        let node = node.domain("a.test", "").aliases("postmaster: postmaster@b.test\n");
        let node = if users { node } else { node.without_users() };
        let node = node.route("dead.test", dead.address).serve();
        fail(&node);
        let all = ["postmaster@b.test", "postmaster@a.test"].map(|user| node.mail(user).len());
        assert_eq!((all.iter().sum::<usize>(), noticed(&node)), (1, 1), "{to}");
        node.stop();
    }
}

#[test]
fn a_sender_of_ours_who_is_nobody_is_the_postmasters() {
    let dead = Host::start(NOBODY);
    let node = Node::new("b.test").trusting().route("dead.test", dead.address).serve();
    node.send("<tpyo@b.test>", &["<eve@dead.test>"], MESSAGE);
    until("the postmaster is told", || node.mail("postmaster").len() == 1);
    node.until_empty();
    let notice = node.mail("postmaster").remove(0);
    assert!(notice.contains("Final-Recipient: rfc822; tpyo@b.test\n"), "{notice}");
    assert_eq!((noticed(&node), dead.count("MAIL")), (2, 1));
    node.stop();
}

/// Recipients of a message in the queue.
const ONE: &str = "to: <eve@dead.test> via=<d@b.test>\n";
const TWO: &str = "to: <eve@dead.test> via=<d@a.test>\nto: <max@dead.test> via=<d@b.test>\n";

/// A server on a disk in memory, with a stranger's expired mail that aliases send on.
struct World {
    place: Place,
    disk: MemoryDisk,
    dead: Host,
}

impl World {
    fn new(recipients: &str) -> World {
        let (place, disk, dead) = (Place::new(), MemoryDisk::new(), Host::start(NOBODY));
        let text = "X: y\n\nhello\n";
        let entry = format!(
            "facteur queue 1\nid: m0fk3v9q2d71xz\nqueued: 2020-11-23T14:00:00Z\n\
             session: s0fk3v9p000abc\nfrom: <zoe@home.test>\n{recipients}\
             size: {}\n\n{text}",
            text.len()
        );
        let now = SystemTime::now();
        disk.put(&place.at("spool/queue/m0fk3v9q2d71xz"), entry.as_bytes(), now);
        for secret in ["srs.secret", "login.secret"] {
            disk.put(&place.at("spool").join(secret), "07".repeat(32).as_bytes(), now);
        }
        World { place, disk, dead }
    }

    /// Fails every operation of these names at paths with one of these texts.
    fn break_at(&self, names: &'static [&'static str], parts: &'static [&'static str]) {
        self.disk.set_fault(move |operation| {
            let path = operation.path.display().to_string();
            let fits = names.contains(&operation.name) && parts.iter().any(|p| path.contains(p));
            fits.then(|| io::ErrorKind::StorageFull.into())
        });
    }

    fn serve(&self) -> Inside {
        let domain = |name: &str| {
            format!(
                "[domain.\"{name}\"]\nmaildir = \"mail/{{domain}}/{{user}}\"\nany_user = true\n"
            )
        };
        let config = format!(
            "hostname = \"mx.test\"\nspool = \"spool\"\n[listen]\nsmtp = [\"127.0.0.1:0\"]\n{}{}\
             [relay]\nretry = [\"1s\"]\nexpire = \"3s\"\n[relay.route]\n\"dead.test\" = \"{}\"\n",
            domain("a.test"),
            domain("b.test"),
            self.dead.address
        );
        Inside::on(Arc::new(self.disk.clone()), self.place.path(), &config)
    }

    fn until_empty(&self) {
        let queue = self.place.at("spool/queue");
        until("the queue is empty", || {
            !self.disk.files().iter().any(|(path, _)| path.starts_with(&queue))
        });
    }

    /// The mail in all Maildirs, with where it lies.
    fn mail(&self) -> Vec<(PathBuf, String)> {
        let mail = self.place.at("mail");
        let files = self.disk.files().into_iter().filter(|(path, _)| path.starts_with(&mail));
        files.map(|(path, octets)| (path, text(&octets))).collect()
    }
}

#[test]
fn a_postmaster_whose_mailbox_is_full_is_the_first_domains() {
    let world = World::new(ONE);
    world.break_at(&["create", "make_dir"], &["/mail/b.test"]);
    let _server = world.serve();
    until("the other is told", || !world.mail().is_empty());
    world.until_empty();
    let [(path, notice)] = &world.mail()[..] else { panic!("{:?}", world.mail()) };
    assert!(path.starts_with(world.place.at("mail/a.test/postmaster")), "{}", path.display());
    assert!(notice.contains("Final-Recipient: rfc822; postmaster@b.test\n"), "{notice}");
    assert!(notice.contains("\nStatus: 4.4.7\n"), "{notice}");
    assert_eq!(world.dead.count("MAIL"), 1);
}

#[test]
fn where_no_mailbox_can_be_written_it_ends_as_well() {
    let world = World::new(ONE);
    world.break_at(&["create", "make_dir"], &["/mail/"]);
    let _server = world.serve();
    until("it was refused", || world.dead.count("RCPT") == 1);
    world.until_empty();
    assert!(world.mail().is_empty());
    assert_eq!(world.dead.count("MAIL"), 1);
}

#[test]
fn without_room_for_its_notice_a_message_waits_and_asks_no_host_again_and_again() {
    let world = World::new(ONE);
    world.break_at(&["create"], &["/spool/tmp/"]);
    let server = world.serve();
    until("it was refused", || world.dead.count("RCPT") > 0);
    let again = within(Duration::from_millis(700), || world.dead.count("RCPT") > 1);
    assert!(!again, "asked again at once");
    world.disk.clear_fault();
    server.flush();
    world.until_empty();
    assert_eq!(world.mail().len(), 1);
    assert!(world.mail()[0].0.starts_with(world.place.at("mail/b.test/postmaster")));
}

#[test]
fn of_two_notices_each_goes_its_way_whatever_becomes_of_the_other() {
    let world = World::new(TWO);
    let mut made = 0;
    world.disk.set_fault(move |operation| {
        let is_notice = operation.path.display().to_string().contains("/spool/tmp/");
        made += usize::from(is_notice && operation.name == "create");
        (is_notice && operation.name == "create" && made == 2)
            .then(|| io::ErrorKind::StorageFull.into())
    });
    let server = world.serve();
    until("one is there", || world.mail().len() == 1);
    server.flush();
    world.until_empty();
    let maildirs = ["a.test", "b.test"].map(|name| world.place.at("mail").join(name));
    let count =
        |dir: &PathBuf| world.mail().iter().filter(|(path, _)| path.starts_with(dir)).count();
    assert_eq!(maildirs.each_ref().map(count), [1, 1], "{:?}", world.mail());
    // Who was told of is not attempted again.
    assert_eq!((world.dead.count("RCPT TO:<eve@"), world.dead.count("RCPT TO:<max@")), (1, 2));
}

#[test]
fn of_many_reports_that_fail_the_postmaster_hears_once() {
    let (home, dead) = (Host::start("RCPT: 550 5.1.1 no"), Host::start("RCPT: 550 5.1.1 nobody"));
    let node = Node::new("mx.test").trusting().route("home.test", home.address);
    let node = node.route("dead.test", dead.address).serve();
    for _ in 0..20 {
        node.send("<zoe@home.test>", &["<eve@dead.test>"], MESSAGE);
    }
    until("all have failed", || {
        let lines = node.server().lines();
        lines.iter().filter(|line| line.starts_with("bounced ")).count() == 40
    });
    node.until_empty();
    let [notice] = &node.mail("postmaster")[..] else { panic!("{:?}", node.mail("postmaster")) };
    assert!(notice.contains("rfc822; zoe@home.test"), "{notice}");
    node.stop();
}
