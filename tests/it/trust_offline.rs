//! Mail where no name server answers: whoever is trusted notices nothing, and a stranger is heard and
//! answered in time.

use crate::client::Client;
use crate::daemons::own_address;
use crate::dnsd::Dnsd;
use crate::servers::Binary;
use crate::support::{Place, config, text};
use crate::trust_dkim::{ed25519, signed_at};
use crate::trust_mail::Mail;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What one message may cost its sender in waiting, and what a machine under load adds.
const MESSAGE_MAX: Duration = Duration::from_secs(30 + 3);

const MAIL: &str = "From: Ann <ann@a.test>\nTo: bob@mx.test\n\nHello Bob\n";

fn serve(place: &Place, dns: SocketAddr, trust: &str) -> Binary {
    Binary::serve(place, &config(&format!("[dns]\nservers = [\"{dns}\"]\n[trust]\n{trust}")))
}

/// Sends a message as it is, from MAIL to the last reply; gives how long that took.
fn send(client: &mut Client, message: &str) -> Duration {
    let began = Instant::now();
    client.expect("MAIL FROM:<ann@c.test>", "250");
    client.expect("RCPT TO:<bob@mx.test>", "250");
    client.expect("DATA", "354");
    client.send(format!("{}.\r\n", message.replace('\n', "\r\n")).as_bytes());
    let reply = client.reply();
    assert!(reply.starts_with("250 "), "{reply}");
    began.elapsed()
}

/// As in the demo, whose clients are on this machine: nothing is asked, and so nothing is waited for.
#[test]
fn a_gateway_waits_for_no_name_server() {
    let dns = Dnsd::new("* !silent");
    let off = "spf = \"off\"\ndkim = \"off\"\narc = \"off\"\ndmarc = \"off\"";
    let (places, trusts) = ([Place::new(), Place::new()], ["", off]);
    let servers = [0, 1].map(|at| serve(&places[at], dns.address(), trusts[at]));
    // The first message of all, then others by turns.
    let mut clients = servers.each_ref().map(Binary::client);
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..15 {
        for (client, times) in clients.iter_mut().zip(&mut times) {
            times.push(send(client, MAIL));
        }
    }
    assert_eq!(dns.log(), []);
    assert!(times[0][0] < Duration::from_secs(2), "{times:?}");
    let [with, without] = times.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    });
    // One name server that is waited for takes seconds.
    assert!(with < without * 3 + Duration::from_millis(50), "{with:?}, {without:?}");
    for (place, server) in places.iter().zip(servers) {
        assert_eq!(place.mail("bob").len(), 15);
        server.stop();
    }
}

/// Of a silent one and of one that is not there: all is asked that can be, and the message is taken.
#[test]
fn a_stranger_is_taken_whom_nobody_knows() {
    let silent = Dnsd::new("* !silent");
    let signed = ["s1", "s2", "s3", "s4"].iter().fold(MAIL.to_owned(), |mail, selector| {
        text(signed_at(&Mail::new(mail.as_bytes()), &ed25519(), selector).text())
    });
    for (dns, most) in [(own_address(), Duration::from_secs(10)), (silent.address(), MESSAGE_MAX)] {
        let place = Place::new();
        let server = serve(&place, dns, "gateways = []");
        let took = send(&mut server.client(), &signed);
        assert!(took < most, "{took:?}");
        let mail = text(&place.mail("bob")[0]);
        for part in ["spf=temperror", "dkim=temperror", "dmarc=", "mx.test"] {
            assert!(mail.contains(part), "{part}: {mail}");
        }
        server.wait_for(&["judged ", "dkim=temperror", "verdict=accept"]);
        server.stop();
    }
}
