//! The page for people: who is connected, what waits, what happened last, and the numbers with their
//! words. It needs no script, and fits a phone. Whatever stands in it is escaped: addresses and commands are a peer's.

use super::waiting::Row;
use super::{Family, Sample, Values};
use crate::event::present::Present;
use crate::limits::SESSIONS_SHOWN;
use jiff::Timestamp;
use std::fmt::Write as _;

/// How it looks; by itself, as no style may stand in the page.
pub(super) const STYLE: &str = "\
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 1rem auto; max-width: 60rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
td, th { border-bottom: 1px solid #8886; padding: .3rem .5rem .3rem 0; text-align: left; vertical-align: top }
td { overflow-wrap: anywhere }
td.number { text-align: right; white-space: nowrap }
";

/// What the page shows.
pub(super) struct View<'a> {
    pub hostname: &'a str,
    /// Each with its id.
    pub sessions: Vec<(String, Present)>,
    /// With how many more there are; or why they cannot be shown.
    pub waiting: Result<(Vec<Row>, usize), String>,
    /// What happened, the last first, in the words of the log.
    pub last: Vec<(Timestamp, String)>,
    pub numbers: Vec<Family>,
}

/// The whole page.
pub(super) fn write(view: &View<'_>) -> String {
    let name = escaped(view.hostname);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <link rel=\"stylesheet\" href=\"/style.css\">\n<title>{name}</title>\n</head>\n<body>\n\
         <h1>{name}</h1>\n\
         <p><code>facteur trace ID</code> tells the whole story of a message or a session.</p>\n"
    );
    write_sessions(&mut out, &view.sessions);
    write_waiting(&mut out, &view.waiting);
    let last = view.last.iter().map(|(when, line)| [format!("{when:.0}"), line.clone()]);
    write_table(&mut out, "Last deliveries and refusals", ["when", "what"], last);
    out.push_str("<h2>Numbers</h2>\n<table>\n");
    view.numbers.iter().for_each(|family| write_family(&mut out, family));
    out.push_str("</table>\n</body>\n</html>\n");
    out
}

fn write_sessions(out: &mut String, sessions: &[(String, Present)]) {
    let rows = sessions.iter().take(SESSIONS_SHOWN).map(|(id, present)| {
        let Present { since, client, service, tls, user } = present;
        let state = match (tls.as_str(), user.as_str()) {
            ("", "") => "in the clear".to_owned(),
            ("", user) => format!("in the clear, {user}"),
            (tls, "") => tls.to_owned(),
            (tls, user) => format!("{tls}, {user}"),
        };
        [id.clone(), client.to_string(), service.clone(), format!("{since:.0}"), state]
    });
    let title = format!("Sessions: {}", sessions.len());
    write_table(out, &title, ["session", "client", "service", "since", "state"], rows);
}

fn write_waiting(out: &mut String, waiting: &Result<(Vec<Row>, usize), String>) {
    let heads = ["id", "from", "to", "why it waits"];
    match waiting {
        Err(words) => write_table(out, &format!("Queue: {words}"), heads, std::iter::empty()),
        Ok((rows, more)) => {
            let title = format!("Queue: {}", rows.len() + more);
            let rows = rows.iter().map(|Row { id, from, to, reason }| {
                [id.clone(), from.clone(), to.clone(), reason.clone()]
            });
            write_table(out, &title, heads, rows);
        }
    }
}

/// A heading and a table under it, of text that is escaped here.
fn write_table<const N: usize>(
    out: &mut String,
    title: &str,
    heads: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    // Writing to a String cannot fail.
    let _ = write!(out, "<h2>{}</h2>\n<table>\n<tr>", escaped(title));
    for head in heads {
        let _ = write!(out, "<th>{}</th>", escaped(head));
    }
    out.push_str("</tr>\n");
    for cells in rows {
        out.push_str("<tr>");
        for cell in cells {
            let _ = write!(out, "<td>{}</td>", escaped(&cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table>\n");
}

/// What is zero is left out where there are many.
fn write_family(out: &mut String, Family { help, values, .. }: &Family) {
    let mut row = |what: &str, value: f64| {
        let (help, what) = (escaped(help), escaped(what));
        let _ = writeln!(
            out,
            "<tr><td>{help}</td><td>{what}</td><td class=\"number\">{value}</td></tr>"
        );
    };
    match values {
        Values::Counter(samples) | Values::Gauge(samples) => {
            for Sample { label, value } in samples {
                match label {
                    Some(_) if *value == 0.0 => {}
                    Some((label, is)) => row(&format!("{label} {is}"), *value),
                    None => row("", *value),
                }
            }
        }
        Values::Histogram(shape) if shape.count > 0 => row("mean", shape.sum / shape.count as f64),
        Values::Histogram(_) => {}
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn nothing_a_peer_says_is_markup() {
        let bad = || "<script>alert('1')</script>&".to_owned();
        let row = Row { id: bad(), from: bad(), to: bad(), reason: bad() };
        let (since, client) = (Timestamp::UNIX_EPOCH, IpAddr::from([192, 0, 2, 1]));
        let present = Present { since, client, service: bad(), tls: bad(), user: bad() };
        let page = write(&View {
            hostname: "mx.test",
            sessions: vec![(bad(), present)],
            waiting: Ok((vec![row], 0)),
            last: vec![(Timestamp::UNIX_EPOCH, bad())],
            numbers: Vec::new(),
        });
        assert!(!page.contains("<script") && !page.contains("('1')"), "{page}");
        assert_eq!(page.matches("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;").count(), 9);
    }
}
