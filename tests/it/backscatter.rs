//! Mail from anybody, however wrong, makes no mail of ours for the world (RFC 5321 §7.8): what leaves
//! is what somebody wrote, under a sender of ours, or without one; what we write ourselves stays here.

use crate::client::{Client, stuffed};
use crate::forwarding::without_received;
use crate::hosts::{Host, Mail};
use crate::memory::MemoryDisk;
use crate::room::{Room, SECRET};
use crate::servers::Inside;
use crate::support::{Dice, PATIENCE, Place, text, within};
use facteur::handoff::Hint;
use facteur::mail::address::{Domain, Host as At, Mailbox, ReversePath};
use facteur::mail::srs::SrsKeys;
use facteur::net::control;
use facteur::store::entry::{Addressee, Entry};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// What comes from a stranger.
struct Case {
    /// With parameters, as in all that follows.
    from: String,
    to: Vec<String>,
    message: Vec<u8>,
}

/// Each is somebody else, or says so.
const SENDERS: [&str; 8] = [
    "<>",
    "<v@victim.test>",
    "<v+x@victim.test> RET=FULL ENVID=1",
    "<postmaster@victim.test> RET=HDRS",
    "<\"v v\"@victim.test>",
    "<ann@b.test>",
    "<SRS0=aaaaaaaa=aa=victim.test=v@b.test>",
    "<SRS0=aaaaaaaa=aa=victim.test=v@w.test>",
];

/// To whom; `{srs}` is an address that we have made for zoe@home.test.
const RECIPIENTS: [&str; 18] = [
    "<ann@b.test>",
    "<bob@b.test>",
    "<any@mx.test>",
    "<far@b.test>",
    "<far@b.test>",
    "<dead@b.test>",
    "<late@b.test>",
    "<both@b.test>",
    "<list@b.test>",
    "<loopy@b.test>",
    "<elsewhere@b.test>",
    "<postmaster@b.test>",
    "<Postmaster>",
    "<nobody@b.test>",
    "<v@victim.test>",
    "<SRS0=aaaaaaaa=aa=victim.test=v@b.test>",
    "<SRS1=aaaaaaaa=w.test==aaaaaaaa=aa=victim.test=v@b.test>",
    "<{srs}>",
];

const ALIASES: &str = "far: eve@good.test\ndead: eve@dead.test\nlate: eve@late.test\n\
    both: ann, far, dead, late\nlist: far, far, both\nloopy: loop2\nloop2: loopy\n\
    elsewhere: postmaster@mx.test, far\n";

const NOTIFY: [&str; 6] = [
    "",
    " NOTIFY=NEVER",
    " NOTIFY=SUCCESS",
    " NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;v@victim.test",
    " NOTIFY=DELAY",
    " NOTIFY=FAILURE",
];

fn pick<'a>(dice: &mut Dice, all: &[&'a str]) -> &'a str {
    all[dice.below(all.len())]
}

fn case(dice: &mut Dice, number: usize, srs: &str) -> Case {
    let from = pick(dice, &SENDERS).to_owned();
    let mut recipient = |_| format!("{}{}", pick(dice, &RECIPIENTS), pick(dice, &NOTIFY));
    let to = (0..3).map(&mut recipient).map(|to| to.replace("{srs}", srs)).collect::<Vec<_>>();
    let count = 1 + dice.below(to.len());
    let mut header = format!("X-Case: {number}\r\n");
    // Most are young; some have come far, and a few have gone round.
    let hops = [0, 0, 0, 0, 99, 100, 120][dice.below(7)];
    header.push_str(&"Received: from a by b; Mon, 23 Nov 2026 14:00:00 +0000\r\n".repeat(hops));
    header.push_str(pick(dice, &["", "", "", "Delivered-To: ann@b.test\r\n"]));
    header.push_str(pick(dice, &["", "Subject: x\r\n", "Auto-Submitted: auto-replied\r\n"]));
    let message = format!("{header}\r\nhello\r\n").into_bytes();
    // A bounce, alone as such are: by chance there would be few.
    if number % 20 == 7 {
        return Case { from: "<>".to_owned(), to: vec![format!("<{srs}>")], message };
    }
    Case { from, to: to.into_iter().take(count).collect(), message }
}

/// An address for bounces to zoe@home.test, good today.
fn srs() -> String {
    let day = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() / 86_400;
    let (zoe, _) = ReversePath::parse(b"<zoe@home.test>").unwrap();
    let alias = Domain::parse("b.test").unwrap();
    SrsKeys::new(&SECRET, &[]).rewrite(&zoe, &alias, |_| false, day).unwrap().to_string()
}

/// The second domain of a site, with users and aliases.
fn second_domain(place: &Place) -> String {
    let users = place.write("users", "ann:{PLAIN}x\nbob:{PLAIN}x\npostmaster:{PLAIN}x\n");
    let (users, aliases) = (users.display().to_string(), place.write("aliases", ALIASES));
    let mail = place.at("mail/{domain}/{user}");
    format!(
        "[domain.\"b.test\"]\nmaildir = \"{}\"\nusers = \"{users}\"\naliases = \"{}\"\n\
         [limit]\nerrors = 1000000\n",
        mail.display(),
        aliases.display()
    )
}

fn is_ours(mailbox: &Mailbox) -> bool {
    matches!(&mailbox.host, At::Domain(domain) if ["b.test", "mx.test"].contains(&domain.as_str()))
}

/// What waits is what a stranger brought: for a mailbox here, or sent on by an address of ours.
fn assert_brought(path: &Path, octets: &[u8]) {
    let file = text(octets);
    let header = format!("{}\n", file.split("\n\n").next().unwrap());
    let entry = Entry::parse(&header, 0).unwrap_or_else(|error| panic!("{error}: {file}"));
    assert!(!entry.session.is_empty() && !entry.is_trusted, "{}: {file}", path.display());
    for Addressee { mailbox, via, .. } in &entry.recipients {
        let is_sent_on = via.as_ref().is_some_and(is_ours);
        assert!(is_ours(mailbox) || is_sent_on, "{mailbox} in {file}");
    }
    assert!(file.contains("\nX-Case: "), "{file}");
}

#[test]
fn ten_thousand_strangers_leave_no_notice_behind() {
    let (place, mut dice, srs) = (Place::new(), Dice::new(5321), srs());
    let room = Room::new(&second_domain(&place));
    let mut taken = 0;
    for session in 0..500 {
        let mut said = b"EHLO client.test\r\n".to_vec();
        for number in 0..20 {
            let case = case(&mut dice, session * 20 + number, &srs);
            said.extend(format!("MAIL FROM:{}\r\n", case.from).into_bytes());
            case.to.iter().for_each(|to| said.extend(format!("RCPT TO:{to}\r\n").into_bytes()));
            // Where all were refused, the message is so many unknown commands.
            said.extend(
                [b"DATA\r\n".to_vec(), stuffed(&case.message), b"RSET\r\n".to_vec()].concat(),
            );
        }
        let told = room.talk(&[&said]);
        taken += told.lines().filter(|line| line.starts_with("250 2.0.0 Ok: queued as")).count();
    }
    let files = room.disk.files();
    let (queued, delivered): (Vec<_>, Vec<_>) =
        files.iter().partition(|(path, _)| path.starts_with("/spool"));
    assert!(taken > 2000 && queued.len() > 1000 && delivered.len() > 1000, "{taken}");
    queued.iter().for_each(|(path, octets)| assert_brought(path, octets));
    for (path, octets) in delivered {
        assert!(text(octets).contains("\nX-Case: "), "{}", path.display());
    }
    // Nor does the scheduler hear of one.
    for hint in room.hinted.try_iter() {
        assert!(matches!(&hint, Hint::New(entry) if !entry.session.is_empty()), "{hint:?}");
    }
}

/// Brings a message as far as it is let.
fn bring(client: &mut Client, case: &Case) -> bool {
    client.expect(&format!("MAIL FROM:{}", case.from), "250 ");
    let mut is_wanted = false;
    for to in &case.to {
        is_wanted |= client.ask(&format!("RCPT TO:{to}")).starts_with("250 ");
    }
    if !is_wanted {
        client.expect("RSET", "250 ");
        return false;
    }
    client.expect("DATA", "354 ");
    client.send(&stuffed(&case.message));
    client.reply().starts_with("250 ")
}

/// A message that has waited too long already, for an address that an alias led to: it was attempted every two
/// seconds for a minute.
fn expired(from: &str, to: &str, via: &str) -> (String, Vec<u8>) {
    let (from, _) = ReversePath::parse(from.as_bytes()).unwrap();
    let (message, id) = ("X-Case: old\n\nhello\n", facteur::id::message());
    let text = format!(
        "facteur queue 1\nid: {id}\nqueued: 2020-11-23T14:00:00Z\nsession: s0fk3v9p000abc\n\
         from: {}\nto: <{to}>{via}\nsize: {}\n\n{message}",
        match &from {
            ReversePath::Null => "<>".to_owned(),
            ReversePath::Mailbox(mailbox) => format!("<{mailbox}>"),
        },
        message.len()
    );
    let lines = (0..60)
        .step_by(2)
        .map(|second| format!("2020-11-23T14:00:{second:02}Z 0 deferred - \"450 4.2.0 later\"\n"));
    (id, (text + &lines.collect::<String>()).into_bytes())
}

/// A disk on which one operation of sixty fails, once a server runs on it.
fn break_now_and_then(disk: &MemoryDisk) {
    let mut dice = Dice::new(28);
    disk.set_fault(move |_| match dice.below(120) {
        0 => Some(io::ErrorKind::StorageFull.into()),
        1 => Some(io::Error::other("EIO")),
        _ => None,
    });
}

/// What went out is what was brought, and whoever hears of its end is here.
fn assert_sent_on(Mail { from, octets, .. }: &Mail) {
    let ours = from.is_empty() || from.ends_with("@b.test") || from.ends_with("@mx.test");
    assert!(ours, "{from}");
    // An alias that sends it on says so on top.
    let marked = octets.strip_prefix(b"Delivered-To: ");
    let end = marked.and_then(|rest| rest.iter().position(|octet| *octet == b'\n'));
    let octets = marked.zip(end).map_or(&octets[..], |(rest, end)| &rest[end + 1..]);
    // Without our Received it begins as it came; in the queue from the start, it never had one.
    let is_old = octets.starts_with(b"X-Case: old\r\n");
    let brought = if is_old { octets } else { without_received(octets) };
    assert!(brought.starts_with(b"X-Case: "), "{from}: {}", text(octets));
}

#[test]
fn a_whole_server_with_a_failing_disk_and_hosts_that_refuse_late_writes_to_nobody() {
    let good = Host::start("");
    let dead = Host::start("RCPT: 550 5.1.1 nobody here");
    let late = Host::start(".: 554 5.7.1 no spam");
    let slow = Host::start("RCPT: 450 4.2.0 later");
    let (home, victim) = (Host::start(""), Host::start(""));
    let (place, disk, srs) = (Place::new(), MemoryDisk::new(), srs());
    let hosts = [
        ("good", &good),
        ("dead", &dead),
        ("late", &late),
        ("slow", &slow),
        ("home", &home),
        ("victim", &victim),
        ("w", &victim),
    ];
    let routes = hosts.map(|(name, host)| format!("\"{name}.test\" = \"{}\"\n", host.address));
    let more = format!(
        "{}[relay]\nretry = [\"1s\"]\nexpire = \"50s\"\n[relay.route]\n{}",
        second_domain(&place),
        routes.concat()
    );
    let (now, spool) = (SystemTime::now(), place.at("spool"));
    // For the control socket, which is a real one whatever the disk is.
    std::fs::create_dir(&spool).unwrap();
    for secret in ["srs.secret", "login.secret"] {
        disk.put(&spool.join(secret), "07".repeat(32).as_bytes(), now);
    }
    for (from, to, via) in [
        ("<v@victim.test>", "eve@slow.test", " via=<far@b.test>"),
        ("<v@victim.test>", "eve@slow.test", " notify=success,failure,delay via=<far@b.test>"),
        ("<>", "eve@slow.test", " via=<far@b.test>"),
        ("<v@victim.test>", "gone@b.test", ""),
        ("<>", "gone@b.test", ""),
    ] {
        let (id, octets) = expired(from, to, via);
        disk.put(&spool.join("queue").join(id), &octets, now);
    }
    let server = Inside::on(Arc::new(disk.clone()), place.path(), &crate::support::config(&more));
    break_now_and_then(&disk);
    let (mut dice, mut client, mut taken) = (Dice::new(3461), server.client(), 0);
    for number in 0..600 {
        taken += usize::from(bring(&mut client, &case(&mut dice, number, &srs)));
    }
    disk.clear_fault();
    let queue = spool.join("queue");
    let waiting = || {
        let files = disk.files().into_iter().filter(|(path, _)| path.starts_with(&queue));
        files.map(|(_, octets)| text(&octets)).collect::<Vec<_>>()
    };
    let mut looked = None;
    let is_over = within(PATIENCE, || {
        // What could not be read or written is tried again in a minute, or when somebody says so.
        if looked.is_none_or(|at: Instant| at.elapsed() > Duration::from_millis(300)) {
            assert!(control::send(&spool, &[control::ControlHint::LookAll]).unwrap());
            server.flush();
            looked = Some(Instant::now());
        }
        waiting().is_empty()
    });
    assert!(is_over, "{} wait: {:#?}", waiting().len(), waiting());
    assert!(taken > 100, "{taken}");
    for host in [&good, &dead, &late, &slow, &home] {
        // Where nobody was taken, what came behind 354 was nothing at all.
        let mail = host.seen().mail;
        mail.iter().filter(|mail| !mail.to.is_empty()).for_each(assert_sent_on);
    }
    assert!(home.mail().iter().all(|mail| mail.to == ["zoe@home.test"]));
    assert_eq!(victim.seen().connections, 0, "{:?}", victim.seen().commands);
    assert!(good.mail().len() > 20 && late.seen().mail.len() > 20 && !home.mail().is_empty());
    let notices = local_notices(&disk, &place);
    let postmasters = [place.at("mail/b.test/postmaster"), place.at("mail/mx.test/postmaster")];
    for maildir in &notices {
        assert!(postmasters.contains(maildir), "{}", maildir.display());
    }
    assert!(notices.len() > 20, "{}", notices.len());
}

/// The Maildirs in which notices of ours lie; all else in any must be what was brought.
fn local_notices(disk: &MemoryDisk, place: &Place) -> Vec<PathBuf> {
    let mut notices = Vec::new();
    // What lies in tmp/ is no mail: a draft whose removal failed too.
    let is_mail = |path: &Path| {
        path.starts_with(place.at("mail")) && !path.parent().is_some_and(|dir| dir.ends_with("tmp"))
    };
    for (path, octets) in disk.files().iter().filter(|(path, _)| is_mail(path)) {
        let copy = text(octets);
        match copy.contains("\nFrom: Mail Delivery System <postmaster@mx.test>\n") {
            true => notices.push(path.ancestors().nth(2).unwrap().to_owned()),
            false => assert!(copy.contains("\nX-Case: "), "{}: {copy}", path.display()),
        }
    }
    notices
}
