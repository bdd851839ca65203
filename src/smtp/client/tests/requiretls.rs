//! Messages that require TLS of all hosts on their way (RFC 8689 §4.2.1).

use super::*;
use crate::mail::envelope::{Ret, TlsWish};

fn requiring() -> OutgoingMessage {
    let mut outgoing = one();
    outgoing.envelope.sender.tls = TlsWish::Required;
    outgoing
}

/// What a host says in the clear and what it says by TLS.
fn hello(clear: &str, by_tls: &str) -> String {
    let greeting = "W required\nS: 220 mx\nC: EHLO me.test\nS: 250-mx\n";
    let secured = "C: STARTTLS\nS: 220 go\ntls\nC: EHLO me.test\nS: 250-mx\n";
    format!("{greeting}{clear}S: 250 STARTTLS\n{secured}{by_tls}S: 250 HELP\n")
}

#[test]
fn a_host_that_promises_it_is_told() {
    let rest = "S: 250 ok\nC: RCPT TO:<ann@d.test>\nS: 250 ok\nC: DATA\nS: 354 go\nM\nS: 250 ok\n\
                > relayed 250 ok";
    for (offers, mail) in [
        ("S: 250-REQUIRETLS\n", " REQUIRETLS"),
        ("S: 250-requiretls\nS: 250-SIZE\n", " SIZE=10 REQUIRETLS"),
        ("S: 250-DSN\nS: 250-REQUIRETLS\n", " RET=HDRS REQUIRETLS"),
    ] {
        let mut outgoing = requiring();
        // It never comes back whole (§5).
        outgoing.envelope.sender.ret = Some(Ret::Full);
        let dialog = format!("{}C: MAIL FROM:<a@b.test>{mail}\n{rest}", hello("", offers));
        play(&outgoing, &dialog);
    }
    // Nobody else's mail speaks of it.
    let dialog = hello("", "S: 250-REQUIRETLS\n");
    play(&one(), &format!("{dialog}C: MAIL FROM:<a@b.test>\n{rest}"));
}

/// Another host may promise it, so nothing is decided; what is said in the clear is no promise.
#[test]
fn a_host_that_does_not_promise_it_by_tls_is_passed_over() {
    let lacks = "> next does not promise to send it on by TLS only (REQUIRETLS), as its sender \
                 requires (EHLO)";
    for dialog in [
        hello("", ""),
        hello("S: 250-REQUIRETLS\n", ""),
        hello("", "S: 250-XREQUIRETLS\nS: 250-REQUIRE TLS\n"),
        // Nor does it get a size that it could not take.
        hello("", "S: 250-SIZE 1\n"),
    ] {
        let client = play_in(&requiring(), &format!("{dialog}{lacks}"), 1000);
        assert!(client.over().is_none() && client.may_quit());
    }
    let lack = || lacks_of(Lack::RequireTls);
    assert_eq!(Fate::NextHost(lack()).status(), "4.7.30");
    assert_eq!(Fate::Failed(lack()).status(), "5.7.30");
    assert!(lack().is_sure() && !lacks_of(Lack::StartTls).is_sure());
}

fn lacks_of(lack: Lack) -> Reason {
    Reason::new(Step::Ehlo, Cause::Lacks(lack))
}
