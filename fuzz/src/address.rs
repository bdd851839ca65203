//! Paths, mailboxes, domains, names of clients: what was read is written so that it reads the same, and
//! within the bounds of RFC 5321 §4.5.3.1.

use facteur::limits::{DOMAIN_MAX, LABEL_MAX, LOCAL_PART_MAX, PATH_MAX};
use facteur::mail::address::{
    ClientName, Domain, ForwardPath, Host, LocalPart, Mailbox, ReversePath, is_file_name,
};
use facteur::mail::srs;

pub fn run(data: &[u8]) {
    if let Ok((path, rest)) = ReversePath::parse(data) {
        assert!(data.ends_with(rest) && rest.len() < data.len());
        if let ReversePath::Mailbox(mailbox) = &path {
            check(mailbox);
            let text = format!("<{mailbox}>");
            assert_eq!(ReversePath::parse(text.as_bytes()), Ok((path, &b""[..])), "{text}");
        }
    }
    if let Ok((path, rest)) = ForwardPath::parse(data) {
        assert!(data.ends_with(rest) && rest.len() < data.len());
        if let ForwardPath::Mailbox(mailbox) = &path {
            let length = mailbox.local.as_str().len();
            assert!(length <= LOCAL_PART_MAX || srs::is_tagged(&mailbox.local), "{mailbox}");
        }
        let text = format!("<{path}>");
        assert_eq!(ForwardPath::parse(text.as_bytes()), Ok((path, &b""[..])), "{text}");
    }
    if let Ok(name) = ClientName::parse(data) {
        let shown = name.as_str().as_bytes();
        assert!(!shown.is_empty() && shown.len() <= DOMAIN_MAX + "\\xff...".len(), "{name:?}");
        let means_something = |b: &u8| !b.is_ascii_graphic() || b"()<>\"@,;".contains(b);
        assert!(!shown.iter().any(means_something), "{name:?}");
    }
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(domain) = Domain::parse(text) {
        check_domain(&domain);
    }
    if let Ok(mailbox) = Mailbox::parse(text) {
        check(&mailbox);
        let text = mailbox.to_string();
        assert_eq!(Mailbox::parse(&text), Ok(mailbox), "{text}");
    }
    if let Ok(local) = LocalPart::from_plain(text) {
        assert_eq!(local.as_str(), text);
        let host = Host::Domain(Domain::parse("mx.test").unwrap());
        let mailbox = Mailbox { local, host };
        let text = mailbox.to_string();
        assert_eq!(Mailbox::parse(&text), Ok(mailbox), "{text}");
    }
    if is_file_name(text) {
        let path = std::path::Path::new("/mail").join(text);
        assert_eq!(path.parent(), Some(std::path::Path::new("/mail")), "{text:?}");
        assert_eq!(path.file_name(), Some(std::ffi::OsStr::new(text)), "{text:?}");
    }
}

fn check(mailbox: &Mailbox) {
    let text = mailbox.to_string();
    assert!(!text.contains(char::is_control), "{text:?}");
    assert!(text.len() + "<>".len() <= PATH_MAX, "{text} has {} octets", text.len());
    if let Host::Domain(domain) = &mailbox.host {
        check_domain(domain);
    }
}

fn check_domain(domain: &Domain) {
    let text = domain.as_str();
    assert!((1..=DOMAIN_MAX).contains(&text.len()), "{text}");
    for label in text.split('.') {
        let good = |octet: u8| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        assert!((1..=LABEL_MAX).contains(&label.len()) && label.bytes().all(good), "{text}");
    }
    assert_eq!(Domain::parse(text).as_ref(), Ok(domain));
}
