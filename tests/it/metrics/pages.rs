//! Mail and stories as pages: what they show, what they leave as it was, and for whom they are.

use super::{get, said, serve, status};
use crate::dnsd::Dnsd;
use crate::support::{Place, has_program, skip, text, tree};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// The targets that a page links to and that begin so.
fn links(page: &str, start: &str) -> Vec<String> {
    let parts = page.split("<a href=\"").skip(1);
    let targets = parts.map(|part| part.split('"').next().unwrap().to_owned());
    targets.filter(|target| target.starts_with(start)).collect()
}

const HOSTILE: &[u8] = b"From: \"<img src=x>\" <eve@evil.test>\r\nTo: ann@mx.test\r\n\
    Subject: <script>document.title='stolen'</script> \xe2\x80\xaegpj\r\n\
    Message-ID: <\"><b>@evil.test>\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n\
    <meta http-equiv=refresh content='0;url=http://evil.test/'><script>document.title='stolen'</script>\
    <p>Hello &lt;b&gt; you</p><img src=http://evil.test/x><a href=javascript:alert(1)>click</a>\r\n\
    --b\r\nContent-Type: text/plain; name=\"<script>.txt\"\r\n\
    Content-Disposition: attachment; filename=\"<script>.txt\"\r\n\r\nx\r\n--b--\r\n";

#[test]
fn mail_is_read_as_text_and_stays_as_it_was() {
    let place = Place::new();
    let (server, address) = serve(&place, "");
    let mut client = server.client();
    client.delivered(
        &["ann@mx.test"],
        b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nHello, Ann.\r\n",
    );
    client.delivered(&["ann@mx.test", "bob@mx.test"], HOSTILE);
    let before = tree(&place.maildir("ann"));

    let (_, first) = get(address, "/");
    assert_eq!(links(&first, "/mail/"), ["/mail/ann@mx.test", "/mail/bob@mx.test"]);
    let (_, all) = get(address, "/mail");
    assert_eq!(links(&all, "/mail/"), ["/mail/ann@mx.test", "/mail/bob@mx.test"]);
    let (_, list) = get(address, "/mail/ann@mx.test");
    assert!(list.contains("Grüße") && list.contains("Messages<b>2</b>"), "{list}");
    assert!(!list.contains("<script") && !list.contains("<img") && list.contains("\\u{202e}gpj"));
    let letters = links(&list, "/mail/ann@mx.test/");
    assert_eq!(letters.len(), 2, "{list}");
    // The newest comes first.
    let (head, hostile) = get(address, &letters[0]);
    for forbidden in
        ["<script", "<img", "<meta http-equiv", "javascript:", "href=\"http", "\u{202e}"]
    {
        assert!(!hostile.contains(forbidden), "{forbidden}: {hostile}");
    }
    assert!(
        hostile.contains("Hello &lt;b&gt; you") && hostile.contains("It is HTML alone"),
        "{hostile}"
    );
    assert!(hostile.contains("&lt;script&gt;.txt"), "{hostile}");
    assert!(
        head.contains("default-src 'none'; style-src 'self'") && head.contains("no-store"),
        "{head}"
    );
    let (_, plain) = get(address, &letters[1]);
    assert!(plain.contains("Hello, Ann.") && plain.contains("<h1>Grüße</h1>"), "{plain}");
    let (head, raw) = get(address, &format!("{}/raw", letters[0]));
    assert!(head.contains("Content-Type: text/plain; charset=utf-8\r\n"), "{head}");
    assert!(head.contains("; sandbox\r\n") && head.contains("nosniff"), "{head}");
    assert!(raw.contains("<script>document.title='stolen'</script>"), "{raw}");

    assert_eq!(tree(&place.maildir("ann")), before);
    assert_eq!(place.mail("ann").len(), 2);
    server.stop();
}

#[test]
fn junk_is_a_page_of_its_own() {
    let (place, dns) = (Place::new(), Dnsd::new(""));
    let trust = format!("[dns]\nservers = [\"{}\"]\n[trust]\ngateways = []", dns.address());
    let (server, address) = serve(&place, &trust);
    let mut client = server.client();
    client.delivered(&["ann@mx.test"], b"From: bob@far.test\r\nSubject: mail\r\n\r\nx\r\n");
    client.delivered(&["ann@mx.test"], b"Subject: of nobody\r\n\r\nHello, junk.\r\n");
    let (_, inbox) = get(address, "/mail/ann@mx.test");
    assert!(inbox.contains(">mail<") && !inbox.contains("nobody"), "{inbox}");
    assert!(inbox.contains("<a href=\"/mail/ann@mx.test/.Junk\">.Junk: 1</a>"), "{inbox}");
    let (_, junk) = get(address, "/mail/ann@mx.test/.Junk");
    assert!(!junk.contains(">mail</a></td>") && !junk.contains(".Junk: 1"), "{junk}");
    let letters = links(&junk, "/mail/ann@mx.test/.Junk/");
    assert_eq!(letters.len(), 1, "{junk}");
    let (_, letter) = get(address, &letters[0]);
    assert!(letter.contains("Hello, junk.") && letter.contains(">of nobody<"), "{letter}");
    let (_, raw) = get(address, &format!("{}/raw", letters[0]));
    assert!(raw.contains("\nAuthentication-Results: mx.test;"), "{raw}");
    for none in [".None", "..", ".Junk/1", ".%2fx"] {
        let target = format!("GET /mail/ann@mx.test/{none} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        assert_eq!(status(&said(address, target.as_bytes())), 404, "{none}");
    }
    let (_, numbers) = get(address, "/metrics");
    for line in [
        "facteur_judged_total{method=\"dmarc\",result=\"fail\"} 1\n",
        "facteur_judged_total{method=\"dkim\",result=\"none\"} 2\n",
        "facteur_verdicts_total{verdict=\"accept\"} 1\n",
        "facteur_verdicts_total{verdict=\"junk\"} 1\n",
    ] {
        assert!(numbers.contains(line), "{line}: {numbers}");
    }
    server.stop();
}

#[test]
fn a_large_mailbox_has_several_pages() {
    let place = Place::new();
    let (server, address) = serve(&place, "");
    server.client().delivered(&["ann@mx.test"], b"Subject: first\r\n\r\nHello.\r\n");
    let cur = place.maildir("ann").join("cur");
    for second in 0..60 {
        let name = format!("{}.M1P1.mx,S=10:2,S", 1_700_000_000 + second);
        std::fs::write(cur.join(name), format!("Subject: old {second}\n\nx\n")).unwrap();
    }
    let letters = |path: &str| {
        let (_, page) = get(address, path);
        (links(&page, "/mail/ann@mx.test/").len(), links(&page, "/mail/ann@mx.test?"), page)
    };
    let (count, turns, page) = letters("/mail/ann@mx.test");
    assert!(page.contains("Messages<b>61</b>") && page.contains(">first<"), "{page}");
    assert!(page.contains(">old 59<") && page.contains(">old 11<") && !page.contains(">old 10<"));
    assert_eq!((count, turns), (50, vec!["/mail/ann@mx.test?page=2".to_owned()]));
    let (count, turns, page) = letters("/mail/ann@mx.test?page=2");
    assert!(page.contains(">old 0<") && page.contains("<a href=\"/mail/ann@mx.test\">← newer"));
    assert_eq!((count, turns), (11, Vec::new()));
    assert_eq!(letters("/mail/ann@mx.test?page=18446744073709551615").0, 0);
    let (_, first) = get(address, "/");
    assert!(first.contains(">61</span>") && first.contains(">60</span>"), "{first}");
    let head = said(address, format!("HEAD /mail HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes());
    assert!(status(&head) == 200 && head.ends_with("\r\n\r\n"), "{head}");
    server.stop();
}

#[test]
fn a_story_is_told_as_the_command_tells_it() {
    let place = Place::new();
    let (server, address) = serve(&place, "");
    let mut client = server.client();
    client.expect("MAIL FROM:<eve@evil.test>", "250 ");
    let refused = client.expect("RCPT TO:<x@elsewhere.test>", "550 ");
    let session = refused.trim_end().rsplit_once('[').unwrap().1.trim_end_matches(']').to_owned();
    client.expect("RSET", "250 ");
    client.delivered(&["ann@mx.test"], b"Subject: x\r\n\r\nHello.\r\n");
    let (_, first) = get(address, "/");
    let stories = links(&first, "/trace/");
    assert!(stories.contains(&format!("/trace/{session}")), "{stories:?} {session}");
    let mut told = String::new();
    crate::support::until("the story is written", || {
        let target = format!("/trace/{session}");
        let answer =
            said(address, format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes());
        told = answer;
        told.contains("delivered to=ann@mx.test")
    });
    assert!(
        told.contains("C: RCPT TO:&lt;x@elsewhere.test&gt;") && told.contains("S: 550 "),
        "{told}"
    );
    // The time stands in an element of its own, which a phone puts above the line.
    let line = told.lines().find(|line| line.contains("C: RCPT TO:&lt;x@")).unwrap();
    let clock =
        line.strip_prefix("<div><time>").and_then(|rest| rest.split_once("</time>")).unwrap();
    assert_eq!(
        (clock.0.len(), &clock.1[..17]),
        ("14:00:00.123".len(), "<span>C: RCPT TO:"),
        "{line}"
    );
    let (_, style) = get(address, "/style.css");
    let phone = style.split("@media (max-width").nth(1).unwrap();
    assert!(phone.contains(".story time { display: block"), "{style}");
    server.stop();
}

#[test]
fn an_address_has_a_line_for_each_message() {
    let place = Place::new();
    let (server, address) = serve(&place, "");
    let mut client = server.client();
    client.delivered(&["ann@mx.test"], b"Subject: x\r\n\r\nHello.\r\n");
    client.delivered(&["ann@mx.test", "bob@mx.test"], b"Subject: y\r\n\r\nHello.\r\n");
    let mut told = String::new();
    crate::support::until("both are told", || {
        let target = "/trace/ANN@mx.test";
        told =
            said(address, format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes());
        told.matches("<b class=\"good\">delivered</b>").count() == 2
    });
    assert!(told.contains("Messages<b>2</b>") && !told.contains("EHLO"), "{told}");
    let links = links(&told, "/trace/");
    assert_eq!(links.len(), 2, "{told}");
    let (_, story) = get(address, &links[0]);
    assert!(story.contains("delivered to=ann@mx.test"), "{story}");
    server.stop();
}

#[test]
fn the_first_page_shows_senders_room_and_failed_logins() {
    let place = Place::new();
    let (server, address) = serve(&place, "");
    let mut client = server.client();
    client.expect("MAIL FROM:<zoe@far.test>", "250 ");
    client.expect("RCPT TO:<ann@mx.test>", "250 ");
    client.expect("DATA", "354 ");
    client.send(b"Subject: x\r\n\r\nHello.\r\n.\r\n");
    assert!(client.reply().starts_with("250 "));
    let (_, page) = get(address, "/");
    assert!(page.contains("<span class=\"dim\">from</span> zoe@far.test"), "{page}");
    assert!(page.contains("<span>failed logins</span>"), "{page}");
    let disks = page.split("<h2>Disk").nth(1).and_then(|rest| rest.split("</section>").next());
    let disks = disks.unwrap_or_else(|| panic!("no disks: {page}"));
    for dir in ["spool", "mail/mx.test"] {
        assert!(disks.contains(&format!("{}</div>", place.at(dir).display())), "{dir}: {disks}");
    }
    assert!(disks.contains("iB<"), "{disks}");
    server.stop();
}

#[test]
fn a_proxy_gets_no_mail() {
    let place = Place::new();
    let (server, address) = serve(&place, "");
    server.client().delivered(&["ann@mx.test"], b"Subject: secret\r\n\r\nHello.\r\n");
    let asked = |path: &str, field: &str| {
        said(address, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{field}\r\n").as_bytes())
    };
    for path in ["/mail", "/mail/ann@mx.test", "/trace/ann@mx.test"] {
        for field in ["Forwarded: for=192.0.2.1", "x-forwarded-for: 192.0.2.1", "Via: 1.1 proxy"] {
            let answer = asked(path, &format!("{field}\r\n"));
            assert!(status(&answer) == 403 && answer.contains("without a proxy"), "{answer}");
            assert!(!answer.contains("ann@"), "{answer}");
        }
    }
    assert_eq!(status(&asked("/mail", "X-Other: x\r\n")), 200);
    assert_eq!(status(&asked("/", "Via: 1.1 proxy\r\n")), 200);
    server.stop();
}

/// What another user of this machine gets; status and page.
fn as_nobody(address: SocketAddr, path: &str) -> (u16, String) {
    let url = format!("http://{address}{path}");
    let curl =
        ["--reuid=65533", "--regid=65533", "--clear-groups", "curl", "-sS", "-i", "--noproxy", "*"];
    let output =
        Command::new("setpriv").args(curl).args(["--max-time", "30", &url]).output().unwrap();
    let answer = text(&output.stdout);
    (status(&answer), answer)
}

#[test]
fn other_users_of_the_machine_read_no_mail() {
    if !has_program("setpriv", "--version") || !has_program("curl", "--version") {
        return skip("setpriv or curl is not installed");
    }
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can become another user");
    }
    let place = Place::new();
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let (server, address) = serve(&place, "");
    server.client().delivered(&["ann@mx.test"], b"Subject: secret\r\n\r\nHello.\r\n");
    let (_, list) = get(address, "/mail/ann@mx.test");
    let letter = links(&list, "/mail/ann@mx.test/").remove(0);
    let raw = format!("{letter}/raw");
    for path in ["/mail", "/mail/ann@mx.test", &letter, &raw, "/trace/ann@mx.test", "/mail/x"] {
        let (code, answer) = as_nobody(address, path);
        assert!(
            code == 403 && !answer.contains("secret") && !answer.contains("ann@"),
            "{path}: {answer}"
        );
        assert!(answer.contains("ssh -L"), "{path}: {answer}");
    }
    for path in ["/", "/metrics", "/style.css"] {
        assert_eq!(as_nobody(address, path).0, 200, "{path}");
    }
    server.stop();
}
