//! Real name servers (unbound, nsd) as `dns.servers`, and Postfix's smtp-sink as the hosts they name.

use crate::daemons::{Daemon, Sink, free_port, own_address, own_ip};
use crate::outside::{Input, PYTHON, Parcel, installed, program, run};
use crate::servers::{Binary, FACTEUR};
use crate::support::{Place, config, files, text, until};
use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

/// Who answers for `test`.
#[derive(Clone, Copy)]
pub enum Names {
    Unbound,
    Nsd,
}

const SOA: &str = "test. 300 IN SOA ns.test. hostmaster.test. 1 3600 900 86400 300";

impl Names {
    /// Serves these lines as the zone `test`; nothing where the program is missing, which is said.
    pub fn serve(self, place: &Place, zone: &str) -> Option<(Daemon, SocketAddr)> {
        let name = match self {
            Names::Unbound => "unbound",
            Names::Nsd => "nsd",
        };
        if !installed(&[name]) {
            return None;
        }
        let address = own_address();
        let at = format!("{}@{}", address.ip(), address.port());
        let dir = place.path().display();
        let lines = zone.lines().map(str::trim).filter(|line| !line.is_empty());
        let settings = match self {
            Names::Unbound => {
                let lines = [SOA].into_iter().chain(lines);
                let data: String =
                    lines.map(|line| format!("  local-data: \"{line}\"\n")).collect();
                format!(
                    "server:\n  interface: {at}\n  access-control: 127.0.0.0/8 allow\n\
                     \x20 username: \"\"\n  chroot: \"\"\n  directory: \"{dir}\"\n  pidfile: \"\"\n\
                     \x20 use-syslog: no\n  do-daemonize: no\n  module-config: \"iterator\"\n\
                     \x20 local-zone: \"test.\" static\n{data}remote-control:\n  control-enable: no\n"
                )
            }
            Names::Nsd => {
                let lines: Vec<&str> =
                    [SOA, "test. NS ns.test."].into_iter().chain(lines).collect();
                place.write("test.zone", lines.join("\n") + "\n");
                format!(
                    "server:\n  ip-address: {at}\n  username: \"\"\n  pidfile: \"\"\n\
                     \x20 database: \"\"\n  zonesdir: \"{dir}\"\n  xfrdir: \"{dir}\"\n\
                     \x20 xfrdfile: \"{dir}/xfrd\"\n  zonelistfile: \"{dir}/zones\"\n\
                     remote-control:\n  control-enable: no\n\
                     zone:\n  name: \"test\"\n  zonefile: \"test.zone\"\n"
                )
            }
        };
        let settings = place.write(&format!("{name}.conf"), settings);
        let mut command = program(place, name);
        command.arg("-d").arg("-c").arg(settings);
        Some((Daemon::start(place, name, command, address), address))
    }
}

/// A relaying site that asks a name server, and two hosts that the zone names.
struct World {
    place: Place,
    server: Binary,
    _names: Daemon,
    near: Sink,
    far: Sink,
    /// Where nobody listens.
    gone: Ipv4Addr,
}

impl World {
    fn new(names: Names) -> Option<World> {
        let place = Place::new();
        let (near, far, gone) = (own_ip(), own_ip(), own_ip());
        let port = free_port(near);
        let near = Sink::start(&place, (near, port).into(), &[])?;
        let far = Sink::start(&place, (far, port).into(), &[])?;
        let zone = format!(
            "near.far.test. A {near}\n near.far.test. AAAA ::1\n away.far.test. A {far}\n\
             gone.far.test. A {gone}\n\
             far.test. MX 20 away.far.test.\n far.test. MX 10 near.far.test.\n\
             down.test. MX 0 gone.far.test.\n down.test. MX 5 away.far.test.\n\
             host.test. A {near}\n null.test. MX 0 .\n\
             lost.test. MX 10 nobody.far.test.\n",
            near = near.address.ip(),
            far = far.address.ip(),
        );
        let (daemon, address) = names.serve(&place, &zone)?;
        let server = Binary::serve(
            &place,
            &config(&format!(
                "[relay]\nnetworks = [\"127.0.0.0/8\"]\nport = {port}\n[dns]\nservers = [\"{address}\"]\n"
            )),
        );
        Some(World { place, server, _names: daemon, near, far, gone })
    }

    /// What `facteur route` says of an address, and whether it exits with 0.
    fn route(&self, address: &str) -> (String, bool) {
        let mut command = program(&self.place, FACTEUR);
        command.args(["route", address]);
        let output = command.output().unwrap();
        (text(&output.stdout), output.status.success())
    }

    fn send(&self, to: &[&str], message: &[u8]) {
        let mut client = self.server.client();
        client.expect("MAIL FROM:<ann@mx.test> BODY=8BITMIME", "250");
        for to in to {
            client.expect(&format!("RCPT TO:<{to}>"), "250");
        }
        client.expect("DATA", "354");
        client.send(&crate::client::stuffed(message));
        let reply = client.reply();
        assert!(reply.starts_with("250"), "{reply}");
    }

    fn until_empty(&self) {
        until("the queue is empty", || files(&self.place.at("spool/queue")).is_empty());
    }
}

fn mail_goes_where_they_say(names: Names) {
    let Some(world) = World::new(names) else { return };
    if !installed(&[PYTHON]) {
        return;
    }
    let parcel = Parcel::new(&world.place);
    let to = ["bob@far.test", "eve@far.test", "me@down.test", "you@host.test"];
    world.send(&to, &parcel.with_crlf());
    world.until_empty();
    let (near, far) = (world.near.mail(), world.far.mail());
    let rcpt = |mail: &[crate::daemons::Dump]| -> BTreeSet<String> {
        mail.iter().map(|dump| dump.rcpt.join(" ")).collect()
    };
    let both = ["<bob@far.test> <eve@far.test>".to_owned(), "<you@host.test>".to_owned()];
    assert_eq!(rcpt(&near), BTreeSet::from(both));
    assert_eq!(rcpt(&far), BTreeSet::from(["<me@down.test>".to_owned()]));
    for dump in near.iter().chain(&far) {
        assert!(dump.as_sent() == parcel.message, "not the same octets");
        assert_eq!(dump.mail, "<ann@mx.test> BODY=8BITMIME");
    }

    // And `facteur route` names the same hosts in the same order.
    let port = world.near.address.port();
    let (near, far) = (world.near.address.ip(), world.far.address.ip());
    let gone = world.gone;
    for (address, steps) in [
        (
            "bob@far.test",
            format!(
                "  MX 10 near.far.test: [::1]:{port}, {near}:{port}\n  \
                 MX 20 away.far.test: {far}:{port}\n  sent to near.far.test [::1]:{port}, else"
            ),
        ),
        (
            "me@down.test",
            format!(
                "  MX 0 gone.far.test: {gone}:{port}\n  MX 5 away.far.test: {far}:{port}\n  \
                 sent to gone.far.test [{gone}]:{port}, else"
            ),
        ),
        ("you@host.test", format!("  sent to host.test [{near}]:{port}\n")),
    ] {
        let (said, is_good) = world.route(address);
        assert!(is_good && said.contains(&steps), "no {steps} in {said}");
    }
}

fn what_they_deny_comes_back(names: Names) {
    let Some(world) = World::new(names) else { return };
    for (to, status, words) in [
        ("x@null.test", "5.1.10", "null MX"),
        ("x@nowhere.test", "5.1.2", "no such domain"),
        ("x@lost.test", "5.4.4", "nobody.far.test"),
    ] {
        world.send(&[to], b"Subject: hi\r\n\r\nx\r\n");
        world.server.wait_for(&["bounced ", &format!("to={to} "), words]);
        let (said, is_good) = world.route(to);
        assert!(!is_good && said.contains(status) && said.contains(words), "{said}");
        let told = |mail: &Vec<u8>| text(mail).contains(&format!("Status: {status}\n"));
        until("it is told to its sender", || world.place.mail("ann").iter().any(told));
    }
    world.until_empty();
    assert_eq!(world.place.mail("ann").len(), 3);
    assert_eq!((world.near.mail().len(), world.far.mail().len()), (0, 0));
}

#[test]
fn mail_goes_where_unbound_says() {
    mail_goes_where_they_say(Names::Unbound);
}

#[test]
fn mail_goes_where_nsd_says() {
    mail_goes_where_they_say(Names::Nsd);
}

#[test]
fn what_unbound_denies_comes_back() {
    what_they_deny_comes_back(Names::Unbound);
}

#[test]
fn what_nsd_denies_comes_back() {
    what_they_deny_comes_back(Names::Nsd);
}

#[test]
fn many_messages_each_arrive_once() {
    let Some(world) = World::new(Names::Unbound) else { return };
    if !installed(&["smtp-source"]) {
        return;
    }
    let mut source = program(&world.place, "smtp-source");
    source.args(["-s", "10", "-m", "500", "-l", "6000", "-M", "client.test", "-N"]);
    source.args(["-f", "ann@mx.test", "-t", "bob@far.test"]);
    source.arg(world.server.address.to_string());
    run(&world.place, &mut source, Input::Octets(b""));
    // What has left the queue was answered for; before that a file may be there and not yet whole.
    world.until_empty();
    let mail = world.near.wait_for(500);
    let id = |octets: &[u8]| {
        text(octets).split_once(" id ").unwrap().1.lines().next().unwrap().to_owned()
    };
    let ids: BTreeSet<String> = mail.iter().map(|dump| id(&dump.octets)).collect();
    assert_eq!((mail.len(), ids.len(), world.near.mail().len()), (500, 500, 500));
    // Its lines are of one length; only its counters in the header are not.
    assert!(mail.iter().all(|dump| dump.as_sent().len().abs_diff(6000) < 400));
    assert_eq!(world.far.mail().len(), 0);
    assert!(fs::read_dir(world.place.at("spool/damaged")).unwrap().next().is_none());
}
