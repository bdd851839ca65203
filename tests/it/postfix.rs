//! Postfix as next hop: a server of its own in a temporary directory, with DSN, and its smtp-sink as
//! one without.

use crate::client::stuffed;
use crate::daemons::{Daemon, Sink, below_received, own_address};
use crate::outside::{Input, PYTHON, Parcel, installed, program, run};
use crate::servers::Binary;
use crate::support::{PATIENCE, Place, config, files, skip, text, tree, until, within};
use nix::unistd::{Group, User, geteuid};
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

/// Delivers for `post.test`, sends mail for `mx.test` back to us. Its only user is bob, and it takes
/// mail for others all the same: it can only tell by a notice.
pub struct Postfix {
    _daemon: Daemon,
    place: Place,
    pub address: SocketAddr,
}

/// Accounts that every Debian has, in place of Postfix's own: whose queue it is, and a group that must
/// be another one.
const OWNER: &str = "list";
const GROUP: &str = "irc";

impl Postfix {
    /// Nothing where it cannot be, which is said. `back`: where we listen.
    pub fn start(back: SocketAddr) -> Option<Postfix> {
        Postfix::with(back, "")
    }

    /// Where it is unpacked or installed, with the accounts that it needs; none, and said so, where it cannot
    /// be started.
    pub fn found() -> Option<(PathBuf, User, Group)> {
        let root = PathBuf::from(std::env::var_os("FACTEUR_POSTFIX").unwrap_or_default());
        let root = if root.as_os_str().is_empty() { PathBuf::from("/") } else { root };
        let master = root.join("usr/lib/postfix/sbin/master");
        if !master.is_file() {
            skip(&format!("{} is not installed", master.display()));
            return None;
        }
        let accounts = (User::from_name(OWNER).unwrap(), Group::from_name(GROUP).unwrap());
        let (Some(owner), Some(group), true) = (accounts.0, accounts.1, geteuid().is_root()) else {
            skip(&format!("Postfix is started by root, with a user {OWNER} and a group {GROUP}"));
            return None;
        };
        Some((root, owner, group))
    }

    /// The same with more lines of its main.cf, each in place of the line of that name.
    pub fn with(back: SocketAddr, more: &str) -> Option<Postfix> {
        let (root, owner, group) = Postfix::found()?;
        let (place, address) = (Place::new(), own_address());
        let (dir, root) = (place.path().display(), root.display());
        for name in ["queue", "queue/pid", "etc"] {
            fs::create_dir(place.at(name)).unwrap();
        }
        let queues = "active bounce corrupt defer deferred flush hold incoming private saved trace";
        let queues = queues.split(' ').map(|name| (format!("queue/{name}"), 0o700));
        let others = [("data", 0o700), ("mail", 0o700), ("queue/public", 0o710)];
        let others = others.into_iter().chain([("queue/maildrop", 0o730)]);
        for (name, mode) in queues.chain(others.map(|(name, mode)| (name.to_owned(), mode))) {
            let path = place.at(&name);
            fs::create_dir(&path).unwrap();
            chown(&path, Some(owner.uid.as_raw()), Some(group.gid.as_raw())).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        }
        let libraries = format!("{root}/usr/lib/postfix");
        let main = format!(
            "compatibility_level = 3.6\nmyhostname = mx.post.test\n\
             mail_owner = {OWNER}\nsetgid_group = {GROUP}\n\
             config_directory = {dir}/etc\nmeta_directory = {dir}/etc\n\
             queue_directory = {dir}/queue\ndata_directory = {dir}/data\n\
             daemon_directory = {libraries}/sbin\ncommand_directory = {root}/usr/sbin\n\
             shlib_directory = {libraries}\nimport_environment = MAIL_CONFIG LD_LIBRARY_PATH\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmynetworks = 127.0.0.0/8\n\
             smtpd_tls_security_level = none\nsmtp_tls_security_level = none\n\
             mydestination =\nalias_maps =\nalias_database =\n\
             virtual_mailbox_domains = post.test\nvirtual_mailbox_base = {dir}/mail\n\
             virtual_mailbox_maps = inline:{{ bob@post.test=bob/ }}\n\
             virtual_minimum_uid = 1\nvirtual_uid_maps = static:{uid}\nvirtual_gid_maps = static:{gid}\n\
             smtpd_reject_unlisted_recipient = no\n\
             transport_maps = inline:{{ mx.test=smtp:[{ip}]:{port} }}\n\
             maillog_file = {dir}/data/log\nmaillog_file_prefixes = {dir}\n",
            uid = owner.uid,
            gid = owner.gid,
            ip = back.ip(),
            port = back.port(),
        );
        // A name twice is warned of by each of its programs, and the one that writes the log waits for itself.
        let name = |line: &str| line.split('=').next().unwrap().trim().to_owned();
        let replaced: BTreeSet<String> = more.lines().map(name).collect();
        let kept = main.lines().filter(|line| !replaced.contains(&name(line)));
        let kept: String = kept.map(|line| format!("{line}\n")).collect();
        place.write("etc/main.cf", kept + more);
        let services = "pickup unix n - n 60 1 pickup\ncleanup unix n - n - 0 cleanup\n\
             qmgr unix n - n 300 1 qmgr\nrewrite unix - - n - - trivial-rewrite\n\
             bounce unix - - n - 0 bounce\ndefer unix - - n - 0 bounce\n\
             trace unix - - n - 0 bounce\nproxymap unix - - n - - proxymap\n\
             smtp unix - - n - - smtp\nerror unix - - n - - error\n\
             retry unix - - n - - error\nvirtual unix - n n - - virtual\n\
             anvil unix - - n - 1 anvil\ntlsmgr unix - - n 1000? 1 tlsmgr\npostlog unix-dgram n - n - 1 postlogd\n";
        place.write("etc/master.cf", format!("{address} inet n - n - - smtpd\n{services}"));
        let mut command = program(&place, &format!("{libraries}/sbin/master"));
        command.env("LD_LIBRARY_PATH", libraries).arg("-d").arg("-c").arg(place.at("etc"));
        let daemon = Daemon::start(&place, "postfix", command, address);
        Some(Postfix { _daemon: daemon, place, address })
    }

    pub fn mail(&self) -> Vec<Vec<u8>> {
        self.mail_of("bob")
    }

    /// What lies in the mailbox of that name.
    pub fn mail_of(&self, user: &str) -> Vec<Vec<u8>> {
        let paths = files(&self.place.at(&format!("mail/{user}/new")));
        paths.iter().map(|path| fs::read(path).unwrap()).collect()
    }

    /// Its queue files of that kind.
    pub fn queue(&self, name: &str) -> Vec<PathBuf> {
        files(&self.place.at(&format!("queue/{name}")))
    }

    /// Nothing is under way any more; what is held is not.
    pub fn is_idle(&self) -> bool {
        // In the order in which a message passes through them: none is missed on its way.
        ["maildrop", "incoming", "active", "deferred"].iter().all(|name| {
            tree(&self.place.at(&format!("queue/{name}"))).iter().all(|path| path.is_dir())
        })
    }

    /// Lets go what is held.
    pub fn release(&self) {
        let (root, _, _) = Postfix::found().unwrap();
        for (name, arguments) in [("postsuper", &["-H", "ALL"][..]), ("postqueue", &["-f"])] {
            let mut command =
                program(&self.place, root.join("usr/sbin").join(name).to_str().unwrap());
            command.env("LD_LIBRARY_PATH", root.join("usr/lib/postfix"));
            command.arg("-c").arg(self.place.at("etc")).args(arguments);
            run(&self.place, &mut command, Input::Octets(b""));
        }
    }

    pub fn log(&self) -> String {
        text(&fs::read(self.place.at("data/log")).unwrap_or_default())
    }
}

/// Our configuration, with the next hop of `post.test`.
fn with_route(address: SocketAddr) -> String {
    let relay = "[relay]\nnetworks = [\"127.0.0.0/8\"]\n[relay.route]";
    config(&format!("{relay}\n\"post.test\" = \"{address}\""))
}

/// A message from Ann that asks for notices of success and of failure.
fn send(server: &Binary, to: &[&str], message: &[u8]) {
    let mut client = server.client();
    client.expect("MAIL FROM:<ann@mx.test> BODY=8BITMIME RET=HDRS ENVID=Q314159+2B1", "250");
    for to in to {
        let orcpt = format!("ORCPT=rfc822;alias+2B{to}");
        client.expect(&format!("RCPT TO:<{to}> NOTIFY=SUCCESS,FAILURE {orcpt}"), "250");
    }
    client.expect("DATA", "354");
    client.send(&stuffed(message));
    let reply = client.reply();
    assert!(reply.starts_with("250"), "{reply}");
}

/// The notice that holds this, once there is one; otherwise says what else is known.
fn notice(place: &Place, part: &str, known: impl Fn() -> String) -> String {
    let found = || place.mail("ann").iter().map(|m| text(m)).find(|mail| mail.contains(part));
    assert!(within(PATIENCE, || found().is_some()), "no notice with {part}: {}", known());
    found().unwrap()
}

#[test]
fn notices_are_left_to_a_host_that_sends_them() {
    if !installed(&[PYTHON]) {
        return;
    }
    let place = Place::new();
    let server = Binary::serve(&place, &config(""));
    let Some(postfix) = Postfix::start(server.address) else { return };
    // Each has to know where the other is.
    let own = format!("smtp = [\"{}\"]", server.address);
    let config = with_route(postfix.address).replace("smtp = [\"127.0.0.1:0\"]", &own);
    place.write("facteur.toml", config);
    server.signal("HUP");
    server.wait_for(&["reloaded"]);

    let parcel = Parcel::new(&place);
    send(&server, &["bob@post.test", "none@post.test"], &parcel.with_crlf());
    for to in ["bob", "none"] {
        server.wait_for(&["relayed ", &format!("to={to}@post.test "), "250 2.0.0 Ok: queued as"]);
    }
    // Both notices are Postfix's own, with all that the sender has said.
    for (to, action, status) in [("bob", "delivered", "2.0.0"), ("none", "failed", "5.1.1")] {
        let notice =
            notice(&place, &format!("Final-Recipient: rfc822; {to}@post.test\n"), || postfix.log());
        for part in [
            "Return-Path: <>\n".to_owned(),
            "Reporting-MTA: dns; mx.post.test\n".to_owned(),
            "Original-Envelope-Id: Q314159+1\n".to_owned(),
            format!("Original-Recipient: rfc822;alias+{to}@post.test\n"),
            format!("Action: {action}\nStatus: {status}\n"),
        ] {
            assert!(notice.contains(&part), "no {part:?} in {notice}\n{}", postfix.log());
        }
    }
    // Below Postfix's three fields and its Received stands ours, then what was sent.
    let [arrived] = &postfix.mail()[..] else { panic!("{}", postfix.log()) };
    let at = memchr::memmem::find(arrived, b"Received: ").unwrap();
    assert!(below_received(&arrived[at..], 2) == parcel.message, "not the same octets");
    until("the queue is empty", || files(&place.at("spool/queue")).is_empty());
    assert_eq!(place.mail("ann").len(), 2);
    server.stop();
}

#[test]
fn a_host_that_sends_no_notices_is_spoken_for() {
    let place = Place::new();
    let Some(sink) = Sink::start(&place, own_address(), &["-N"]) else { return };
    let server = Binary::serve(&place, &with_route(sink.address));
    send(&server, &["bob@post.test"], b"Subject: hi\r\n\r\nx\r\n");
    let notice = notice(&place, "Action: relayed\n", || format!("{:#?}", server.lines()));
    for part in [
        "Reporting-MTA: dns; mx.test\n",
        "Original-Envelope-Id: Q314159+1\n",
        "Original-Recipient: rfc822; alias+bob@post.test\n",
        "Final-Recipient: rfc822; bob@post.test\n",
        "Status: 2.0.0\n",
    ] {
        assert!(notice.contains(part), "no {part:?} in {notice}");
    }
    let [dump] = &sink.mail()[..] else { panic!("not one message") };
    assert_eq!(
        (&*dump.mail, &dump.rcpt[..]),
        ("<ann@mx.test> BODY=8BITMIME", &["<bob@post.test>".to_owned()][..])
    );
    until("the queue is empty", || files(&place.at("spool/queue")).is_empty());
    assert_eq!(place.mail("ann").len(), 1);
}
