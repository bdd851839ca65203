//! Filters that people run, behind Postfix and behind us: rspamd, clamav-milter, spamass-milter and opendkim.
//! Configured as `docs/filters.md` says, each does to our mail what it does to Postfix's.

use crate::beside::{Argued, Beside, Fate, Filter, Letter, differences, masked};
use crate::daemons::{Daemon, own_address, unbound_by};
use crate::dnsd::Dnsd;
use crate::outside::{Input, installed, program, run};
use crate::postfix::Postfix;
use crate::servers::FACTEUR;
use crate::support::{Place, config, text};
use crate::trust_dkim::{rsa_pems, signed_at};
use crate::trust_mail::Mail;
use facteur::mail::proof::dkim::sign::{SigningKey, strings};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The page's block of that name, below that heading.
fn block(heading: &str, name: &str) -> String {
    let page = include_str!("../../docs/filters.md");
    let section = page.split_once(&format!("\n## {heading}\n")).unwrap().1;
    let section = section.split("\n## ").next().unwrap();
    let start = section.find(&format!(" {name}\n")).unwrap_or_else(|| panic!("no {name} there"));
    let block = section[start..].split_once('\n').unwrap().1;
    block.split_once("```").unwrap().0.to_owned()
}

/// Filters in a place of their own.
pub struct Running {
    pub place: Place,
    daemons: Vec<Daemon>,
    /// Where the milter listens, as we and Postfix write it.
    pub socket: String,
}

impl Running {
    fn new() -> Running {
        let place = Place::new();
        let socket = format!("unix:{}", place.at("milter.sock").display());
        Running { place, daemons: Vec::new(), socket }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.at(name)
    }

    /// Starts one that listens on a file of the place, for everybody.
    fn start(&mut self, name: &str, command: std::process::Command, socket: &Path) {
        let daemon = Daemon::at_file(&self.place, name, command, socket);
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(socket, open).unwrap();
        self.daemons.push(daemon.without_asking());
    }

    /// As the page configures us for it, but where it listens.
    fn of_page(&self, heading: &str) -> Filter {
        let table = block(heading, "facteur.toml");
        let there = table.split_once("socket").unwrap().1.split('"').nth(1).unwrap();
        Filter { table: table.replace(there, &self.socket), socket: self.socket.clone() }
    }
}

/// A text with other values in place of what holds on another machine; each has to be there.
fn with(text: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(text.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "no {old} in {text}");
        text.replace(old, new)
    })
}

/// Both servers with the same filters; nothing where one of the two cannot be.
fn beside(filters: impl Fn() -> Vec<Filter>, letters: &[Letter]) -> Option<Beside> {
    let users: Vec<String> = letters.iter().flat_map(|letter| letter.to.clone()).collect();
    Beside::start(&filters(), &filters(), &users, "")
}

const HAM: &str = "Received: from laptop.a.test (laptop.a.test [192.0.2.9])\r\n\
    \tby mail.a.test with ESMTPSA id 4711; Mon, 23 Nov 2026 10:00:00 +0000\r\n\
    From: Ann <ann@a.test>\r\nTo: Bob <bob@mx.test>\r\nSubject: The meeting on\r\n Tuesday\r\n\
    Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@mail.a.test>\r\n\
    MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Transfer-Encoding: 8bit\r\n\r\nHello Bob,\r\n\r\n\
    the meeting is on Tuesday at ten, in the room on the first floor. Grüße!\r\n\r\nAnn\r\n";

/// The text by which every spam filter can be tried; with another first letter rspamd answers less sternly.
const GTUBE: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";

/// The text by which every scanner for viruses can be tried, in two pieces: no scanner shall find it here.
const EICAR: [&str; 2] =
    ["X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-", "STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"];

/// Ham, and what is like it but for one thing.
fn hams() -> Vec<Letter> {
    let with_line = |line: &str| HAM.replacen("\r\nFrom:", &format!("\r\n{line}\r\nFrom:"), 1);
    let long = "word ".repeat(400);
    let mut letters = vec![
        Letter::new("ham", HAM),
        Letter::new("empty", HAM.split_once("\r\n\r\n").unwrap().0.to_owned() + "\r\n\r\n"),
        Letter::new("short", "Subject: hi\r\n\r\nx\r\n"),
        Letter::new("bare", "just text\r\n"),
        Letter::new("long", format!("{HAM}{long}\r\n{long}\r\n")),
        Letter::new("dots", format!("{HAM}.\r\n..\r\n.x\r\n")),
        Letter::new(
            "bits",
            with_line("X-Name: J\u{fc}rgen").chars().map(|c| c as u8).collect::<Vec<u8>>(),
        ),
        // What filters add themselves is already there, several times.
        Letter::new(
            "forged",
            with_line(
                "X-Spam: Yes\r\nX-Spam-Flag: NO\r\nX-Spam-Status: No, score=-9\r\nX-Spam-Status: Yes\r\n\
                 X-Spam-Level: *\r\nX-Virus-Status: Clean\r\nX-Virus-Scanned: by me\r\n\
                 X-Virus-Scanned: and by me\r\nX-Spam-Checker-Version: 1",
            ),
        ),
    ];
    let mut many = Letter::new("many", HAM);
    many.to = ["a", "b", "c"].map(|user| format!("many-{user}")).to_vec();
    letters.push(many);
    letters.push(Letter { from: String::new(), ..Letter::new("null", HAM) });
    letters
}

/// What a filter refuses or marks, by a line in its text.
fn with_text(name: &str, line: &str) -> Letter {
    Letter::new(name, HAM.replacen("Hello Bob,", line, 1))
}

/// The fates by the letters' names, ours first.
fn by_name<'a>(letters: &[Letter], fates: &'a [(Fate, Fate)], name: &str) -> &'a (Fate, Fate) {
    let at = letters.iter().position(|letter| letter.name == name).unwrap();
    &fates[at]
}

/// All copies, changed by that.
fn each(fates: Vec<(Fate, Fate)>, change: fn(&str) -> String) -> Vec<(Fate, Fate)> {
    let fates = fates.into_iter();
    fates.map(|(ours, theirs)| (ours.with_copies(change), theirs.with_copies(change))).collect()
}

/// All alike; a copy in `.Junk` here stands beside one that Postfix delivers like every other.
fn assert_alike(letters: &[Letter], fates: Vec<(Fate, Fate)>) {
    let fates: Vec<(Fate, Fate)> =
        fates.into_iter().map(|(ours, theirs)| (ours.without_folders(), theirs)).collect();
    let differ = differences(letters, &fates, &Argued::new());
    assert!(differ.is_empty(), "{} of {}:\n{}", differ.len(), letters.len(), differ.join("\n"));
}

fn assert_junk(fate: &Fate, name: &str, field: &str) {
    let copies = &fate.copies.get(&format!("{name}-bob/.Junk"));
    let copies = copies.unwrap_or_else(|| panic!("{name}: {fate:#?}"));
    assert!(copies[0].contains(field), "{copies:?}");
}

fn assert_refused(fate: &Fate, reply: &str) {
    assert_eq!(fate.replies.last().unwrap(), reply);
    assert!(fate.copies.is_empty(), "{fate:#?}");
}

/// rspamd without anything that it would ask the world, by a name server that knows nothing; with these files of
/// `local.d` besides, or in place of its own.
pub fn rspamd(dns: SocketAddr, more: &[(&str, String)]) -> Running {
    let mut running = Running::new();
    let place = &running.place;
    for name in ["local.d", "db", "run", "log"] {
        fs::create_dir(place.at(name)).unwrap();
    }
    let address = own_address();
    place.write(
        "local.d/worker-proxy.inc",
        format!("bind_socket = \"{address}\";\nupstream \"local\" {{ self_scan = yes; }}\n"),
    );
    place.write(
        "local.d/milter_headers.conf",
        block("rspamd", "/etc/rspamd/local.d/milter_headers.conf"),
    );
    for name in [
        "arc",
        "asn",
        "dkim_signing",
        "fuzzy_check",
        "greylist",
        "history_redis",
        "multimap",
        "mx_check",
        "neural",
        "phishing",
        "ratelimit",
        "rbl",
        "url_redirector",
        "whitelist",
    ] {
        place.write(&format!("local.d/{name}.conf"), "enabled = false;\n");
    }
    for name in ["worker-normal", "worker-controller"] {
        place.write(&format!("local.d/{name}.inc"), "enabled = false;\n");
    }
    let options = format!(
        "dns {{ nameserver = [\"{}:{}\"]; timeout = 1s; retransmits = 1; }}\n\
         enable_test_patterns = true;\ndisable_hyperscan = true;\nurl_tld = \"{}\";\n",
        dns.ip(),
        dns.port(),
        // The whole list takes it ten seconds.
        place.write("tld", "com\ntest\n").display()
    );
    place.write("local.d/options.inc", options);
    place.write("local.d/logging.inc", "type = \"console\";\n");
    for (name, text) in more {
        place.write(&format!("local.d/{name}"), text);
    }
    let mut command = program(place, "rspamd");
    command.args(["-f", "-i", "-c", "/etc/rspamd/rspamd.conf"]);
    for (name, dir) in
        [("LOCAL_CONFDIR", ""), ("DBDIR", "db"), ("RUNDIR", "run"), ("LOGDIR", "log")]
    {
        command.arg("--var").arg(format!("{name}={}", place.at(dir).display()));
    }
    let daemon = Daemon::start(place, "rspamd", command, address);
    running.daemons.push(daemon);
    running.socket = format!("inet:{address}");
    running
}

#[test]
fn rspamd_as_on_the_page() {
    if !installed(&["rspamd"]) || Postfix::found().is_none() {
        return;
    }
    let dns = Dnsd::new("a.test A 192.0.2.1\n");
    let running = rspamd(dns.address(), &[]);
    let mut letters = hams();
    for (name, first) in [("gtube", "X"), ("marked", "Y"), ("subject", "Z")] {
        letters.push(with_text(name, &GTUBE.replacen('X', first, 1)));
    }
    let filters = || vec![running.of_page("rspamd")];
    let Some(beside) = beside(filters, &letters) else { return };
    let fates = beside.play(&letters);
    assert_refused(&by_name(&letters, &fates, "gtube").0, "554 5.7.1 Gtube pattern");
    assert_junk(&by_name(&letters, &fates, "marked").0, "marked", "\nX-Spam: Yes\n");
    let ham = &by_name(&letters, &fates, "ham").0;
    assert!(ham.copies.contains_key("ham-bob"), "{ham:#?}");
    assert_alike(&letters, fates);
    beside.server.stop();
}

/// clamd with one signature, and its milter with that configuration.
fn clamav(config: &str) -> Running {
    let mut running = Running::new();
    let place = &running.place;
    fs::create_dir(place.at("signatures")).unwrap();
    let eicar: String = EICAR.concat().bytes().map(|octet| format!("{octet:02x}")).collect();
    place.write("signatures/own.ndb", format!("Own.Test:0:*:{eicar}\n"));
    let (clamd, socket) = (place.at("clamd.sock"), place.at("milter.sock"));
    let dir = place.path().display();
    let server = place.write(
        "clamd.conf",
        format!(
            "Foreground yes\nLocalSocket {}\nDatabaseDirectory {dir}/signatures\n\
             TemporaryDirectory {dir}\nMaxThreads 2\n",
            clamd.display()
        ),
    );
    let milter = with(
        config,
        &[
            ("/run/clamav/milter.sock", socket.to_str().unwrap()),
            // On this machine there may be no such group.
            ("MilterSocketGroup facteur\n", ""),
        ],
    );
    let more =
        format!("Foreground yes\nClamdSocket unix:{}\nTemporaryDirectory {dir}\n", clamd.display());
    let milter = place.write("milter.conf", milter + &more);
    let mut commands = [program(place, "clamd"), program(place, "clamav-milter")];
    commands[0].arg("-c").arg(server);
    commands[1].arg("-c").arg(milter);
    let [server, milter] = commands;
    running.start("clamd", server, &clamd);
    running.start("clamav-milter", milter, &socket);
    running
}

fn viruses() -> Vec<Letter> {
    let mut letters = hams();
    letters.push(with_text("virus", &EICAR.concat()));
    let encoded = in_base64(EICAR.concat().as_bytes());
    let attached = format!(
        "Subject: see here\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b\r\n\
         Content-Type: application/octet-stream; name=eicar.com\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{encoded}\r\n--b--\r\n"
    );
    letters.push(Letter::new("attached", attached));
    letters
}

fn in_base64(octets: &[u8]) -> String {
    use base64ct::Encoding;
    base64ct::Base64::encode_string(octets)
}

#[test]
fn clamav_as_on_the_page() {
    if !installed(&["clamd", "clamav-milter"]) || Postfix::found().is_none() {
        return;
    }
    let running = clamav(&block("ClamAV", "/etc/clamav/clamav-milter.conf"));
    let letters = viruses();
    let filters = || vec![running.of_page("ClamAV")];
    let Some(beside) = beside(filters, &letters) else { return };
    let fates = beside.play(&letters);
    for name in ["virus", "attached"] {
        let said = "550 5.7.1 Own.Test.UNOFFICIAL found";
        assert_refused(&by_name(&letters, &fates, name).0, said);
    }
    assert_alike(&letters, fates);
    beside.server.stop();
}

#[test]
fn clamav_that_holds_viruses() {
    if !installed(&["clamd", "clamav-milter"]) || Postfix::found().is_none() {
        return;
    }
    let page = block("ClamAV", "/etc/clamav/clamav-milter.conf");
    let running = clamav(&page.replace("OnInfected Reject\n", "OnInfected Quarantine\n"));
    let letters = viruses();
    let filters = || {
        let mut filter = running.of_page("ClamAV");
        filter.table += "may = [\"header\", \"quarantine\"]\n";
        vec![filter]
    };
    let Some(beside) = beside(filters, &letters) else { return };
    let fates = beside.play(&letters);
    for (letter, (ours, _)) in letters.iter().zip(&fates) {
        let is_virus = ["virus", "attached"].contains(&&letter.name[..]);
        assert_eq!(ours.is_held, is_virus, "{}", letter.name);
    }
    assert_alike(&letters, fates);
    beside.server.stop();
}

/// spamd without the network, and its milter with those options.
fn spamassassin(options: &str) -> Running {
    let mut running = Running::new();
    let place = &running.place;
    let (spamd, socket) = (place.at("spamd.sock"), place.at("milter.sock"));
    // Where it was unpacked, its modules and rules lie beside it.
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|dir| dir.join("spamd"))
        .find(|path| path.is_file())
        .unwrap();
    let found = fs::canonicalize(found).unwrap();
    let root = found.ancestors().nth(3).unwrap();
    let mut command = program(place, "perl");
    // Of rules with one score it names any first.
    command.env("PERL_HASH_SEED", "0").env("PERL_PERTURB_KEYS", "0");
    command.arg("-T").arg("-I").arg(root.join("usr/share/perl5")).arg(&found);
    command.args(["-L", "-x", "-m", "1", "-s", "stderr", "--socketpath"]).arg(&spamd);
    command.arg("-C").arg(root.join("usr/share/spamassassin"));
    command.arg("--siteconfigpath").arg(root.join("etc/spamassassin")).arg("-H").arg(place.path());
    for line in ["use_bayes 0", "use_auto_welcomelist 0", "report_hostname mx.test"] {
        command.arg(format!("--cf={line}"));
    }
    let mut milter = program(place, "spamass-milter");
    milter.arg("-p").arg(&socket).args(options.split(' ')).arg("--").arg("-U").arg(&spamd);
    running.start("spamd", command, &spamd);
    running.start("spamass-milter", milter, &socket);
    running
}

/// The options of the page; that of a user is for a machine where he is.
fn options_of_page() -> String {
    let file = block("SpamAssassin", "/etc/default/spamass-milter");
    let options = file.split_once("OPTIONS=\"").unwrap().1.split('"').next().unwrap();
    with(options, &[("-u spamass-milter ", "")])
}

fn spam() -> Vec<Letter> {
    let mut letters = hams();
    letters.push(with_text("gtube", GTUBE));
    let spam = HAM.replacen("Subject: The meeting on", "Subject: V1AGRA *** FREE MONEY $$$ !!!", 1);
    let words = "Dear friend, I am a prince of Nigeria with 25,000,000 US DOLLARS, your next of kin. \
        CLICK HERE to buy CHEAP VIAGRA now!!! 100% FREE, act now, this is not spam. \
        http://192.0.2.1:8080/unsubscribe.exe";
    letters.push(Letter::new(
        "spam",
        spam.replacen("Hello Bob,", words, 1).replace("Date:", "X-No-Date:"),
    ));
    letters
}

fn assert_with_spamassassin(options: &str, may: Option<&str>) {
    let is_there = installed(&["spamd", "spamass-milter", "spamc", "perl"]);
    if !is_there || Postfix::found().is_none() {
        return;
    }
    let running = spamassassin(options);
    let letters = spam();
    let filters = || {
        let mut filter = running.of_page("SpamAssassin");
        filter.table += may.unwrap_or_default();
        vec![filter]
    };
    let Some(beside) = beside(filters, &letters) else { return };
    let fates = each(beside.play(&letters), without_wrapping);
    let refusal = "550 5.7.1 Blocked by SpamAssassin";
    assert_refused(&by_name(&letters, &fates, "gtube").0, refusal);
    assert_junk(&by_name(&letters, &fates, "spam").0, "spam", "\nX-Spam-Flag: YES\n");
    assert_alike(&letters, fates);
    beside.server.stop();
}

/// Without what is new in each report of SpamAssassin: its boundary, and a Received field that its milter makes
/// up for it, with the moment and with an id where there is one yet.
fn without_wrapping(mail: &str) -> String {
    let mail = masked(&masked(mail, "----------=_", "\n"), "with SMTP id ", "\n\t(");
    mail.replace("boundary=\"----------=_\n", "boundary\n")
}

#[test]
fn spamassassin_as_on_the_page() {
    assert_with_spamassassin(&options_of_page(), None);
}

#[test]
fn spamassassin_that_wraps_spam() {
    let options = options_of_page().replace("-m ", "");
    assert_with_spamassassin(&options, Some("may = [\"header\", \"body\"]\n"));
}

/// opendkim that signs for a.test, and another one that verifies.
fn opendkim(pem: &str, dns: SocketAddr) -> Running {
    let mut running = Running::new();
    let place = &running.place;
    let key = place.write("key.pem", pem);
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let resolver = unbound_by(place, dns);
    let (own, others) = (place.write("own", "127.0.0.1\n"), place.write("others", "192.0.2.1\n"));
    let common = format!(
        "Background no\nSyslog yes\nRequireSafeKeys no\nAlwaysAddARHeader yes\nResolverConfiguration {}\n\
         Canonicalization relaxed/simple\nOversignHeaders From\n",
        resolver.display()
    );
    let sign = format!(
        "{common}Mode s\nDomain a.test\nSelector own\nKeyFile {}\nInternalHosts {}\n",
        key.display(),
        own.display()
    );
    let verify = format!("{common}Mode v\nInternalHosts {}\n", others.display());
    let parts = [("sign", sign), ("verify", verify)].map(|(name, config)| {
        let socket = place.at(&format!("{name}.sock"));
        let config = format!("{config}Socket local:{}\n", socket.display());
        let mut command = program(place, "opendkim");
        command.args(["-f", "-x"]).arg(place.write(&format!("{name}.conf"), config));
        (name, command, socket)
    });
    for (name, command, socket) in parts {
        running.start(name, command, &socket);
    }
    running
}

#[test]
fn opendkim_signs_and_verifies() {
    if !installed(&["opendkim"]) || Postfix::found().is_none() {
        return;
    }
    let [pem, _] = rsa_pems();
    let key = SigningKey::from_pem(&pem).unwrap();
    let record = strings(&key.record().unwrap()).join("|");
    let dns = Dnsd::new(&format!("own._domainkey.a.test TXT {record}\n"));
    let running = opendkim(&text(&pem), dns.address());
    // Each message is signed by the one and then read by the other, as it was changed.
    let filters =
        || ["sign", "verify"].map(|name| Filter::free(name, &running.at(&format!("{name}.sock"))));
    let mut letters = hams();
    let forged = "Authentication-Results: mx.test; dkim=pass header.d=a.test";
    letters.push(Letter::new("results", HAM.replacen("From:", &format!("{forged}\r\nFrom:"), 1)));
    let mail = Mail::of_lf(HAM.replace("\r\n", "\n").into_bytes());
    letters.push(Letter::new(
        "signed",
        text(signed_at(&mail, &key, "own").text()).replace('\n', "\r\n"),
    ));
    let Some(beside) = beside(|| filters().into(), &letters) else { return };
    let fates = each(beside.play(&letters), without_moment);
    // We verify both signatures, opendkim's and our own, as opendkim does.
    let config = config(&format!("[dns]\nservers = [\"{}\"]", dns.address()));
    running.place.write("facteur.toml", config);
    for (name, count) in [("ham", 1), ("signed", 2)] {
        let file = running.place.write("message", &beside.mail(&format!("{name}-bob"))[0]);
        let mut verify = program(&running.place, FACTEUR);
        verify.arg("verify").arg(file).args(["--client", "127.0.0.1"]);
        let said = run(&running.place, &mut verify, Input::Octets(b""));
        let passed = said.matches("dkim=pass header.d=a.test header.s=own").count();
        assert_eq!(passed, count, "{said}");
    }
    let ham = &by_name(&letters, &fates, "ham").0.copies["ham-bob"][0];
    assert!(
        ham.contains("dkim=pass") && ham.contains("\nDKIM-Signature: v=1; a=rsa-sha256;"),
        "{ham}"
    );
    assert_alike(&letters, fates);
    beside.server.stop();
}

/// Without the moment of a signature, and what follows from it.
fn without_moment(mail: &str) -> String {
    let mail = masked(&masked(mail, "\tt=", ";"), "header.b=", ";");
    masked(&mail, "\tb=", "==\n")
}
