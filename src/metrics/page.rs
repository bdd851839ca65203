//! The page for people: the numbers with their words, and what happened last. It needs no script, and
//! fits a phone. Whatever stands in it is escaped: addresses and commands are a peer's.

use super::{Family, Sample, Values};
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
td.line { font-family: monospace; font-size: .85rem }
";

/// The whole page. `last`: what happened, the last first, in the words of the log.
pub(super) fn write(hostname: &str, families: &[Family], last: &[(Timestamp, String)]) -> String {
    let name = escaped(hostname);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <link rel=\"stylesheet\" href=\"/style.css\">\n<title>{name}</title>\n</head>\n<body>\n\
         <h1>{name}</h1>\n<h2>Last deliveries and refusals</h2>\n\
         <p><code>facteur trace ID</code> tells the whole story of an id or a session.</p>\n<table>\n"
    );
    for (when, line) in last {
        // Writing to a String cannot fail.
        let _ =
            writeln!(out, "<tr><td>{when:.0}</td><td class=\"line\">{}</td></tr>", escaped(line));
    }
    out.push_str("</table>\n<h2>Numbers</h2>\n<table>\n");
    families.iter().for_each(|family| write_family(&mut out, family));
    out.push_str("</table>\n</body>\n</html>\n");
    out
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

    #[test]
    fn nothing_a_peer_says_is_markup() {
        let line = "rejected command=\"<script>alert('1')</script>&\"".to_owned();
        let page = write("mx.test", &[], &[(Timestamp::UNIX_EPOCH, line)]);
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;alert(&#39;1&#39;)"));
    }
}
