//! The end of the server while mail is under way, and trouble with the disk.

use super::{Net, count, post, queue, until_empty, wait_for_count};
use crate::servers::{Binary, FACTEUR};
use crate::support::{Place, text, until};
use std::process::Command;
use std::time::{Duration, Instant};

/// What a host is about to answer is waited for: a message that it has taken is not sent again.
#[test]
fn the_reply_to_a_sent_message_is_waited_for() {
    let (place, net) = (Place::new(), Net::new(&[".: (wait 700) | 250 2.0.0 taken"]));
    net.dns.set("far.test A 127.0.0.2");
    let config = net.config("", "");
    let server = Binary::serve(&place, &config);
    let id = post(&server, &["x@far.test"]);
    until("it is sent", || !net.hosts[0].seen().mail.is_empty());
    server.signal("TERM");
    server.wait_for(&["relayed ", &id, "to=x@far.test"]);
    server.stop();
    assert!(queue(&place).is_empty());
    assert_eq!(net.taken(0).len(), 1);
}

/// Before its octets have gone nothing is lost by going, and no attempt has failed.
#[test]
fn what_is_not_sent_yet_is_left_for_the_next_start() {
    for script in ["greeting: (silent)", "DATA: (wait 900) | 354 go", "RCPT: (wait 900) | 250 ok"] {
        let (place, net) = (Place::new(), Net::new(&[script]));
        net.dns.set("far.test A 127.0.0.2");
        let config = net.config("retry = [\"1h\"]", "");
        let server = Binary::serve(&place, &config.replace("command = \"2s\"", "command = \"5m\""));
        post(&server, &["x@far.test"]);
        until("it has begun", || {
            let seen = net.hosts[0].seen();
            seen.connections > 0 && (script.starts_with("greeting") || seen.commands.len() > 2)
        });
        let began = Instant::now();
        server.stop();
        assert!(began.elapsed() < Duration::from_secs(3), "{script}: {:?}", began.elapsed());
        assert!(!queue(&place)[0].contains(" 0 deferred "), "{script}: {:?}", queue(&place));
        net.hosts[0].change("greeting: 220 x\nDATA: 354 go\nRCPT: 250 ok");
        let server = Binary::serve(&place, &config);
        server.wait_for(&["relayed ", "to=x@far.test"]);
        until_empty(&place);
        assert_eq!(net.taken(0).len(), 1, "{script}");
        server.stop();
    }
}

#[test]
fn a_second_server_refuses_to_share_a_spool() {
    let (place, net) = (Place::new(), Net::new(&[]));
    let config = net.config("", "");
    let server = Binary::serve(&place, &config);
    let mut second = Command::new(FACTEUR);
    let second = second.args(["-c", "facteur.toml", "serve"]).current_dir(place.path());
    let output = second.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("another facteur") && said.contains("spool"), "{said}");
    server.stop();
    // A killed one leaves nothing behind that would stop the next.
    let server = Binary::serve(&place, &config);
    drop(server);
    Binary::serve(&place, &config).stop();
}

/// A server in which no file may grow over so many blocks of 512 octets: it finds the disk full in the
/// middle of a journal line.
fn in_small_room(place: &Place, config: &str, blocks: usize) -> Binary {
    let file = place.write("facteur.toml", config);
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" -c \"$1\" serve");
    let mut command = Command::new("/bin/dash");
    command.args(["-c", &script, FACTEUR]).arg(file);
    Binary::start(command)
}

/// What became of a recipient is not forgotten while the server lives, and the message is not lost.
#[test]
fn a_disk_that_is_full_while_the_journal_is_written() {
    if !std::path::Path::new("/bin/dash").exists() {
        return crate::support::skip("no /bin/dash, whose blocks have 512 octets");
    }
    let (place, net) = (Place::new(), Net::new(&["RCPT TO:<b@: 450 4.2.0 later"]));
    net.dns.set("far.test A 127.0.0.2");
    let config = net.config("retry = [\"1s\"]", "");
    let server = in_small_room(&place, &config, 8);
    // Room for the first lines of the journal, or a part of them.
    let message = format!("Subject: hi\n\n{}", "0123456789abcdef0123456789abcde\n".repeat(110));
    super::send(&server, "ann@mx.test", &["a@far.test", "b@far.test"], &message);
    server.wait_for(&["relayed ", "to=a@far.test"]);
    server.wait_for(&["warning ", "cannot write", "tried again"]);
    wait_for_count(&server, &["deferred ", "to=b@far.test"], 4);
    net.hosts[0].change("RCPT: 250 2.1.5 ok");
    server.wait_for(&["relayed ", "to=b@far.test"]);
    until_empty(&place);
    // The first one never again.
    assert_eq!(net.taken(0), ["a@far.test", "b@far.test"]);
    server.stop();
}

/// The same when the server is killed meanwhile: then it may be sent once more, and the torn line does
/// not spoil those that follow.
#[test]
fn a_torn_journal_line_spoils_nothing() {
    if !std::path::Path::new("/bin/dash").exists() {
        return crate::support::skip("no /bin/dash, whose blocks have 512 octets");
    }
    let (place, net) = (Place::new(), Net::new(&["RCPT: 450 4.2.0 later"]));
    net.dns.set("far.test A 127.0.0.2");
    let config = net.config("retry = [\"1s\"]", "");
    let server = in_small_room(&place, &config, 8);
    let message = format!("Subject: hi\n\n{}", "0123456789abcdef0123456789abcde\n".repeat(105));
    super::send(&server, "ann@mx.test", &["x@far.test"], &message);
    server.wait_for(&["warning ", "cannot write", "tried again"]);
    drop(server);
    let server = Binary::serve(&place, &config);
    let before = count(&server, &["deferred "]);
    wait_for_count(&server, &["deferred ", "to=x@far.test"], before + 2);
    let (status, out, err) = crate::commands::run(&place, &["queue", "list", "--json"]);
    assert_eq!((status, &*err), (0, ""));
    assert!(out.contains("450 4.2.0 later"), "{out}");
    net.hosts[0].change("RCPT: 250 2.1.5 ok");
    server.wait_for(&["relayed ", "to=x@far.test"]);
    until_empty(&place);
    assert_eq!(net.taken(0).len(), 1);
    server.stop();
}
