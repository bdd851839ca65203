//! As much of HTTP/1.1 (RFC 9112) as a scraper and a browser need to fetch a few pages: one GET or HEAD
//! a connection, and nothing that changes anything.
//!
//! The Host field has to be an IP address, `localhost` or our own name: with any other, a foreign page has
//! led a browser here (DNS rebinding). A request is bounded in octets and in time, and no octet of it is
//! sent back.

use super::socket::Socket;
use crate::limits::{HTTP_HEAD_MAX, HTTP_LINE_MAX, HTTP_TIME};
use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

/// What a path leads to.
pub enum HttpAnswer {
    Page(Page),
    /// There is no such page.
    Missing,
    /// The client may not see this page; the one that is sent says why.
    Forbidden(Page),
}

/// A page that is sent.
pub struct Page {
    /// The media type.
    pub kind: &'static str,
    pub body: Vec<u8>,
}

/// A request that is well formed and for us.
#[derive(Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// The path as it came, with the query behind a `?`.
    pub target: String,
    /// Whether a proxy forwards it for another client.
    pub is_forwarded: bool,
    /// Whether it is HEAD: then the response has no body.
    is_head: bool,
}

/// A status code with its words (RFC 9110 §15).
type Status = (u16, &'static str);

const BAD: Status = (400, "Bad HttpRequest");
const FORBIDDEN: Status = (403, "Forbidden");
const NOT_FOUND: Status = (404, "Not Found");
const NOT_ALLOWED: Status = (405, "Method Not Allowed");
const URI_TOO_LONG: Status = (414, "URI Too Long");
const MISDIRECTED: Status = (421, "Misdirected HttpRequest");
const FIELDS_TOO_LARGE: Status = (431, "HttpRequest Header Fields Too Large");
const UNAVAILABLE: Status = (503, "Service Unavailable");
const OTHER_VERSION: Status = (505, "HTTP Version Not Supported");

/// Fields by which a proxy says that it is one (RFC 7239, RFC 9110 §7.6.3).
const FORWARDED: [&str; 3] = ["Forwarded", "X-Forwarded-For", "Via"];

/// Answers one request and ends the connection. `page` gives the page for a request. Fails where the client
/// is too slow or gone.
pub fn answer(
    stream: Arc<TcpStream>,
    hostname: &str,
    page: impl FnOnce(&HttpRequest) -> HttpAnswer,
) -> io::Result<()> {
    let mut socket = Socket::new(stream);
    let asked = read(&mut socket)?.and_then(|head| parse(&head, hostname));
    let octets = match asked {
        Err(MISDIRECTED) => response(MISDIRECTED, Some(misdirected(hostname)), false),
        Err(status) => response(status, None, false),
        Ok(request) => match page(&request) {
            HttpAnswer::Missing => response(NOT_FOUND, None, request.is_head),
            HttpAnswer::Forbidden(page) => response(FORBIDDEN, Some(page), request.is_head),
            HttpAnswer::Page(page) => response((200, "OK"), Some(page), request.is_head),
        },
    };
    socket.write_all(&octets, Instant::now() + HTTP_TIME)?;
    socket.finish();
    Ok(())
}

/// Says why another name than ours is refused, and which names are not.
fn misdirected(hostname: &str) -> Page {
    let (code, words) = MISDIRECTED;
    let body = format!(
        "{code} {words}: the Host field of this request is not ours, so a page of somebody else's may have \
         led a browser here. Ask by IP address, by localhost or by {hostname}.\n"
    );
    Page { kind: "text/plain; charset=utf-8", body: body.into_bytes() }
}

/// Tells a client that there is no place for it, without waiting for anything.
pub fn turn_away(stream: Arc<TcpStream>) {
    let octets = response(UNAVAILABLE, None, false);
    let _ = Socket::new(stream).write_now(&[io::IoSlice::new(&octets)]);
}

/// The head of a request, up to its empty line; what comes after it is of no interest.
fn read(socket: &mut Socket) -> io::Result<Result<Vec<u8>, Status>> {
    // The deadline for the whole head: octets that drip do not prolong it.
    let deadline = Instant::now() + HTTP_TIME;
    let (mut head, mut buffer) = (Vec::new(), [0; 1024]);
    loop {
        let octets = socket.read(&mut buffer, deadline)?;
        if octets == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // The empty line may lie across two reads.
        let from = head.len().saturating_sub(3);
        head.extend_from_slice(&buffer[..octets]);
        let end = head[from..].windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end.map(|at| from + at).filter(|end| *end <= HTTP_HEAD_MAX) {
            head.truncate(end);
            return Ok(Ok(head));
        }
        let is_line = head.iter().take(HTTP_LINE_MAX).any(|octet| *octet == b'\n');
        match head.len() {
            _ if !is_line && head.len() > HTTP_LINE_MAX => return Ok(Err(URI_TOO_LONG)),
            size if size > HTTP_HEAD_MAX => return Ok(Err(FIELDS_TOO_LARGE)),
            _ => {}
        }
    }
}

/// Parses the head of a request (RFC 9112 §3, §5). What is doubtful is refused, because no browser or
/// scraper sends it.
fn parse(head: &[u8], hostname: &str) -> Result<HttpRequest, Status> {
    let text = str::from_utf8(head).map_err(|_| BAD)?;
    let mut lines = text.split("\r\n");
    let line = lines.next().filter(|line| line.len() <= HTTP_LINE_MAX).ok_or(URI_TOO_LONG)?;
    let words: Vec<&str> = line.split(' ').collect();
    let &[method, target, version] = &words[..] else { return Err(BAD) };
    if line.contains(char::is_control) || method.is_empty() || !version.starts_with("HTTP/") {
        return Err(BAD);
    }
    let (mut hosts, mut is_forwarded) = (Vec::new(), false);
    for field in lines {
        let (name, value) = field.split_once(':').ok_or(BAD)?;
        // Refuses folded lines and bare line ends.
        let is_name = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(is_name) || value.contains(['\r', '\n', '\0']) {
            return Err(BAD);
        }
        is_forwarded |= FORWARDED.iter().any(|known| name.eq_ignore_ascii_case(known));
        if name.eq_ignore_ascii_case("host") {
            hosts.push(value.trim_matches([' ', '\t']));
        }
    }
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Err(OTHER_VERSION);
    }
    // Exactly one Host field, also from HTTP/1.0, because it shows which site led the client here.
    let &[host] = &hosts[..] else { return Err(BAD) };
    if !is_ours(host, hostname) {
        return Err(MISDIRECTED);
    }
    let is_head = match method {
        "GET" => false,
        "HEAD" => true,
        _ => return Err(NOT_ALLOWED),
    };
    if !target.starts_with('/') {
        return Err(BAD);
    }
    Ok(HttpRequest { target: target.to_owned(), is_forwarded, is_head })
}

/// Whether a Host field names us. An IP address does, because no foreign page can have one as its name.
fn is_ours(host: &str, hostname: &str) -> bool {
    let is_port = |port: &str| port.len() <= 5 && port.bytes().all(|octet| octet.is_ascii_digit());
    if let Some((address, rest)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let port = rest.strip_prefix(':').unwrap_or(rest);
        return address.parse::<Ipv6Addr>().is_ok() && is_port(port);
    }
    let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
    let is_name = ["localhost", hostname].iter().any(|ours| name.eq_ignore_ascii_case(ours));
    is_port(port) && (is_name || name.parse::<Ipv4Addr>().is_ok())
}

/// A whole response. It allows a browser as little as possible: no script, no frame, nothing from other
/// sites, and no cache. Plain text, for example a message, gets a sandbox as well.
fn response((code, words): Status, page: Option<Page>, is_head: bool) -> Vec<u8> {
    let page = page.unwrap_or_else(|| Page {
        kind: "text/plain; charset=utf-8",
        body: format!("{code} {words}\n").into_bytes(),
    });
    let sandbox = if page.kind.starts_with("text/plain") { "; sandbox" } else { "" };
    let mut text = format!("HTTP/1.1 {code} {words}\r\nContent-Type: {}\r\n", page.kind);
    // Writing to a String cannot fail.
    let _ = write!(text, "Content-Length: {}\r\nConnection: close\r\n", page.body.len());
    let _ = write!(
        text,
        "Cache-Control: no-store\r\n\
         Content-Security-Policy: default-src 'none'; style-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'{sandbox}\r\n\
         X-Content-Type-Options: nosniff\r\n\
         X-Frame-Options: DENY\r\n\
         Referrer-Policy: no-referrer\r\n\
         Cross-Origin-Resource-Policy: same-origin\r\n\
         Cross-Origin-Opener-Policy: same-origin\r\n"
    );
    if code == NOT_ALLOWED.0 {
        text.push_str("Allow: GET, HEAD\r\n");
    }
    text.push_str("\r\n");
    let mut octets = text.into_bytes();
    if !is_head {
        octets.extend(page.body);
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &str) -> u16 {
        parse(head.as_bytes(), "mx.test").map_or_else(|(code, _)| code, |_| 200)
    }

    #[test]
    fn what_is_answered_and_what_is_not() {
        for (head, code) in [
            ("GET /metrics HTTP/1.1\r\nHost: mx.test:9025", 200),
            ("HEAD / HTTP/1.0\r\nhost:\t127.0.0.1 ", 200),
            ("POST / HTTP/1.1\r\nHost: mx.test", 405),
            ("get / HTTP/1.1\r\nHost: mx.test", 405),
            ("GET / HTTP/1.1", 400),
            ("GET / HTTP/1.1\r\nHost: mx.test\r\nHost: mx.test", 400),
            ("GET / HTTP/1.1\r\nHost: mx.test\r\n folded", 400),
            ("GET / HTTP/1.1\r\nHost: mx.test\nX: y", 400),
            ("GET / HTTP/1.1\r\nHost : mx.test", 400),
            ("GET  / HTTP/1.1\r\nHost: mx.test", 400),
            ("GET http://mx.test/ HTTP/1.1\r\nHost: mx.test", 400),
            ("GET / HTTP/2.0\r\nHost: mx.test", 505),
            ("GET /", 400),
            ("", 400),
        ] {
            assert_eq!(status(head), code, "{head:?}");
        }
        let asked = parse(b"HEAD /a?b HTTP/1.1\r\nHost: [::1]:80", "mx.test");
        let (target, is_forwarded) = ("/a?b".to_owned(), false);
        assert_eq!(asked, Ok(HttpRequest { target, is_forwarded, is_head: true }));
        for field in ["forwarded: for=192.0.2.1", "X-FORWARDED-FOR:192.0.2.1", "Via: 1.1 x"] {
            let asked =
                parse(format!("GET / HTTP/1.1\r\nHost: mx.test\r\n{field}").as_bytes(), "mx.test");
            assert!(asked.is_ok_and(|request| request.is_forwarded), "{field}");
        }
    }

    #[test]
    fn only_a_name_that_nobody_else_has_is_ours() {
        for host in ["mx.test", "MX.test:80", "localhost:9025", "192.0.2.1", "[2001:db8::1]:9"] {
            assert!(is_ours(host, "mx.test"), "{host}");
        }
        for host in [
            "",
            "evil.test",
            "mx.test.evil.test",
            "mx.test:80:81",
            "mx.test:x",
            "127.0.0.1.evil.test",
            "[::1",
            "[evil]",
            "[::1]x",
            "2130706433",
            "0x7f.1",
        ] {
            assert!(!is_ours(host, "mx.test"), "{host}");
        }
    }
}
