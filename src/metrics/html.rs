//! Writes pages: only here text becomes markup.
//!
//! Words of a peer can never be markup, turn the direction of text, or become a link: links lead only to
//! our own pages.

use crate::mail::visible;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt::{Display, Write as _};

/// The style of all pages; a file of its own, because the policy forbids styles in a page.
pub(super) const STYLE: &str = include_str!("style.css");

/// The characters of a segment of a path that are encoded.
const SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'@').remove(b'=');

/// Markup; text is escaped when it is added.
#[derive(Default)]
pub(super) struct Html(String);

impl Html {
    /// Adds markup of our own.
    pub fn raw(mut self, markup: &'static str) -> Html {
        self.0.push_str(markup);
        self
    }

    /// Adds other markup.
    pub fn add(mut self, markup: Html) -> Html {
        self.0.push_str(&markup.0);
        self
    }

    /// Adds text on one line.
    pub fn text(mut self, text: impl Display) -> Html {
        push(&mut self.0, &text.to_string(), |_| false);
        self
    }

    /// Adds text with its line ends and tabs.
    pub fn lines(mut self, text: &str) -> Html {
        push(&mut self.0, text, |c| matches!(c, '\n' | '\t'));
        self
    }

    /// Adds text in an element of this name, with this class unless that is empty.
    pub fn element(self, name: &'static str, class: &'static str, text: impl Display) -> Html {
        let html = self.raw("<").raw(name);
        let html = match class {
            "" => html,
            class => html.raw(" class=\"").raw(class).raw("\""),
        };
        html.raw(">").text(text).raw("</").raw(name).raw(">")
    }

    /// Adds a link to a page of ours: the segments of its path, and its text.
    pub fn link(self, path: &[&str], text: impl Display) -> Html {
        self.link_page(path, 1, text)
    }

    /// The same with the number of a page, when that is not the first.
    pub fn link_page(mut self, path: &[&str], page: usize, text: impl Display) -> Html {
        self.0.push_str("<a href=\"");
        if path.is_empty() {
            self.0.push('/');
        }
        for segment in path {
            // Writing to a String cannot fail.
            let _ = write!(self.0, "/{}", utf8_percent_encode(segment, SEGMENT));
        }
        if page > 1 {
            let _ = write!(self.0, "?page={page}");
        }
        self.raw("\">").text(text).raw("</a>")
    }

    /// Adds a table. On a phone each row is a block, and its cells show their heads.
    pub fn table<const N: usize>(
        mut self,
        heads: [&'static str; N],
        rows: impl IntoIterator<Item = [Html; N]>,
    ) -> Html {
        self = self.raw("<table>\n<thead><tr>");
        for head in heads {
            self = self.element("th", "", head);
        }
        self = self.raw("</tr></thead>\n<tbody>\n");
        for cells in rows {
            self = self.raw("<tr>");
            for (head, cell) in heads.into_iter().zip(cells) {
                self = self.raw("<td data-is=\"").raw(head).raw("\"><div>").add(cell);
                self = self.raw("</div></td>");
            }
            self = self.raw("</tr>\n");
        }
        self.raw("</tbody>\n</table>\n")
    }

    /// The whole page, under this title. `way`: the pages above it.
    pub fn page(self, hostname: &str, title: &str, way: Html) -> Vec<u8> {
        let page = Html::default()
            .raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
            .raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")
            .raw("<meta name=\"robots\" content=\"noindex\">\n")
            .raw("<link rel=\"stylesheet\" href=\"/style.css\">\n<title>")
            .text(title)
            .raw("</title>\n</head>\n<body>\n<header><p class=\"way\">")
            .link(&[], hostname)
            .add(way)
            .raw("</p></header>\n<main>\n")
            .add(self)
            .raw("</main>\n</body>\n</html>\n");
        page.0.into_bytes()
    }
}

/// A text by itself.
pub(super) fn text(text: impl Display) -> Html {
    Html::default().text(text)
}

fn push(out: &mut String, text: &str, stays: impl Fn(char) -> bool) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if stays(c) => out.push(c),
            // Characters that hide or turn other text are shown by their number.
            c => visible::push(out, c),
        }
    }
}

/// A number of octets for people.
pub(super) fn size(octets: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut size, mut unit) = (octets as f64 / 1024.0, 0);
    if octets < 1024 {
        return format!("{octets} B");
    }
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        (size, unit) = (size / 1024.0, unit + 1);
    }
    if size < 10.0 {
        format!("{size:.1} {}", UNITS[unit])
    } else {
        format!("{size:.0} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes() {
        for (octets, words) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (50 << 20, "50 MiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(size(octets), words);
        }
    }

    proptest! {
        #[test]
        fn no_text_becomes_markup(words in ".*") {
            let all = Html::default().text(&words).lines(&words).link(&[&words], &words);
            let only = all.0.replacen("<a href=\"", "", 1).replacen("\">", "", 1).replacen("</a>", "", 1);
            prop_assert!(!only.contains(['<', '>', '"', '\'']), "{only}");
            prop_assert!(!only.contains(|c| !matches!(c, '\n' | '\t') && visible::is_hidden(c)), "{only}");
        }
    }
}
