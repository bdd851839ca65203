//! SIGKILL at a random moment, again and again, while mail comes by SMTP and by sendmail, for users here
//! and for other hosts.

use super::{Promises, body, counted};
use crate::internet::{Net, listed, until_empty};
use crate::sendmail::feed;
use crate::servers::{Binary, FACTEUR};
use crate::support::{Dice, Place, files, text, tree, until};
use nix::unistd::{User, geteuid};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

const ROUNDS: usize = 50;

/// Sessions at once.
const CLIENTS: usize = 2;

/// Messages of each in one round, when it lives so long.
const A_ROUND: usize = 15;

/// Connections at once to one next hop, and threads of the relay: what may be under way in a kill.
const PER_DESTINATION: usize = 4;
const THREADS: usize = 8;

const RECIPIENTS: [&str; 4] = ["ann@mx.test", "bob@mx.test", "x@well.test", "x@mixed.test"];

/// The program as somebody else calls it where that can be, so that it uses the drop directory.
struct Sendmail {
    program: PathBuf,
    user: Option<User>,
}

impl Sendmail {
    fn new(place: &Place) -> Sendmail {
        // Where the tests were built others may not go.
        let program = place.at("sendmail");
        let linked = fs::hard_link(FACTEUR, &program);
        linked.or_else(|_| fs::copy(FACTEUR, &program).map(drop)).unwrap();
        let is_open =
            place.path().ancestors().all(|dir| fs::metadata(dir).unwrap().mode() & 1 != 0);
        let nobody = || User::from_name("nobody").ok().flatten();
        let user = if geteuid().is_root() && is_open { nobody() } else { None };
        Sendmail { program, user }
    }

    /// Whether it has promised to send that message.
    fn send(&self, place: &Place, number: usize) -> bool {
        let mut command = Command::new(&self.program);
        command.arg("-i").args(RECIPIENTS);
        if let Some(user) = &self.user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        let (status, _) =
            feed(place, command, format!("Subject: x\n\n{}", body(number)).as_bytes());
        status == 0
    }
}

/// One life of the server.
fn round(place: &Place, config: &str, promises: &Promises, sendmail: &Sendmail, life: Duration) {
    let server = Binary::serve(place, config);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let mut client = server.client();
            scope.spawn(move || promises.send_some(&mut client, &RECIPIENTS, A_ROUND));
        }
        scope.spawn(|| {
            while !is_over.load(SeqCst) {
                let number = promises.next();
                if sendmail.send(place, number) {
                    promises.promised(number);
                }
            }
        });
        // A random moment, of no meaning.
        thread::sleep(life);
        server.signal("KILL");
        is_over.store(true, SeqCst);
    });
}

/// A life that may end before anybody can connect: what was left behind is looked at first.
fn short_life(place: &Place, life: Duration) {
    let mut command = Command::new(FACTEUR);
    command.arg("-c").arg(place.at("facteur.toml")).arg("serve");
    let mut server = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // A random moment, of no meaning.
    thread::sleep(life);
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn what_was_promised_is_kept_over_fifty_kills() {
    let mixed = "RCPT*40: 250 2.1.5 ok\nRCPT*20: 450 4.2.0 later\n.*30: 250 2.0.0 taken\n\
                 .*10: (close)\n.*30: 250 2.0.0 taken\n.*10: 451 4.3.0 later";
    let net = Net::new(&["", mixed]);
    net.dns.set("well.test A 127.0.0.2\nmixed.test A 127.0.0.3");
    let relay = format!(
        "retry = [\"1s\"]\nthreads = {THREADS}\nper_destination = {PER_DESTINATION}\n\
         delay_notice = \"0s\""
    );
    let (place, config) = (Place::new(), net.config(&relay, ""));
    // Nobody calls sendmail before there is a spool.
    Binary::serve(&place, &config).stop();
    let (promises, sendmail, mut dice) = (Promises::default(), Sendmail::new(&place), Dice::new(9));
    let began = Instant::now();
    for _ in 0..ROUNDS {
        let life = Duration::from_millis(dice.below(150) as u64);
        round(&place, &config, &promises, &sendmail, life);
        short_life(&place, Duration::from_millis(dice.below(60) as u64));
    }
    let lived = began.elapsed();
    let server = Binary::serve(&place, &config);
    let is_drop = |path: &PathBuf| !path.file_name().unwrap().to_string_lossy().starts_with('.');
    until("all drops are taken", || !files(&place.at("spool/drop")).iter().any(is_drop));
    until_empty(&place);
    assert!(listed(&place).is_empty());
    server.stop();

    let promised = promises.all();
    let kept = |who: &str, messages: Vec<String>, doubles_max: usize| {
        let got = counted(messages);
        let lost: Vec<_> = promised.iter().filter(|number| !got.contains_key(number)).collect();
        assert!(lost.is_empty(), "{who} never got {lost:?}");
        let doubles: usize = got.values().map(|count| count - 1).sum();
        assert!(doubles <= doubles_max, "{who} got {doubles} twice");
        doubles
    };
    let here = ["ann", "bob"].map(|user| {
        let mail = place.mail(user).iter().map(|mail| text(mail)).collect();
        kept(user, mail, ROUNDS * THREADS)
    });
    let away = [0, 1].map(|host| {
        let taken = net.hosts[host].mail().into_iter().filter(|mail| mail.is_taken);
        // One that was sent to nobody ends a transaction whose recipients were all refused.
        let mail = taken.filter(|mail| !mail.to.is_empty());
        let mail = mail.map(|mail| text(&mail.octets).replace("\r\n", "\n")).collect();
        kept(&format!("host {host}"), mail, ROUNDS * PER_DESTINATION)
    });
    println!("{} promised in {lived:?}; doubles here {here:?}, away {away:?}", promised.len());
    assert!(promised.len() > ROUNDS, "only {} were promised", promised.len());
    assert!(files(&place.at("spool/damaged")).is_empty());
    leftovers_go(&place, &config);
}

/// What kills have left in `tmp/` goes when it is old; as long as it is young, somebody may write it.
fn leftovers_go(place: &Place, config: &str) {
    let in_tmp = |path: &PathBuf| path.parent().is_some_and(|dir| dir.ends_with("tmp"));
    let left = || tree(place.path()).into_iter().filter(in_tmp).collect::<Vec<_>>();
    let old = SystemTime::now() - Duration::from_secs(40 * 3600);
    for path in left() {
        fs::File::open(path).unwrap().set_modified(old).unwrap();
    }
    let server = Binary::serve(place, config);
    until("no draft is left", || left().is_empty());
    server.stop();
}
