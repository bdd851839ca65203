use super::*;
use crate::mail::header::Header;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use proptest::prelude::*;

fn plan(message: &[u8], step: usize) -> Result<ConversionPlan, NotConverted> {
    let mut survey = FirstPass::default();
    message.chunks(step).for_each(|piece| survey.feed(piece));
    survey.finish()
}

fn convert_by(message: &[u8], step: usize) -> Result<Vec<u8>, NotConverted> {
    let plan = plan(message, step)?;
    let (mut converter, mut out) = (Converter::new(&plan), Vec::new());
    message.chunks(step).for_each(|piece| converter.feed(piece, &mut out));
    converter.finish(&mut out);
    assert!(out.is_ascii(), "{}", out.escape_ascii());
    Ok(out)
}

/// The same at each split.
fn convert(message: &[u8]) -> Result<Vec<u8>, NotConverted> {
    let whole = convert_by(message, message.len().max(1));
    for step in 1..message.len().min(90) {
        assert_eq!(convert_by(message, step), whole, "at {step}: {}", message.escape_ascii());
    }
    whole
}

#[track_caller]
fn check(message: &str, expected: &str) {
    let out = String::from_utf8(convert(message.as_bytes()).unwrap()).unwrap();
    assert_eq!(out, expected);
}

fn seven(field: &[u8], out: &mut Vec<u8>) {
    match Header::read(field).fields.first() {
        Some(field) => words::seven(field, out),
        None => words::marked(field, out),
    }
}

#[test]
fn text_without_mime() {
    check(
        "Subject: hi\n\nh\u{e9}llo \n",
        "Subject: hi\nMIME-Version: 1.0\nContent-Type: text/plain; charset=unknown-8bit\n\
         Content-Transfer-Encoding: quoted-printable\n\nh=C3=A9llo=20\n",
    );
    // No header at all, and no empty line.
    check(
        "h\u{e9}",
        "MIME-Version: 1.0\nContent-Type: text/plain; charset=unknown-8bit\n\
         Content-Transfer-Encoding: quoted-printable\n\nh=C3=A9",
    );
    check("Subject: x\n\nall = 7 bits \n", "Subject: x\n\nall = 7 bits \n");
}

#[test]
fn labels_are_replaced_where_they_lie() {
    for label in ["8bit", "binary", "7BIT", "utf-8", "8bit\nContent-Transfer-Encoding: binary"] {
        check(
            &format!(
                "MIME-Version: 1.0\nContent-Transfer-Encoding: {label}\nContent-Type: text/html\n\n\u{e9}\n"
            ),
            "MIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\nContent-Type: text/html\n\n=C3=A9\n",
        );
    }
    // Encoded, and yet with 8 bits: these alone are mended.
    let head = "MIME-Version: 1.0\nContent-Type: text/plain\nContent-Transfer-Encoding:";
    check(
        &format!("{head} Quoted-Printable\n\n=C3=A9 \u{e9}=\nx \n"),
        &format!("{head} Quoted-Printable\n\n=C3=A9 =C3=A9=\nx \n"),
    );
    check(&format!("{head} base64\n\nw6\u{e9}k=\n"), &format!("{head} base64\n\nw6k=\n"));
}

#[test]
fn part_by_part() {
    check(
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"a b\"\n\
         Content-Transfer-Encoding: 8bit\n\nfor old \u{e9} readers\n--a b\n\nno header \u{e9}\n--a b\n\
         Content-Type: text/plain\n\nseven = \n--a b\nContent-Type: message/rfc822\n\
         Content-Transfer-Encoding: 8bit\n\nSubject: inner\nContent-Type: multipart/digest; boundary=x\n\
         \n--x\n\nSubject: \u{e9}\n\n\u{e9}\n--x--\n--a b\nContent-Type: application/x; name=\"\u{e9}.x\"\n\n\
         \u{e9}\0\n--a b--\nbehind \u{e9}\n",
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"a b\"\n\
         Content-Transfer-Encoding: 7bit\n\nfor old ?? readers\n--a b\n\
         Content-Type: text/plain; charset=unknown-8bit\n\
         Content-Transfer-Encoding: quoted-printable\n\nno header =C3=A9\n--a b\n\
         Content-Type: text/plain\n\nseven = \n--a b\nContent-Type: message/rfc822\n\
         Content-Transfer-Encoding: 7bit\n\nSubject: inner\nContent-Type: multipart/digest; boundary=x\n\
         \n--x\n\nSubject: =?utf-8?Q?=C3=A9?=\nMIME-Version: 1.0\n\
         Content-Type: text/plain; charset=unknown-8bit\n\
         Content-Transfer-Encoding: quoted-printable\n\n=C3=A9\n--x--\n--a b\n\
         Content-Type: application/x; name*=utf-8''%C3%A9.x\n\
         Content-Transfer-Encoding: quoted-printable\n\n=C3=A9=00\n--a b--\nbehind ??\n",
    );
}

#[test]
fn broken_structure() {
    let head = "MIME-Version: 1.0\nContent-Type: ";
    let text = "MIME-Version: 1.0\nContent-Type: text/plain; charset=unknown-8bit\n\
                Content-Transfer-Encoding: quoted-printable\n\n";
    // No boundary, or none that ever comes: text that nobody can take apart.
    check(&format!("{head}multipart/mixed\n\n\u{e9}\n"), &format!("{text}=C3=A9\n"));
    check(
        &format!("{head}multipart/mixed; boundary=x\n\n--y\n\u{e9}\n"),
        &format!("{text}--y\n=C3=A9\n"),
    );
    // No end of the last part, and of its header.
    let part = format!("{head}multipart/mixed; boundary=x\n\n--x\nA: b\n");
    let label = "Content-Type: text/plain; charset=unknown-8bit\nContent-Transfer-Encoding: quoted-printable\n";
    check(&format!("{part}\n\u{e9}"), &format!("{part}{label}\n=C3=A9"));
    check(&format!("{part}no field \u{e9}\n"), &format!("{part}{label}\nno field =C3=A9\n"));
    check(&format!("{part}--x--\n\u{e9}"), &format!("{part}--x--\n??"));
}

#[test]
fn long_lines_are_broken_softly() {
    let line = format!("{}\u{e9}", "a-".repeat(2000));
    let out = convert_by(format!("A: b\n\n{line}\n").as_bytes(), 7).unwrap();
    let out = String::from_utf8(out).unwrap();
    let body = out.split_once("\n\n").unwrap().1;
    assert!(body.lines().all(|line| line.len() <= 76 && !line.starts_with('-')));
    assert_eq!(quoted_printable_decode(body.as_bytes()).unwrap(), format!("{line}\n").as_bytes());
}

#[test]
fn what_must_not_be_touched() {
    let signed =
        |kind: &str| format!("MIME-Version: 1.0\nContent-Type: {kind}\n\n--x\n\n\u{e9}\n--x--\n");
    for kind in [
        "multipart/signed; boundary=x",
        "Multipart/Encrypted; boundary=\"x\"",
        "application/pkcs7-mime; name=a",
        "APPLICATION/x-pkcs7-mime",
    ] {
        assert_eq!(convert(signed(kind).as_bytes()), Err(NotConverted::Signed), "{kind}");
        // Wherever it is.
        let inside = format!(
            "Content-Type: multipart/mixed; boundary=y\n\n--y\n\n\u{e9}\n--y\n\
             Content-Type: message/rfc822\n\n{}\n--y--\n",
            signed(kind)
        );
        assert_eq!(convert(inside.as_bytes()), Err(NotConverted::Signed), "{kind}");
    }
    let partial = signed("message/partial; number=1");
    assert_eq!(convert(partial.as_bytes()), Err(NotConverted::Fragment));
    let mut deep = String::new();
    (0..200).for_each(|_| deep.push_str("Content-Type: message/rfc822\n\n"));
    assert_eq!(convert_by(deep.as_bytes(), 1000), Err(NotConverted::Structure));
    let many = format!("Content-Type: multipart/mixed; boundary=x\n\n{}", "--x\n\n".repeat(20_000));
    assert_eq!(convert_by(many.as_bytes(), 1000), Err(NotConverted::Structure));
    let wide = format!("A: {}\n\nx", "a".repeat(3 << 20));
    assert_eq!(convert_by(wide.as_bytes(), 1000), Err(NotConverted::Structure));
}

#[test]
fn headers() {
    for (field, expected) in [
        ("Subject: h\u{e9} \u{fc} x\n", "Subject: =?utf-8?Q?h=C3=A9_=C3=BC?= x\n"),
        ("Subject: =?utf-8?Q?a?= \u{e9}\n", "Subject: =?utf-8?Q?a?= =?utf-8?Q?_=C3=A9?=\n"),
        ("Subject: \u{e9}\n b\u{e9}\n c\n", "Subject: =?utf-8?Q?=C3=A9_b=C3=A9?=\n c\n"),
        ("From: J\u{f6}rg \u{dc} <a@b>\n", "From: =?utf-8?Q?J=C3=B6rg_=C3=9C?= <a@b>\n"),
        (
            "To: \"J\u{f6}, \\\"x\" <a@b>, c@d (\u{e9} x)\n",
            "To: =?utf-8?Q?J=C3=B6=2C_=22x?= <a@b>, c@d (=?utf-8?Q?=C3=A9?= x)\n",
        ),
        (
            "To: \"\u{e9}\"<a@b>, \u{e9}@x, <\u{e9}@y>\n",
            "To: =?utf-8?Q?=C3=A9?= <a@b>, ??@x, <??@y>\n",
        ),
        (
            "Content-Disposition: attachment; filename=\u{e9};\n size=1\n",
            "Content-Disposition: attachment; filename*=utf-8''%C3%A9;\n size=1\n",
        ),
        ("Content-Type: \u{e9}; x=\"a;\u{e9}\"\n", "Content-Type: ??; x*=utf-8''a%3B%C3%A9\n"),
        ("\u{e9}: x\n", "??: x\n"),
    ] {
        let mut out = Vec::new();
        seven(field.as_bytes(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
    let mut out = Vec::new();
    seven(b"Subject: \xe9\n", &mut out);
    assert_eq!(out, b"Subject: =?unknown-8bit?Q?=E9?=\n");
    let mut out = Vec::new();
    seven(format!("Subject: {}\n", "\u{e9}".repeat(500)).as_bytes(), &mut out);
    assert!(out.split(|octet| *octet == b'\n').all(|line| line.len() <= 84));
    assert_eq!(crate::mail::words::decode(&out[8..]).trim(), "\u{e9}".repeat(500));
}

proptest! {
    #[test]
    fn any_text_comes_back(body in proptest::collection::vec(
        prop_oneof![Just(b' '), Just(b'\n'), Just(b'='), Just(b'-'), Just(b'.'), any::<u8>()], 0..400,
    ), step in 1_usize..50) {
        let message = [b"MIME-Version: 1.0\nContent-Type: text/plain\n\n", &body[..]].concat();
        let out = convert_by(&message, step).unwrap();
        prop_assert_eq!(&out, &convert_by(&message, message.len()).unwrap());
        if body.is_ascii() {
            prop_assert_eq!(out, message);
        } else {
            let at = out.windows(2).position(|two| two == b"\n\n").unwrap() + 2;
            prop_assert_eq!(decoded(&out[at..]), body);
        }
    }

    #[test]
    fn anything_at_all_has_seven_bits_then(lines in proptest::collection::vec(
        prop_oneof![
            Just("Content-Type: multipart/mixed; boundary=x\n".to_owned()), Just("--x\n".to_owned()),
            Just("--x--\n".to_owned()), Just("\n".to_owned()), Just("Content-Type: message/rfc822\n".to_owned()),
            Just("Content-Transfer-Encoding: quoted-printable\n".to_owned()), Just("--x".to_owned()),
            Just("Content-Type: multipart/digest; boundary=y\n".to_owned()), Just("--y\n".to_owned()),
            "[ -~\u{e9}\u{fc}\n]{0,20}",
        ], 0..40), step in 1_usize..30) {
        let message = lines.concat();
        let out = convert_by(message.as_bytes(), step);
        prop_assert_eq!(&out, &convert_by(message.as_bytes(), message.len().max(1)));
    }
}

/// RFC 2045 §6.7, to the letter: a crate's decoder may be as liberal as it likes.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((&octet, more)) = rest.split_first() {
        rest = more;
        match (octet, more) {
            (b'=', [b'\n', more @ ..]) => rest = more,
            (b'=', [high, low, more @ ..]) => {
                let digits = [*high, *low];
                out.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                rest = more;
            }
            _ => out.push(octet),
        }
    }
    out
}
