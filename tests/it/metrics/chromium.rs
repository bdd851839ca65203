//! The pages in a real browser, Debian's Chromium: in a window as narrow as a phone they are drawn, and
//! what hostile mail says neither runs nor fetches anything.

use super::{get, serve};
use crate::support::{Place, has_program, skip, text};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long one run of it may take.
const RUN: Duration = Duration::from_secs(120);

/// Runs it once on a page; what it wrote. Nothing of it is left behind.
fn chromium(place: &Place, more: &[&str], url: &str) -> String {
    let profile = place.at("profile");
    let _ = std::fs::remove_dir_all(&profile);
    let out = std::fs::File::create(place.at("dom")).unwrap();
    let child = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-dev-shm-usage", "--hide-scrollbars", "--no-proxy-server"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(more)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(Stdio::null())
        .spawn();
    let mut child = Running(child.unwrap());
    let deadline = Instant::now() + RUN;
    let status = loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "Chromium has not ended at {url}");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(status.success(), "Chromium at {url}: {status}");
    text(&std::fs::read(place.at("dom")).unwrap())
}

/// Killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Width and height of a picture in PNG.
fn dimensions(picture: &Path) -> (u32, u32) {
    let octets = std::fs::read(picture).unwrap();
    let number = |at: usize| u32::from_be_bytes(octets[at..at + 4].try_into().unwrap());
    assert!(octets.starts_with(b"\x89PNG"));
    (number(16), number(20))
}

#[test]
fn hostile_mail_neither_runs_nor_fetches() {
    if !has_program("chromium", "--version") {
        return skip("chromium is not installed");
    }
    let place = Place::new();
    let (server, address) = serve(&place, "");
    // Whoever fetches anything comes here.
    let trap = TcpListener::bind("127.0.0.1:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let evil = format!("http://{}", trap.local_addr().unwrap());
    let script = "<script>document.title='stolen'</script><style>@import url(EVIL/s)</style>\
        <meta http-equiv=refresh content='0;url=EVIL/r'><img src=EVIL/i onerror=\"document.title='stolen'\">\
        <link rel=prefetch href=EVIL/p><iframe src=EVIL/f></iframe><a href=\"javascript:x\">x</a>";
    let script = script.replace("EVIL", &evil);
    let long = "w".repeat(900);
    let message = format!(
        "From: {script} <eve@evil.test>\r\nSubject: {script}\r\nContent-Type: text/html\r\n\r\n\
         <html><body onload=\"document.title='stolen'\">{script}&lt;script&gt;document.title='stolen'\
         &lt;/script&gt;<p>The end of it.</p>\r\n{long}\r\n</body></html>\r\n"
    );
    server.client().delivered(&["ann@mx.test"], message.as_bytes());
    let (_, list) = get(address, "/mail/ann@mx.test");
    let letter = list.split("<a href=\"/mail/ann@mx.test/").nth(1).unwrap();
    let letter = format!("/mail/ann@mx.test/{}", letter.split('"').next().unwrap());
    let story = get(address, "/").1;
    let story = story.split("<a href=\"/trace/").nth(1).unwrap().split('"').next().unwrap();
    let story = format!("/trace/{story}");
    crate::support::until("the story is written", || {
        let asked = format!("GET {story} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        super::said(address, asked.as_bytes()).contains("delivered to=ann@mx.test")
    });
    for path in
        ["/", &story, "/trace/ann@mx.test", "/mail/ann@mx.test", &letter, &format!("{letter}/raw")]
    {
        let picture = place.at("picture.png");
        let _ = std::fs::remove_file(&picture);
        let shot = format!("--screenshot={}", picture.display());
        let url = format!("http://{address}{path}");
        let dom = chromium(&place, &["--window-size=390,844", &shot, "--dump-dom"], &url);
        assert!(!dom.contains("<title>stolen"), "{path}: {dom}");
        assert!(path.ends_with("/raw") || dom.contains("name=\"viewport\""), "{path}: {dom}");
        let is_text = dom.contains("&lt;script&gt;document.title='stolen'");
        assert!(!path.ends_with("/raw") || is_text, "{path}: {dom}");
        assert!(path != letter || dom.contains("The end of it."), "{dom}");
        assert_eq!(dimensions(&picture).0, 390);
    }
    let fetched = trap.accept().map(|(_, who)| who);
    assert!(fetched.is_err(), "something was fetched by {fetched:?}");
    server.stop();
}
