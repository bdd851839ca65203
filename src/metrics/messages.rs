//! The pages of one mailbox and of one message in it. Changes nothing: no flag is set, new mail stays new.
//!
//! A message is shown by a few fields and its text ([`crate::mail::reading`]), or as its octets in plain
//! text, which no browser takes for anything else. The caller has checked that the client may see it.

use super::html::{Html, size, text};
use super::mailboxes::{MAIL, turn};
use super::page::{TRACE, moment, section, time};
use crate::limits::{MESSAGES_PAGE, NAMES_LISTED, QUOTED_MAX, READ_MAX};
use crate::mail::address::Mailbox;
use crate::mail::fields::Fields;
use crate::mail::reading::{Attached, read};
use crate::mail::words;
use crate::route::mailbox_here;
use crate::site::Site;
use crate::store::disk::Disk;
use crate::store::mailbox::browse::Count;
use crate::store::mailbox::{self, MailboxMessage, browse};
use crate::store::maildir::{exists, is_folder_name};
use jiff::Timestamp;
use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::slice;

/// The messages of one mailbox of ours, or of a folder in it.
pub(super) struct MailboxPages<'a> {
    site: &'a Site,
    disk: &'a dyn Disk,
    address: String,
    maildir: PathBuf,
    /// None: the inbox.
    folder: Option<String>,
}

impl<'a> MailboxPages<'a> {
    /// None where no mailbox of ours has this address.
    pub fn find(site: &'a Site, disk: &'a dyn Disk, address: &str) -> Option<MailboxPages<'a>> {
        let mailbox = Mailbox::parse(address).ok()?;
        let found = mailbox_here(site, disk, &mailbox).ok().flatten()?;
        let found = found.here()?.clone();
        let (address, maildir) = (found.mailbox.to_string(), found.maildir);
        Some(MailboxPages { site, disk, address, maildir, folder: None })
    }

    /// The same of a folder, where it has one of this name.
    pub fn folder(self, name: &str) -> Option<MailboxPages<'a>> {
        let maildir = self.maildir.join(name);
        let is_there = is_folder_name(name) && exists(self.disk, &maildir).unwrap_or(false);
        is_there.then(|| MailboxPages { maildir, folder: Some(name.to_owned()), ..self })
    }

    /// The segments of the page that lists them.
    fn path(&self) -> Vec<&str> {
        [MAIL, &self.address].into_iter().chain(self.folder.as_deref()).collect()
    }

    /// The way to that page: links above it, and itself unless it is the page shown.
    fn way(&self, is_linked: bool) -> Html {
        let way = Html::default().raw(" / ").link(&[MAIL], "mail").raw(" / ");
        match &self.folder {
            None if is_linked => way.link(&self.path(), &self.address),
            None => way.text(&self.address),
            Some(folder) => {
                let way = way.link(&[MAIL, &self.address], &self.address).raw(" / ");
                if is_linked { way.link(&self.path(), folder) } else { way.text(folder) }
            }
        }
    }

    /// A line about the folder for junk, where that has any mail.
    fn junk(&self) -> Html {
        let (html, name) = (Html::default(), self.site.junk());
        if self.folder.is_some() {
            return html;
        }
        let count = browse::count(self.disk, &self.maildir.join(name), NAMES_LISTED);
        match count.unwrap_or_default() {
            Count { all: 0, .. } => html,
            Count { all, is_cut, .. } => {
                let words = format!("{name}: {all}{}", if is_cut { "+" } else { "" });
                html.raw("<p>").link(&[MAIL, &self.address, name], words).raw("</p>\n")
            }
        }
    }

    fn hostname(&self) -> &'a str {
        self.site.config.hostname.as_str()
    }

    /// The page of its messages, newest first.
    pub fn page(&self, page: usize) -> Vec<u8> {
        let skip = (page - 1).saturating_mul(MESSAGES_PAGE);
        let html = match self.messages(skip) {
            Ok((shelf, rows)) => {
                let path = self.path();
                let has_more = shelf.all > skip.saturating_add(MESSAGES_PAGE);
                let table = match rows.is_empty() {
                    true => text("No messages."),
                    false => Html::default().table(["subject", "from", "delivered", "size"], rows),
                };
                let cut = match shelf.is_cut {
                    true => {
                        Html::default().element("p", "wait", "There are more than are looked at.")
                    }
                    false => Html::default(),
                };
                let count = format!("{}{}", shelf.all, if shelf.is_cut { "+" } else { "" });
                let turn = turn(&path, page, has_more, ["newer", "older"]);
                section("Messages", count, table.add(cut).add(turn).add(self.junk()))
            }
            Err(words) => section("Messages", "", Html::default().element("p", "bad", words)),
        };
        html.page(self.hostname(), &self.address, self.way(false))
    }

    fn messages(&self, skip: usize) -> Result<(browse::NewestMessages, Vec<[Html; 4]>), String> {
        let (disk, maildir, now) = (self.disk, self.maildir.as_path(), Timestamp::now());
        let words = |error: mailbox::MailboxError| error.to_string();
        let shelf =
            browse::newest(disk, maildir, NAMES_LISTED, skip, MESSAGES_PAGE).map_err(words)?;
        let rows = mailbox::read_each(disk, maildir, &shelf.messages, |message, file| {
            let head = file.and_then(|file| mailbox::read_head(&*file));
            let (subject, from) = match &head {
                Ok(head) => {
                    let fields = Fields::read(head);
                    (value(&fields.subject, "(no subject)"), value(&fields.from, "-"))
                }
                Err(error) => (format!("cannot read it: {error}"), "-".to_owned()),
            };
            let path = [self.path(), vec![message.key.as_str()]].concat();
            let mut link = Html::default().link(&path, subject);
            if message.is_new {
                link = link.raw(" ").element("b", "good", "new");
            }
            let when = Timestamp::try_from(message.delivered).unwrap_or_default();
            let size = Html::default().element("span", "number", size(message.size));
            [link, text(from), time(when, now), size]
        });
        let rows = rows.map_err(words)?.into_iter().flatten().collect();
        Ok((shelf, rows))
    }

    /// The page of one message; none when it does not exist.
    pub fn message(&self, key: &str) -> Option<Vec<u8>> {
        let (message, octets) = self.open(key)?;
        let way = self.way(true);
        let octets = match octets {
            Ok(octets) => octets,
            Err(error) => {
                let words = format!("It cannot be read: {error}");
                let html = section("Message", "", Html::default().element("p", "bad", words));
                return Some(html.page(self.hostname(), key, way));
            }
        };
        let reading = read(&octets);
        let subject = reading.fields.iter().find(|(name, _)| *name == "Subject");
        let subject = subject.map_or("(no subject)", |(_, value)| value.as_str());
        let mut html = Html::default().element("h1", "", cut(subject));
        html = html.add(self.fields(&message, &reading.fields));
        let is_cut = reading.is_cut || message.size > READ_MAX as u64;
        html = html.add(notes(reading.is_of_html, is_cut));
        let text = reading.text.trim_end_matches('\n');
        html = match text.trim() {
            "" => html.raw("<section><p class=\"dim\">There is no text.</p></section>\n"),
            _ => html.raw("<section><pre dir=\"auto\">").lines(text).raw("</pre></section>\n"),
        };
        html = html.add(attachments(&reading.attached));
        Some(html.page(self.hostname(), &cut(subject), way))
    }

    /// Fields of a message, and time and size of its file.
    fn fields(&self, message: &MailboxMessage, fields: &[(&str, String)]) -> Html {
        let mut html = Html::default().raw("<section><dl>");
        for (name, value) in fields.iter().filter(|(name, _)| *name != "Subject") {
            html = html.element("dt", "", name).raw("<dd>");
            html = match *name {
                "Message-ID" => html.link(&[TRACE, value.trim()], value),
                _ => html.text(value),
            };
            html = html.raw("</dd>");
        }
        let when = Timestamp::try_from(message.delivered).unwrap_or_default();
        html.element("dt", "", "delivered")
            .element("dd", "", moment(when))
            .element("dt", "", "size")
            .raw("<dd>")
            .text(format!("{}, ", size(message.size)))
            .link(&[self.path(), vec![&message.key, "raw"]].concat(), "as it lies there")
            .raw("</dd></dl></section>\n")
    }

    /// The octets of one message, or its start.
    pub fn octets(&self, key: &str) -> Option<Vec<u8>> {
        let (message, octets) = self.open(key)?;
        let mut octets = octets.unwrap_or_else(|error| format!("cannot read it: {error}\n").into());
        if message.size > octets.len() as u64 {
            octets.extend_from_slice(b"\n[cut here; facteur mail show has all of it]\n");
        }
        Some(octets)
    }

    /// The start of a message.
    fn open(&self, key: &str) -> Option<(MailboxMessage, io::Result<Vec<u8>>)> {
        let message = browse::named(self.disk, &self.maildir, key).ok().flatten()?;
        let read =
            mailbox::read_each(self.disk, &self.maildir, slice::from_ref(&message), |_, file| {
                file.and_then(|file| file.read_up_to(0, READ_MAX))
            });
        let read = read.ok()?.into_iter().next().flatten()?;
        Some((message, read))
    }
}

/// Notes on how the text differs from the message.
fn notes(is_of_html: bool, is_cut: bool) -> Html {
    let mut html = Html::default();
    if is_of_html {
        let words = "It is HTML alone: this is its text, without links and pictures.";
        html = html.element("p", "wait", words);
    }
    if is_cut {
        let words = "It is too large to be shown whole: this is its beginning.";
        html = html.element("p", "wait", words);
    }
    html
}

/// The attachments, which are only named.
fn attachments(attached: &[Attached]) -> Html {
    if attached.is_empty() {
        return Html::default();
    }
    let rows = attached.iter().map(|Attached { kind, name, octets }| {
        let name = if name.is_empty() { "-" } else { name };
        let size = Html::default().element("span", "number", size(*octets as u64));
        [text(cut(name)), text(cut(kind)), size]
    });
    let table = Html::default().table(["name", "kind", "size"], rows);
    section("Attached, and not shown", attached.len(), table)
}

/// A decoded field for a list, cut.
fn value(raw: &Option<Vec<u8>>, none: &str) -> String {
    let text = words::decode(raw.as_deref().unwrap_or_default());
    if text.trim().is_empty() { none.to_owned() } else { cut(&text) }
}

/// At most [`QUOTED_MAX`] characters.
fn cut(text: impl Display) -> String {
    let text = text.to_string();
    match text.char_indices().nth(QUOTED_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
