//! Maildirs that somebody removes while mail comes in for them.

use super::{MAIL, at_most, say};
use crate::servers::Binary;
use crate::support::{Place, config, files};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Sends mail to ann while that is done to her Maildir again and again; how much was taken, and how much
/// was refused for now.
fn sent_while(server: &Binary, mischief: impl Fn() + Sync) -> (usize, usize) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                mischief();
                thread::sleep(Duration::from_millis(3));
            }
        });
        let (mut client, mut taken, mut refused) = (server.client(), 0, 0);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(1) {
            let reply = client.deliver(&["ann@mx.test"], MAIL);
            let is_good = reply.starts_with("250 2.0.0 ");
            assert!(is_good || reply.starts_with("451 4.3.0 "), "{reply}");
            taken += usize::from(is_good);
            refused += usize::from(!is_good);
        }
        over.store(true, Ordering::Relaxed);
        (taken, refused)
    })
}

#[test]
fn a_maildir_that_vanishes() {
    let place = Place::new();
    let server = Binary::serve(&place, &config(""));
    server.client().delivered(&["ann@mx.test"], MAIL);
    let ann = place.maildir("ann");
    let half = |name: &'static str| {
        let dir = ann.join(name);
        move || drop(fs::remove_dir_all(&dir))
    };
    // Not with `mail` itself: what was put in its place is outside of the sandbox.
    let parents = place.at("mail/mx.test");
    let cases: [(&str, &(dyn Fn() + Sync)); 5] = [
        ("whole", &|| drop(fs::remove_dir_all(&ann))),
        ("its tmp", &half("tmp")),
        ("its new", &half("new")),
        ("its cur", &half("cur")),
        ("with all above it", &|| drop(fs::remove_dir_all(&parents))),
    ];
    for (what, mischief) in cases {
        let (taken, refused) = sent_while(&server, mischief);
        say(&format!("a Maildir vanishes, {what}: {taken} messages 250, {refused} heard 451"));
        // Where it vanishes once, the next message finds what it needs.
        mischief();
        let before = place.mail("ann").len();
        server.client().delivered(&["ann@mx.test"], MAIL);
        assert_eq!(place.mail("ann").len(), before + 1, "{what}");
        assert!(["tmp", "new", "cur"].iter().all(|name| ann.join(name).is_dir()), "{what}");
    }
    server.stop();
}

/// Moved away in one step, nothing that was taken is lost: it lies in the one or in the other.
#[test]
fn a_maildir_that_is_moved_away() {
    let place = Place::new();
    let server = Binary::serve(&place, &config(""));
    server.client().delivered(&["ann@mx.test"], MAIL);
    let (ann, moves) = (place.maildir("ann"), AtomicUsize::new(0));
    let (taken, refused) = sent_while(&server, || {
        let to = place.at(&format!("moved{}", moves.fetch_add(1, Ordering::Relaxed)));
        let _ = fs::rename(&ann, to);
    });
    let moved = (0..moves.into_inner()).map(|number| place.at(&format!("moved{number}")));
    let dirs = moved.chain([ann]).map(|dir| files(&dir.join("new")).len());
    let (found, all) = (dirs.sum::<usize>(), taken + 1);
    say(&format!(
        "a Maildir is moved away: {all} messages 250, {refused} heard 451, {found} lie there"
    ));
    let lost = all.saturating_sub(found) as u64;
    at_most("a Maildir is moved away: messages lost", lost, 0, "messages");
    server.stop();
}
