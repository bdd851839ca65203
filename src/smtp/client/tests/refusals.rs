//! Refusals that follow from what we did ourselves.

use super::*;

/// What the host wants is what we have given up.
#[test]
fn a_refusal_after_a_fall_back_is_not_final() {
    use Step::{Data, Final, Mail, Message, Rcpt};
    let fallen = ", in the clear because TLS failed: it was silent)";
    for (step, reply, fate) in [
        (Mail, "530 5.7.0 Must issue a STARTTLS command first", "next said"),
        (Mail, "530 no", "next said"),
        (Mail, "550 5.7.10 encryption needed", "next said"),
        (Rcpt, "554 5.7.11 no", "next said"),
        (Rcpt, "550 5.7.1 only with tls, please", "next said"),
        (Data, "554 5.7.0 Use TLS", "next said"),
        (Message, "530 no", "next said"),
        (Final, "550 5.7.1 TLS required", "deferred said"),
        // What has nothing to do with it is the end, and says so too.
        (Mail, "550 5.1.8 not from you", "failed said"),
        (Rcpt, "550 5.1.1 nobody", "failed said"),
        (Final, "554 5.7.1 spam", "failed said"),
        (Rcpt, "450 4.2.0 later", "deferred said"),
    ] {
        let told = format!("{fate} {reply} ({step}{fallen}");
        let client = play_in(&one(), &format!("F\n{}S: {reply}\n> {told}", up_to(step)), 1000);
        assert!(client.over().is_none() || step == Message);
    }
    // Without a fall back the host is taken at its word.
    let dialog = format!("{}S: 530 5.7.0 TLS\n> failed said 530 5.7.0 TLS (MAIL)", up_to(Mail));
    play(&one(), &dialog);
}

/// It may be tired of the connection; on a fresh one it is asked once more.
#[test]
fn a_refusal_of_a_later_mail_decides_nothing() {
    let hello = "S: 220 mx\nC: EHLO me.test\nS: 250-mx\nS: 250 LIMITS RCPTMAX=1\n";
    let mail = "C: MAIL FROM:<a@b.test>\n";
    let outgoing = outgoing("a@b.test", &["ann@d.test", "bob@d.test"]);
    for (first, rset, fate) in [
        ("S: 250 a\nC: DATA\nS: 354 go\nM\nS: 250 yes\n", "", "relayed 250 yes"),
        ("S: 550 nobody\n", "C: RSET\nS: 250 ok\n", "failed said 550 nobody (RCPT)"),
    ] {
        let client = play_in(
            &outgoing,
            &format!(
                "{hello}{mail}S: 250 ok\nC: RCPT TO:<ann@d.test>\n{first}{rset}{mail}\
                 S: 554 tired\n> {fate}\n> next said 554 tired (MAIL)"
            ),
            1000,
        );
        assert!(client.is_worn() && client.may_quit());
    }
}
