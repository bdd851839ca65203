//! Where any name is a user, names that somebody makes up by the thousand.

use super::{MAIL, MIB, at_most, forget_peak, memory, say};
use crate::client::Client;
use crate::servers::Binary;
use crate::support::{Place, config, files};
use facteur::limits::MAILDIRS_AN_HOUR;

/// Sends one message to a thousand names that nobody has; how many were taken.
fn thousand(client: &mut Client, turn: usize) -> usize {
    let name = |number: usize| format!("RCPT TO:<u{}@mx.test>\r\n", turn * 1000 + number);
    let commands: String = (0..1000).map(name).collect();
    client.expect("MAIL FROM:<>", "250");
    client.send(commands.as_bytes());
    let mut taken = 0;
    for _ in 0..1000 {
        let reply = client.reply();
        let is_good = reply.starts_with("250 2.1.5 ");
        assert!(is_good || reply.starts_with("450 4.2.1 "), "{reply}");
        taken += usize::from(is_good);
    }
    let reply = match taken {
        0 => client.expect("RSET", "250"),
        _ => {
            client.expect("DATA", "354");
            client.send(b"Subject: x\r\n\r\n.\r\n");
            client.reply_at_leisure()
        }
    };
    assert!(reply.starts_with("250 "), "{reply}");
    taken
}

#[test]
fn twenty_thousand_invented_users() {
    // In memory where that can be: ten syncs for each Maildir take their time.
    let place = Place::in_memory();
    let more = "[domain.\"other.test\"]\nmaildir = \"mail/{domain}/{user}\"\nany_user = true\n\
                users = \"users\"\n";
    place.write("users", "listed:{PLAIN}x\n");
    let server = Binary::serve(&place, &config(more));
    server.client().delivered(&["ann@mx.test"], MAIL);
    forget_peak(server.pid());
    let before = memory(server.pid(), "VmHWM");
    let mut client = server.client();
    // No message follows: these places are given back.
    client.expect("MAIL FROM:<>", "250");
    client.expect("RCPT TO:<never@mx.test>", "250");
    client.expect("RSET", "250");
    let taken: usize = (0..20).map(|turn| thousand(&mut client, turn)).sum();
    let made = files(&place.at("mail/mx.test")).len() as u64;
    assert_eq!(made, taken as u64 + 1);
    let bound = MAILDIRS_AN_HOUR as u64;
    at_most("20000 invented users: Maildirs made in this hour", made, bound, "Maildirs");
    say(&format!("20000 invented users: {} heard 450 4.2.1", 20_000 - taken));
    let grown = memory(server.pid(), "VmHWM").saturating_sub(before) / MIB;
    at_most("20000 invented users: memory taken", grown, 16, "MiB");
    // Who was there before, who is written down and postmaster are served as ever.
    for to in
        ["ann@mx.test", "u0@mx.test", "u0+tag@mx.test", "postmaster@mx.test", "listed@other.test"]
    {
        client.delivered(&[to], MAIL);
    }
    client.expect("MAIL FROM:<>", "250");
    client.expect("RCPT TO:<someone@other.test>", "450 4.2.1 too many new mailboxes");
    drop(client); // a transaction that a stop would wait for
    server.stop();
}
