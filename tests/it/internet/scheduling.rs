//! How connections are used: several messages by one, several at once, and an end with QUIT.

use super::{Net, count, post, until_empty};
use crate::servers::Binary;
use crate::support::{Place, until};

#[test]
fn one_connection_carries_many_messages_and_ends_with_quit() {
    let (place, net) = (Place::new(), Net::new(&[""]));
    net.dns.set("far.test A 127.0.0.2");
    let server = Binary::serve(&place, &net.config("per_destination = 2", ""));
    for _ in 0..50 {
        post(&server, &["x@far.test"]);
    }
    until_empty(&place);
    let connections = net.hosts[0].seen().connections;
    // An idle one lasts two seconds, which a busy machine may take for one message.
    assert!(connections <= 10, "{connections}");
    assert_eq!(net.taken(0).len(), 50);
    until("QUIT", || net.hosts[0].count("QUIT") == connections);
    assert_eq!(net.hosts[0].seen().connections, connections);
    server.stop();
}

/// All that goes one way goes by one transaction, whatever the domains.
#[test]
fn recipients_with_one_next_hop_go_together() {
    let (place, net) = (Place::new(), Net::new(&[""]));
    let hop = format!("127.0.0.2:{}", net.port);
    let routes = format!("[relay.route]\n\"one.test\" = \"{hop}\"\n\"two.test\" = \"{hop}\"\n");
    let server = Binary::serve(&place, &net.config(&routes, ""));
    post(&server, &["x@one.test", "y@two.test", "z@one.test"]);
    until_empty(&place);
    assert_eq!(net.hosts[0].mail().len(), 1);
    assert_eq!(net.taken(0), ["x@one.test", "y@two.test", "z@one.test"]);
    server.stop();
}

/// More recipients than a host takes at once go in several transactions.
#[test]
fn a_host_that_takes_few_recipients_gets_all() {
    let script = "EHLO: 250-x | 250-LIMITS RCPTMAX=3 | 250 PIPELINING";
    let (place, net) =
        (Place::new(), Net::new(&[script, "RCPT*2: 250 ok\nRCPT: 452 4.5.3 too many\n"]));
    net.dns.set("far.test A 127.0.0.2\nfew.test A 127.0.0.3");
    let server = Binary::serve(&place, &net.config("retry = [\"1h\"]", ""));
    let names: Vec<String> = (0..10).map(|n| format!("x{n}@far.test")).collect();
    post(&server, &names.iter().map(String::as_str).collect::<Vec<_>>());
    for name in &names {
        server.wait_for(&["relayed ", &format!("to={name} ")]);
    }
    until_empty(&place);
    assert_eq!((net.hosts[0].mail().len(), net.taken(0)), (4, names));
    server.stop();
}

/// Some hosts hang up after a message, some after a few, and none of that is a failure.
#[test]
fn hosts_that_hang_up_between_messages_get_all() {
    let scripts = [
        ".: 250 2.0.0 taken | (close)",
        "RSET: 421 4.7.0 enough\n.: 250 2.0.0 taken | 421 4.4.2 timeout",
        "EHLO: 250-x | 250 LIMITS MAILMAX=1",
        "RSET: 500 what",
    ];
    let (place, net) = (Place::new(), Net::new(&scripts));
    let names = (0..scripts.len()).map(|n| format!("h{n}.test A 127.0.0.{}\n", n + 2));
    net.dns.set(&names.collect::<String>());
    let server = Binary::serve(&place, &net.config("retry = [\"1s\"]", ""));
    for number in 0..40 {
        post(&server, &[&format!("x@h{}.test", number % scripts.len())]);
    }
    until_empty(&place);
    for (number, script) in scripts.iter().enumerate() {
        assert_eq!(net.taken(number).len(), 10, "{script}");
    }
    assert_eq!(count(&server, &["bounced "]), 0);
    server.stop();
}

#[test]
fn no_more_connections_than_per_destination() {
    let slow = "greeting: (wait 300) | 220 x\nMAIL: (wait 50) | 250 2.1.0 ok";
    let (place, net) = (Place::new(), Net::new(&[slow]));
    net.dns.set("far.test A 127.0.0.2");
    let server = Binary::serve(&place, &net.config("per_destination = 3", ""));
    for _ in 0..30 {
        post(&server, &["x@far.test"]);
    }
    until_empty(&place);
    // Each is used until nothing waits, so there were never more than these.
    assert!(net.hosts[0].seen().connections <= 3, "{}", net.hosts[0].seen().connections);
    assert_eq!(net.taken(0).len(), 30);
    server.stop();
}
