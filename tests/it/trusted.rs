//! Programs that people send mail with, as clients we relay for: what they send to another domain
//! reaches its host octet for octet.

use crate::daemons::{Sink, own_address};
use crate::outside::{Input, PYTHON, Parcel, SUBJECT, installed, program, run};
use crate::servers::{Binary, value};
use crate::support::{Place, config, files, until};
use std::process::Command;

/// A server that relays for this machine, the host of far.test, and what a program has to send.
struct Trial {
    server: Binary,
    far: Sink,
    parcel: Parcel,
    place: Place,
}

impl Trial {
    /// Nothing where the program is missing, which is said.
    fn of(name: &str) -> Option<Trial> {
        if !installed(&[name, PYTHON]) {
            return None;
        }
        let place = Place::new();
        let far = Sink::start(&place, own_address(), &[])?;
        let relay = "[relay]\nnetworks = [\"127.0.0.0/8\"]\n[relay.route]";
        let site = config(&format!("{relay}\n\"far.test\" = \"{}\"", far.address));
        let server = Binary::serve(&place, &site);
        let parcel = Parcel::new(&place);
        Some(Trial { server, far, parcel, place })
    }

    fn program(&self, name: &str) -> Command {
        program(&self.place, name)
    }

    fn port(&self) -> String {
        self.server.address.port().to_string()
    }

    /// Runs it; all of the parcel has come to bob, in a message that ends below our Received, and
    /// nothing is left. Gives that message.
    fn relays(&self, command: &mut Command, input: &[u8]) -> Vec<u8> {
        run(&self.place, command, Input::Octets(input));
        let relayed = self.server.wait_for(&["relayed ", " to=bob@far.test "]);
        let accepted = self.server.wait_for(&["accepted "]);
        assert_eq!(value(&relayed, "id"), value(&accepted, "id"));
        until("the queue is empty", || files(&self.place.at("spool/queue")).is_empty());
        let [dump] = &self.far.mail()[..] else { panic!("not one message") };
        assert!(dump.mail.starts_with("<ann@mx.test>"), "{}", dump.mail);
        assert_eq!(dump.rcpt, ["<bob@far.test>"]);
        let file = self.place.write("arrived", &dump.octets);
        self.parcel.assert_in(&self.place, &file);
        dump.as_sent().to_vec()
    }
}

#[test]
fn swaks() {
    let Some(trial) = Trial::of("swaks") else { return };
    let mut swaks = trial.program("swaks");
    swaks.args(["--server", "127.0.0.1", "--port", &trial.port(), "--helo", "client.test"]);
    swaks.args(["--from", "ann@mx.test", "--to", "bob@far.test", "--hide-all"]);
    swaks.args(["--attach-type", "text/plain; charset=utf-8", "--attach-body", "@text"]);
    swaks.args(["--attach-type", "application/octet-stream", "--attach", "@attachment"]);
    swaks.args(["--h-Subject", SUBJECT]);
    trial.relays(&mut swaks, b"");
}

#[test]
fn msmtp() {
    let Some(trial) = Trial::of("msmtp") else { return };
    trial.place.write("msmtprc", "");
    let mut msmtp = trial.program("msmtp");
    msmtp.args(["-C", "msmtprc", "--host=127.0.0.1", &format!("--port={}", trial.port())]);
    msmtp.args(["--auth=off", "--tls=off", "--domain=client.test"]);
    msmtp.args(["--from=ann@mx.test", "bob@far.test"]);
    let arrived = trial.relays(&mut msmtp, &trial.parcel.message);
    assert!(arrived == trial.parcel.message, "not the same octets");
}

#[test]
fn curl() {
    let Some(trial) = Trial::of("curl") else { return };
    let url = format!("smtp://{}/client.test", trial.server.address);
    let mut curl = trial.program("curl");
    curl.args(["-q", "-sS", "--noproxy", "*", "--crlf", "-T", "message", &url]);
    curl.args(["--mail-from", "ann@mx.test", "--mail-rcpt", "bob@far.test"]);
    let arrived = trial.relays(&mut curl, b"");
    assert!(arrived == trial.parcel.message, "not the same octets");
}
