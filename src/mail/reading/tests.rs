use super::*;
use proptest::prelude::*;

fn text_of(message: &str) -> String {
    read(message.as_bytes()).text
}

#[test]
fn texts_of_all_encodings() {
    for (head, body, text) in [
        ("", "Grüße\r\n", "Grüße\n"),
        ("Content-Type: text/plain; charset=iso-8859-15\n", "a", "a"),
        ("Content-Transfer-Encoding: quoted-printable\n", "Gr=C3=BC=\n=C3=9Fe \n x", "Grüße\n x"),
        ("Content-Transfer-Encoding: BASE64\n", "R3LD\nvMOfZQ==\n", "Grüße"),
        (
            "Content-Type: text/plain; charset=koi8-r\nContent-Transfer-Encoding: base64\n",
            "8NLJ18XU",
            "Привет",
        ),
        // What is broken stays as it lies there.
        ("Content-Transfer-Encoding: quoted-printable\n", "50% = x", "50% = x"),
        ("Content-Transfer-Encoding: base64\n", "no! base64", "no! base64"),
        ("Content-Type: text/plain; charset=no-such\n", "é", "é"),
        ("Content-Type: multipart/mixed\n", "no boundary", "no boundary"),
        (
            "Content-Type: multipart/mixed; boundary=x\n",
            "not one of its lines",
            "not one of its lines",
        ),
    ] {
        assert_eq!(text_of(&format!("Subject: x\n{head}\n{body}")), text, "{head}{body}");
    }
    let old = read(b"Subject: x\n\nGr\xfc\xdfe");
    assert_eq!((old.text.as_str(), old.is_of_html), ("Grüße", false));
    assert_eq!(read(b""), Readable::default());
}

#[test]
fn fields_are_decoded_and_the_first_of_each_counts() {
    let reading = read(
        b"From: =?utf-8?q?Andr=C3=A9?=\n <a@b.test>\nsubject: one\nSubject: two\nTO: x@y.test\n\
          Message-ID: <1@b.test>\nX-Other: no\n\nSubject: three\n",
    );
    let fields: Vec<(&str, &str)> =
        reading.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let expected = [
        ("Subject", "one"),
        ("From", "André <a@b.test>"),
        ("To", "x@y.test"),
        ("Message-ID", "<1@b.test>"),
    ];
    assert_eq!(fields, expected);
}

const NESTED: &str = "Content-Type: multipart/mixed; boundary=\"a b\"\n\npreamble\n--a b\n\
    Content-Type: multipart/alternative; boundary=c\n\n--c\nContent-Type: text/html\n\n\
    <p>Hello <b>HTML</b></p>\n--c\nContent-Type: text/plain\n\nHello text\n--c--\n--a b\n\
    Content-Type: application/pdf; name=a.pdf\nContent-Disposition: attachment;\n filename=\"b.pdf\"\n\
    Content-Transfer-Encoding: base64\n\nAAAA\n--a b\nContent-Type: message/rfc822\n\nSubject: inner\n\n\
    x\n--a b\n\nsecond text\n--a b--\nepilogue\n";

#[test]
fn parts_are_chosen_shown_and_named() {
    let reading = read(NESTED.as_bytes());
    assert_eq!(reading.text, "Hello text\nsecond text");
    assert!(!reading.is_of_html && !reading.is_cut);
    let attached = |kind: &str, name: &str, octets| Attached {
        kind: kind.to_owned(),
        name: name.to_owned(),
        octets,
    };
    let expected = [attached("application/pdf", "b.pdf", 4), attached("message/rfc822", "", 17)];
    assert_eq!(reading.attached, expected);
}

#[test]
fn of_html_only_its_words_are_left() {
    let reading = read(
        b"Content-Type: text/html\n\n<html><head><title>T</title><style>p{}</style></head><body \
          onload=evil()><script>evil()</script><p>Hello &lt;you&gt;</p><a href='javascript:evil()'>\
          link</a><img src=http://evil.test/x></body></html>",
    );
    assert!(reading.is_of_html && !reading.text.contains("evil"), "{reading:?}");
    assert!(reading.text.contains("Hello <you>") && reading.text.contains("link"), "{reading:?}");
}

#[test]
fn a_blank_alternative_hides_no_other() {
    let read = |plain: &str, html: &str| {
        let part = |kind: &str, text: &str| format!("--c\nContent-Type: text/{kind}\n\n{text}\n");
        let parts = [part("plain", plain), part("html", html)].concat();
        let head = "Content-Type: multipart/alternative; boundary=c\n\n";
        let reading = read(format!("{head}{parts}--c--\n").as_bytes());
        (reading.text, reading.is_of_html)
    };
    assert_eq!(read(" \n\u{a0}\n", "<p>News</p>"), ("News\n".to_owned(), true));
    assert_eq!(read("Text", "<p>News</p>"), ("Text".to_owned(), false));
    assert_eq!(read("", "<img src=x>"), (String::new(), false));
}

#[test]
fn html_keeps_its_lines_and_hides_what_is_for_programs() {
    for (html, text) in [
        ("<div>Pay 10</div><div>20 days</div>", "Pay 10\n20 days\n"),
        ("<TABLE width=1><tr><td>Total</td><TD class=x>5</TD></tr></TABLE>", "Total 5\n"),
        ("<h1>A</h1>\n<ul>\n <li>b <b>c</b> d\n <li>e</ul>", "A\nb c d\ne\n"),
        ("one<br/>two<BR>\n<br>three<hr>four", "one\ntwo\n\nthree\nfour"),
        ("<style type=\"text/css\">p { a: b }</style><p>x", "x"),
        ("<SCRIPT src='a'>if (a < b) {'</p>'}</Script >x", "x"),
        ("<head profile=a><title lang=de>T</title><meta x></head>x", "x"),
        ("<!-- <p>no --><!--[if mso]><style>p{}</style><![endif]-->x<!-->y", "xy"),
        ("1 < 2 &lt;b&gt; <3 &amp; <i>4</i>", "1 < 2 <b> <3 & 4"),
        ("x<style>p{}", "x"),
        ("x<", "x<"),
        ("x<a", "x"),
        ("x<!--y", "x"),
    ] {
        assert_eq!(html::text(html), text, "{html}");
    }
}

#[test]
fn hostile_nesting_is_bounded() {
    let deep = "Content-Type: multipart/mixed; boundary=b\n\n--b\n".repeat(20_000);
    assert!(read(deep.as_bytes()).attached.len() <= PARTS_MAX);
    let letters = "Content-Type:message/rfc822\n\n".repeat(36_000);
    assert_eq!(read(letters.as_bytes()).attached.len(), 1);
    let many =
        format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\n\nx\n".repeat(9_000));
    let reading = read(many.as_bytes());
    assert!(reading.is_cut && reading.text.len() < 3 * PARTS_MAX);
    let long = read("x".repeat(TEXT_SHOWN + 9).as_bytes());
    assert!(long.text.len() <= TEXT_SHOWN);
    let long = read(format!("Subject: x\n\n{}", "ü".repeat(TEXT_SHOWN)).as_bytes());
    assert!(long.is_cut && long.text.len() == TEXT_SHOWN);
}

proptest! {
    #[test]
    fn any_octets_are_read(octets in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let reading = read(&octets);
        prop_assert!(reading.attached.len() <= PARTS_MAX);
    }

    /// Pieces that mean something, in any order.
    #[test]
    fn any_pieces_are_read(pieces in proptest::collection::vec(0usize..PIECES.len(), 0..60)) {
        let message: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
        let reading = read(message.as_bytes());
        prop_assert!(reading.attached.len() <= PARTS_MAX);
    }
}

const PIECES: [&str; 30] = [
    "Content-Type: ",
    "multipart/mixed",
    "multipart/alternative; ",
    "boundary=b",
    ";",
    "\n",
    "\r\n",
    "--b\n",
    "--b--\n",
    "\n\n",
    "Content-Transfer-Encoding: base64\n",
    "=",
    "=3",
    "<",
    ">",
    "<!--",
    "-->",
    "&",
    "&#x",
    "&amp;",
    "</p",
    "<script>",
    "text/html\n",
    "message/rfc822\n",
    "\u{0}",
    "ü",
    "(",
    "\"",
    "Content-Transfer-Encoding: quoted-printable\n",
    "; charset=utf-16",
];
