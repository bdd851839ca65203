//! What a person reads of HTML: its words, and where its lines end.
//!
//! The mail-parser crate decodes entities and white space. But it ends lines only at `<br>` and `</p>`, and
//! shows a stylesheet whose tag has attributes, so all tags are taken off before it sees the text.

use mail_parser::decoders::html::html_to_text;
use memchr::memchr;

/// Tags before which a line ends.
const BLOCKS: [&str; 22] = [
    "article",
    "blockquote",
    "div",
    "dd",
    "dt",
    "footer",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "li",
    "ol",
    "p",
    "pre",
    "section",
    "table",
    "tr",
    "ul",
];

/// Tags whose content people do not read; inside, only their closing tag is a tag.
const UNSEEN: [&str; 3] = ["script", "style", "title"];

/// The text of HTML, however broken. One pass: each octet is looked at a few times at most.
pub(super) fn text(html: &str) -> String {
    let mut marked = Marked { html: String::with_capacity(html.len()), has_words: false };
    let mut rest = html;
    while let Some(at) = memchr(b'<', rest.as_bytes()) {
        let (words, tag) = rest.split_at(at);
        marked.words(words);
        // A tag that is never closed hides the rest, as in a browser.
        rest = match tag.as_bytes().get(1) {
            Some(b'!') if tag.starts_with("<!--") => behind(tag, tag[2..].find("-->"), 5),
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'/' | b'!' | b'?') => {
                let end = memchr(b'>', tag.as_bytes());
                let name = tag[1..end.unwrap_or(1)].split([' ', '\t', '\r', '\n']).next();
                let name = name.unwrap_or_default().trim_end_matches('/').to_ascii_lowercase();
                marked.tag(name.strip_prefix('/').unwrap_or(&name));
                let behind = behind(tag, end, 1);
                if UNSEEN.contains(&name.as_str()) { end_of(behind, &name) } else { behind }
            }
            _ => {
                marked.words("&lt;");
                &tag[1..]
            }
        };
    }
    marked.words(rest);
    html_to_text(&marked.html)
}

/// The text from `length` octets behind a place on; empty where there is no place.
fn behind(text: &str, at: Option<usize>, length: usize) -> &str {
    at.and_then(|at| text.get(at + length..)).unwrap_or_default()
}

/// The text from the closing tag of this name on.
fn end_of<'a>(text: &'a str, name: &str) -> &'a str {
    let is_end = |at: &usize| {
        let found = text.as_bytes().get(at + 2..at + 2 + name.len());
        text[*at..].starts_with("</")
            && found.is_some_and(|it| it.eq_ignore_ascii_case(name.as_bytes()))
    };
    let end = text.match_indices('<').map(|(at, _)| at).find(is_end);
    behind(text, end, 0)
}

/// HTML that has no tag but `<br>`.
struct Marked {
    html: String,
    /// The line at hand has words.
    has_words: bool,
}

impl Marked {
    fn words(&mut self, words: &str) {
        let words = if self.has_words { words } else { words.trim_ascii_start() };
        self.has_words |= !words.is_empty();
        self.html.push_str(words);
    }

    /// `name`: in lower case, of an opening or a closing tag.
    fn tag(&mut self, name: &str) {
        match name {
            "td" | "th" => self.words(" "),
            // Several blocks that begin or end at one place end the line once.
            "br" => self.end_line(),
            _ if BLOCKS.contains(&name) && self.has_words => self.end_line(),
            _ => {}
        }
    }

    fn end_line(&mut self) {
        self.html.push_str("<br>");
        self.has_words = false;
    }
}
