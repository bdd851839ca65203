//! Mail of ours through filters: the signature is the last edit, behind what they changed, whichever way it comes.

use crate::filterd::Filter;
use crate::filters::MAY;
use crate::sendmail::feed;
use crate::servers::FACTEUR;
use crate::signed::{Signers, send, signatures};
use crate::support::text;
use std::process::Command;

const MAIL: &[u8] = b"From: ann@mx.test\r\nTo: carol@far.test\r\nSubject: hello\r\n\r\nHi\r\n";

#[test]
fn the_signature_covers_what_filters_changed() {
    let filter = Filter::start("end: change 1 Subject: new | add X-F: 1 | continue");
    let it = Signers::new("", &filter.table("f", MAY));
    let mut ann = it.user("ann");
    send(&mut ann, "ann@mx.test", &["carol@far.test"], MAIL);
    let macros = filter.heard("macros mail").pop().unwrap();
    assert!(macros.contains("{auth_type}=PLAIN {auth_authen}=ann@mx.test"), "{macros}");
    let helo = filter.heard("macros helo").pop().unwrap();
    assert!(helo.contains("{tls_version}=TLSv1.3 {cipher}=TLS_"), "{helo}");
    filter.change("end*1: body other\\n | change 1 Subject: new | add X-F: 1 | continue");
    send(&mut it.server.client(), "ann@mx.test", &["carol@far.test"], MAIL);
    let mut command = Command::new(FACTEUR);
    command.args(["sendmail", "-f", "ann@mx.test", "carol@far.test"]);
    let (status, said) = feed(&it.place, command, &text(MAIL).replace('\r', "").into_bytes());
    assert_eq!(status, 0, "{said}");
    let mails = it.left(3);
    for mail in &mails {
        let shown = text(mail);
        assert_eq!(signatures(mail), 2, "{shown}");
        assert!(
            shown.contains("\r\nSubject: new\r\n") && shown.contains("\r\nX-F: 1\r\n"),
            "{shown}"
        );
    }
    it.assert_signed(&mails);
    it.server.stop();
}
