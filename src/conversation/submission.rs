//! The header of a message that a user submits, as it comes in: held until it is whole, completed, and
//! only then passed on (RFC 6409 §8). Other mail is never touched.

use crate::limits::SUBMITTED_HEADER_MAX;
use crate::mail::address::{Domain, Host, Mailbox};
use crate::mail::header::Reader;
use crate::mail::repair::{Completion, Domains, HeaderTooLong, SubmittedHeader};
use crate::policy;
use crate::site::Site;
use crate::smtp::reply::Reply;
use crate::store::disk::Disk;
use jiff::ZonedDateTime;
use std::sync::Arc;

/// The beginning of a message, up to where its header ends.
pub(super) struct HeldHeader {
    octets: Vec<u8>,
    reader: Reader<()>,
    site: Arc<Site>,
    disk: Arc<dyn Disk>,
    user: Mailbox,
}

impl HeldHeader {
    pub fn new(site: Arc<Site>, disk: Arc<dyn Disk>, user: Mailbox) -> HeldHeader {
        let reader = Reader::bounded((), SUBMITTED_HEADER_MAX);
        HeldHeader { octets: Vec::new(), reader, site, disk, user }
    }

    /// Takes the next octets; gives the completed header, with what came behind it, once it is whole.
    /// `is_whole`: nothing comes any more. Fails when the header is longer than [`SUBMITTED_HEADER_MAX`], or
    /// has several From fields.
    pub fn take(&mut self, octets: &[u8], is_whole: bool) -> Result<Option<Vec<u8>>, Reply> {
        self.octets.extend_from_slice(octets);
        self.reader.feed(octets);
        if !is_whole && self.reader.end().is_none() {
            return Ok(None);
        }
        let header = SubmittedHeader::read(&self.octets, is_whole).map_err(|why| refusal(&why))?;
        if header.as_ref().is_some_and(SubmittedHeader::has_several_from) {
            let text = "a message has one From field: of several, each reader shows another";
            return Err(Reply::new(550, "5.6.0", text));
        }
        Ok(header.map(|header| {
            let mut repaired = self.completed(&header);
            repaired.extend_from_slice(&self.octets[header.body_at()..]);
            repaired
        }))
    }

    fn completed(&self, header: &SubmittedHeader<'_>) -> Vec<u8> {
        let is_own = |author: &Mailbox| {
            policy::is_own(&self.site, &*self.disk, &self.user, author).unwrap_or(false)
        };
        let (hostname, domain) = (&self.site.config.hostname, self.domain());
        header.completed(&Completion {
            date: &ZonedDateTime::now(),
            message_id: &format!("{}@{hostname}", crate::id::message()),
            name: None,
            from: &self.user.to_string(),
            sender: header.wants_sender(domain, is_own).then_some(&self.user),
            domain: Domains::Known(domain, domain),
        })
    }

    /// Where addresses without a domain are.
    fn domain(&self) -> &Domain {
        match &self.user.host {
            Host::Domain(domain) => domain,
            Host::Literal(_) => &self.site.config.hostname,
        }
    }
}

fn refusal(why: &HeaderTooLong) -> Reply {
    Reply::new(552, "5.3.4", why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::store::memory::MemoryDisk;
    use std::path::Path;

    fn head() -> HeldHeader {
        let config = "hostname = \"mx.test\"\n[domain.\"mx.test\"]\nany_user = true\n";
        let config = Config::parse(config, Path::new("facteur.toml")).unwrap();
        let (site, _) = Site::read(config).unwrap();
        let user = Mailbox::parse("ann@mx.test").unwrap();
        HeldHeader::new(Arc::new(site), Arc::new(MemoryDisk::new()), user)
    }

    /// What is passed on of a message that comes in pieces of `step`.
    fn passed(text: &str, step: usize) -> Result<String, String> {
        let (mut head, mut out) = (Some(head()), Vec::new());
        let mut take = |piece: &[u8], is_whole| -> Result<(), Reply> {
            match &mut head {
                None => out.extend_from_slice(piece),
                Some(waiting) => {
                    if let Some(done) = waiting.take(piece, is_whole)? {
                        out.extend(done);
                        head = None;
                    }
                }
            }
            Ok(())
        };
        let pieces = text.as_bytes().chunks(step).try_for_each(|piece| take(piece, false));
        let done = pieces.and_then(|()| take(b"", true)).map_err(|reply| reply.to_string());
        done.map(|()| String::from_utf8(out).unwrap())
    }

    const WHOLE: &str = "Date: today\nMessage-ID: <x@y>\n";

    #[test]
    fn at_any_split() {
        for (text, expected) in [
            ("From: ann@mx.test\n\nhi\n\nbcc: x\n", "From: ann@mx.test\n\nhi\n\nbcc: x\n"),
            ("From: ann+tag@mx.test\nBcc: eve@far.test\n\nhi\n", "From: ann+tag@mx.test\n\nhi\n"),
            ("From: eve@far.test\n\n", "From: eve@far.test\nSender: ann@mx.test\n\n"),
            (
                "From: eve@far.test\nSender: eve@far.test\n\n",
                "From: eve@far.test\nSender: ann@mx.test\n\n",
            ),
            (
                "From: ann@mx.test, eve@far.test\n\n",
                "From: ann@mx.test, eve@far.test\nSender: ann@mx.test\n\n",
            ),
            (
                "To: bob, Eve <eve> (x),\n \"a b\" , c@far.test\nFrom: ann\n\nTo: bob\n",
                "To: bob@mx.test, Eve <eve@mx.test> (x),\n \"a b\"@mx.test , c@far.test\n\
                 From: ann@mx.test\n\nTo: bob\n",
            ),
            ("From: ann\nTo: Bob Smith, eve\n\n", "From: ann@mx.test\nTo: Bob Smith, eve\n\n"),
            ("From: ann\nTo: all:;\n\n", "From: ann@mx.test\nTo: all:;\n\n"),
            ("Subject: x\nno field\n", "Subject: x\nFrom: ann@mx.test\n\nno field\n"),
            ("", "From: ann@mx.test\n\n"),
        ] {
            let text = format!("{WHOLE}{text}");
            for step in 1..=text.len() {
                let passed = passed(&text, step);
                assert_eq!(passed, Ok(format!("{WHOLE}{expected}")), "{text} in {step}");
            }
        }
    }

    #[test]
    fn what_is_missing_is_added() {
        let passed = passed("\nhi\n", 1).unwrap();
        let fields: Vec<&str> =
            passed.lines().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(fields, ["Date:", "From:", "Message-ID:", "", "hi"], "{passed}");
        assert!(passed.contains("@mx.test>\n"), "{passed}");
    }

    #[test]
    fn two_authors_fields_are_refused() {
        for text in
            ["From: ann@mx.test\nFrom: ann@mx.test\n\n", "FROM : a\nX: y\nfrom: b@c.test\n\n"]
        {
            for step in [1, text.len()] {
                let refused = passed(text, step).unwrap_err();
                assert!(refused.starts_with("550 5.6.0 "), "{refused}");
            }
        }
        let text = format!("{WHOLE}From: <>\nFrom: ann@mx.test\n\nFrom: x\n");
        assert!(passed(&text, 3).unwrap().ends_with("\nSender: ann@mx.test\n\nFrom: x\n"));
    }

    #[test]
    fn a_header_without_end_is_refused() {
        let long = "X: y\n".repeat(SUBMITTED_HEADER_MAX / 5 + 10);
        let refused = passed(&long, 1000).unwrap_err();
        assert!(refused.starts_with("552 5.3.4 "), "{refused}");
        // Text that is long is no header.
        let text = format!("{WHOLE}From: ann@mx.test\n\n{long}");
        assert_eq!(passed(&text, 1000), Ok(text));
    }
}
