//! `facteur dns` over a DNS server of the suite: each record in each state, exit codes, JSON, and a zone file
//! that other name servers read.

use crate::commands::{run, run_clean};
use crate::dnsd::Dnsd;
use crate::outside::PYTHON;
use crate::secrecy::Pair;
use crate::support::{Place, has_program, skip, text};
use facteur::mail::proof::dkim::sign::strings;
use facteur::mail::proof::name::Name;
use facteur::store::keys::KeyKind;
use facteur::store::keys::make::{make_dir, make_key};
use nix::unistd::geteuid;
use serde_json::Value;
use std::fs::{self, Permissions};
use std::net::UdpSocket;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::time::{Duration, Instant};

/// A site of two domains with a certificate, and a name server.
pub struct Published {
    pub place: Place,
    pub dns: Dnsd,
    /// What `--zone` prints.
    pub zone: String,
}

impl Published {
    /// The name server shows all that `--zone` prints.
    pub fn new(more: &str) -> Published {
        let (place, dns) = (Place::new(), Dnsd::new(""));
        Pair::of(&["mx.a.test"]).write(&place);
        place.write("facteur.toml", site(&dns, more));
        let (status, zone, err) = run_clean(&place, &["dns", "--zone"]);
        assert_eq!((status, err.as_str()), (0, ""));
        assert!(dns.log().is_empty(), "{:?}", dns.log());
        dns.set(&served(&zone));
        Published { place, dns, zone }
    }

    /// The same zone with another content for one name and type; an empty one takes the record out.
    pub fn show(&self, name: &str, kind: &str, content: &[&str]) {
        let zone = served(&self.zone);
        let start = format!("{name} {kind} ");
        let others = zone.lines().filter(|line| !line.starts_with(&start));
        let own = content.iter().map(|content| format!("{start}{content}"));
        let lines: Vec<String> = others.map(str::to_owned).chain(own).collect();
        self.dns.set(&lines.join("\n"));
    }

    /// The exit status, and each record.
    pub fn rows(&self, names: &[&str]) -> (i32, Vec<Value>) {
        let (status, out, err) = run_clean(&self.place, &[&["dns", "--json"], names].concat());
        assert_eq!(err, "", "{out}");
        (status, out.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    /// The exit status, and the only record of this name and type.
    pub fn row(&self, name: &str, kind: &str) -> (i32, Value) {
        let (status, rows) = self.rows(&[]);
        let is_it = |row: &&Value| row["name"] == name && row["type"] == kind;
        let mut its = rows.iter().filter(is_it);
        let row = its.next().unwrap_or_else(|| panic!("no {kind} of {name} in {rows:#?}")).clone();
        assert_eq!(its.count(), 0, "{rows:#?}");
        (status, row)
    }
}

fn site(dns: &Dnsd, more: &str) -> String {
    format!(
        "hostname = \"mx.a.test\"\nspool = \"spool\"\n\
         [listen]\nsmtp = [\"127.0.0.1:0\"]\nsubmission = [\"127.0.0.1:2587\"]\n\
         submissions = [\"127.0.0.1:2465\"]\n\
         [tls]\ncertificate = \"mx.pem\"\nkey = \"mx.key\"\n\
         [domain.\"a.test\"]\nmaildir = \"mail/{{domain}}/{{user}}\"\n\
         [domain.\"xn--bcher-kva.test\"]\nmaildir = \"mail/{{domain}}/{{user}}\"\n\
         [domain.\"alias.test\"]\nalias_of = \"a.test\"\n\
         [dns]\nservers = [\"{}\"]\ntimeout = \"5s\"\n{more}",
        dns.address()
    )
}

/// A zone file as the name server of the suite reads it.
fn served(zone: &str) -> String {
    let lines = zone.lines().filter_map(|line| match line.strip_prefix("; ") {
        Some(comment) => Some(comment).filter(|comment| comment.contains(" IN PTR ")),
        None => Some(line),
    });
    let lines = lines.map(|line| {
        let (line, _) = line.split_once(" ;").unwrap_or((line, ""));
        let parts: Vec<&str> = line.splitn(5, ' ').collect();
        let [name, "3600", "IN", kind, data] = parts[..] else { panic!("{line}") };
        let data = match kind {
            "TXT" => data.trim_matches('"').replace("\" \"", "|"),
            _ => data.to_owned(),
        };
        format!("{} {kind} {data}\n", name.strip_suffix('.').unwrap())
    });
    lines.collect()
}

#[track_caller]
fn states(rows: &[Value], state: &str) {
    assert!(rows.iter().all(|row| row["state"] == state), "{rows:#?}");
}

#[test]
fn a_server_with_exactly_this_zone_makes_every_line_ok() {
    let site = Published::new("");
    let (status, rows) = site.rows(&[]);
    states(&rows, "ok");
    assert_eq!(status, 0);
    let kinds = |name: &str| {
        let own = rows.iter().filter(|row| row["name"].as_str().unwrap().ends_with(name));
        own.map(|row| row["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kinds("bcher-kva.test"), ["TXT", "MX", "SRV", "SRV", "TXT", "TXT", "TXT"]);
    assert_eq!(kinds(".arpa").first().map(String::as_str), Some("PTR"));
    assert!(kinds("mx.a.test").contains(&"TLSA".to_owned()));
    // In the text a line a record, and nothing else but what is known of it: no web server gives a policy here.
    let (status, out, err) = run_clean(&site.place, &["dns"]);
    let said =
        ["    (as DNS has it", "    (whether its policy serves is unknown: https://mta-sts."];
    let lines = out.lines().filter(|line| !said.iter().any(|said| line.starts_with(said)));
    assert_eq!(out.matches("its policy serves is unknown").count(), 3, "{out}");
    assert!(lines.clone().all(|line| line.starts_with("ok  ")), "{out}");
    assert_eq!((status, lines.count(), err.as_str()), (0, rows.len(), ""));
}

#[test]
fn nothing_is_published() {
    let site = Published::new("");
    site.dns.set("");
    let (status, rows) = site.rows(&[]);
    states(&rows, "missing");
    assert!(rows.iter().all(|row| row["have"].as_array().unwrap().is_empty()), "{rows:#?}");
    assert_eq!(status, 1);
    let (status, out, _) = run_clean(&site.place, &["dns", "a.test"]);
    assert!(status == 1 && out.contains("\nChange them from top to bottom"), "{out}");
    assert!(out.contains("https://mta-sts.a.test/.well-known/mta-sts.txt"), "{out}");
    assert!(out.contains("\n      mx: mx.a.test\n"), "{out}");
    assert!(!out.contains("bcher"), "{out}");
}

/// What a web server has to give to programs of users: an XML reader takes it, and it leads where users log in.
#[test]
fn programs_of_users_find_us_by_a_file() {
    if !has_program(PYTHON, "--version") {
        return skip("python3 is not installed");
    }
    let site = Published::new("");
    // All records are there: nothing has to be done any more.
    let (status, out, _) = run_clean(&site.place, &["dns"]);
    assert!(status == 0 && !out.contains("clientConfig"), "{out}");
    site.dns.set("");
    let (status, out, _) = run_clean(&site.place, &["dns", "a.test", "xn--bcher-kva.test"]);
    assert_eq!(status, 1, "{out}");
    for name in ["a.test", "xn--bcher-kva.test"] {
        let place = format!("\n  https://autoconfig.{name}/mail/config-v1.1.xml\n");
        assert!(out.contains(&place), "{out}");
    }
    assert!(out.contains(
        "\nWith an IMAP server on this host, _imaps._tcp of each domain is: SRV 0 1 993 mx.a.test\n"
    ));
    let file = |text: &str, before: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(before));
        let lines = lines.skip_while(|line| !line.starts_with("<?xml"));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let xml = file(&out, "  ");
    site.place.write("config-v1.1.xml", &xml);
    let script = "import xml.etree.ElementTree as tree\n\
        root = tree.parse('config-v1.1.xml').getroot()\n\
        (provider,) = root.findall('emailProvider')\n\
        print(root.tag, root.get('version'), [domain.text for domain in provider.findall('domain')])\n\
        for server in provider.findall('incomingServer') + provider.findall('outgoingServer'):\n\
        \x20 print(server.tag, server.get('type'), *[part.text for part in server])\n";
    let mut python = Command::new(PYTHON);
    let output = python.args(["-c", script]).current_dir(site.place.path()).output().unwrap();
    let read = text(&output.stdout);
    let expected = "clientConfig 1.1 ['a.test', 'xn--bcher-kva.test']\n\
        incomingServer imap mx.a.test 993 SSL password-cleartext %EMAILADDRESS%\n\
        outgoingServer smtp mx.a.test 2465 SSL password-cleartext %EMAILADDRESS%\n\
        outgoingServer smtp mx.a.test 2587 STARTTLS password-cleartext %EMAILADDRESS%\n";
    assert_eq!(read, expected, "{}{xml}", text(&output.stderr));
    // The same as comments of a zone file, for scripts nothing but records.
    let (_, zone, _) = run_clean(&site.place, &["dns", "--zone", "a.test", "xn--bcher-kva.test"]);
    assert_eq!(file(&zone, ";   "), xml);
    let (_, json, _) = run_clean(&site.place, &["dns", "--json", "a.test"]);
    assert!(!json.contains("clientConfig"), "{json}");
}

/// The name server says nothing: all is unknown, soon.
#[test]
fn nobody_answers() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let site = Published::new("");
    let config = site_of(&site, &socket.local_addr().unwrap().to_string(), "200ms");
    site.place.write("facteur.toml", config);
    let (status, rows) = site.rows(&[]);
    states(&rows, "unknown");
    assert_eq!(status, 1);
    site.place.write("facteur.toml", site_of(&site, &site.dns.address().to_string(), "5s"));
    site.dns.set("* !servfail");
    let (status, rows) = site.rows(&[]);
    states(&rows, "unknown");
    assert_eq!(status, 1);
}

/// Its configuration with another name server and patience.
fn site_of(published: &Published, server: &str, timeout: &str) -> String {
    let own = self::site(&published.dns, "");
    own.replace(&published.dns.address().to_string(), server)
        .replace("timeout = \"5s\"", &format!("timeout = \"{}\"", timeout.replace("200ms", "1s")))
}

/// One record after the other in each state; the last column says whether that makes exit 1.
#[test]
fn each_record_in_each_state() {
    let site = Published::new("");
    let address = |kind: &str| {
        let line = site.zone.lines().find(|line| line.contains(&format!(" IN {kind} ")));
        line.map(|line| line.split(' ').nth(4).unwrap().to_owned())
    };
    let (kind, own) = match address("A") {
        Some(own) => ("A", own),
        None => ("AAAA", address("AAAA").unwrap()),
    };
    let reverse = site.zone.lines().find(|line| line.contains(" IN PTR ")).unwrap();
    let reverse = reverse.trim_start_matches("; ").split(". ").next().unwrap().to_owned();
    let spf = if kind == "A" { format!("ip4:{own}") } else { format!("ip6:{own}") };
    let other_tlsa = format!("3 1 1 {}", "00".repeat(32));
    let cases: Vec<(&str, &str, Vec<String>, &str, bool)> = vec![
        ("a.test", "MX", vec!["5 MX.A.test.".into(), "1 mx.b.test".into()], "ok", true),
        ("a.test", "MX", vec!["10 mx.b.test".into()], "differs", true),
        ("a.test", "MX", vec!["0 .".into()], "differs", true),
        ("a.test", "MX", vec![], "missing", true),
        ("a.test", "MX", vec!["!servfail".into()], "unknown", true),
        (&reverse, "PTR", vec!["mx.a.test".into(), "x.test".into()], "ok", true),
        (&reverse, "PTR", vec!["x.test".into()], "differs", true),
        (&reverse, "PTR", vec![], "missing", true),
        (&reverse, "PTR", vec!["!servfail".into()], "unknown", true),
        ("a.test", "TXT", vec!["V=spf1 mx -all".into(), "other=1".into()], "ok", true),
        ("a.test", "TXT", vec![format!("v=spf1 a:x.test {spf} ~all")], "ok", true),
        ("a.test", "TXT", vec!["v=spf1 a:x.test -all".into()], "differs", true),
        ("a.test", "TXT", vec!["v=spf1 nonsense".into()], "differs", true),
        ("a.test", "TXT", vec!["v=spf1 mx -all".into(), "v=spf1 a -all".into()], "differs", true),
        ("a.test", "TXT", vec!["other=1".into()], "missing", true),
        ("a.test", "TXT", vec!["!servfail".into()], "unknown", true),
        ("mx.a.test", "TXT", vec!["v=spf1 -all".into()], "differs", true),
        ("mx.a.test", "TXT", vec![], "missing", true),
        ("_dmarc.a.test", "TXT", vec!["v=DMARC1; p=reject".into()], "ok", true),
        ("_dmarc.a.test", "TXT", vec!["v=DMARC1; q=none".into()], "differs", true),
        (
            "_dmarc.a.test",
            "TXT",
            vec!["v=DMARC1; p=none".into(), "v=DMARC1; p=none".into()],
            "differs",
            true,
        ),
        ("_dmarc.a.test", "TXT", vec!["v=spf1 -all".into()], "missing", true),
        ("_dmarc.a.test", "TXT", vec!["!servfail".into()], "unknown", true),
        ("_mta-sts.a.test", "TXT", vec!["v=STSv1; id=1;".into()], "ok", false),
        ("_mta-sts.a.test", "TXT", vec!["v=STSv1; id=;".into()], "differs", false),
        ("_mta-sts.a.test", "TXT", vec![], "missing", false),
        ("_mta-sts.a.test", "TXT", vec!["!servfail".into()], "unknown", false),
        ("_smtp._tls.a.test", "TXT", vec!["v=TLSRPTv1;rua=mailto:x@y.test".into()], "ok", false),
        ("_smtp._tls.a.test", "TXT", vec!["v=TLSRPTv1".into()], "differs", false),
        ("_smtp._tls.a.test", "TXT", vec![], "missing", false),
        ("_smtp._tls.a.test", "TXT", vec!["!servfail".into()], "unknown", false),
        ("_25._tcp.mx.a.test", "TLSA", vec![other_tlsa], "differs", false),
        ("_25._tcp.mx.a.test", "TLSA", vec![], "missing", false),
        ("_25._tcp.mx.a.test", "TLSA", vec!["!servfail".into()], "unknown", false),
        ("_submission._tcp.a.test", "SRV", vec!["1 2 2587 MX.a.test".into()], "ok", false),
        ("_submission._tcp.a.test", "SRV", vec!["0 1 587 mx.a.test".into()], "differs", false),
        ("_submission._tcp.a.test", "SRV", vec!["0 0 0 .".into()], "differs", false),
        ("_submission._tcp.a.test", "SRV", vec![], "missing", false),
        ("_submission._tcp.a.test", "SRV", vec!["!servfail".into()], "unknown", false),
    ];
    for (name, kind, content, state, is_needed) in cases {
        let what = format!("{name} {kind} {content:?}");
        site.show(name, kind, &content.iter().map(String::as_str).collect::<Vec<_>>());
        let (status, row) = site.row(name, kind);
        assert_eq!(row["state"], state, "{what}: {row}");
        assert_eq!(status, i32::from(state != "ok" && is_needed), "{what}: {row}");
        let have = row["have"].as_array().unwrap();
        assert_eq!(have.is_empty(), matches!(state, "missing" | "unknown"), "{what}: {row}");
        if state == "differs" {
            let (_, out, _) = run_clean(&site.place, &["dns"]);
            let is = format!("    is: {}\n", have[0].as_str().unwrap());
            assert!(out.contains(&is), "{what}: {out}");
        }
        if state == "ok" {
            assert!(have.contains(&row["want"]) || kind == "PTR", "{what}: {row}");
        }
    }
    // The host's own address: none, and no answer.
    for (content, state) in [(vec![], "missing"), (vec!["!servfail"], "unknown")] {
        site.show("mx.a.test", kind, &content);
        let (status, rows) = site.rows(&["mx.a.test"]);
        let row = rows.iter().find(|row| row["name"] == "mx.a.test").unwrap();
        assert_eq!((status, row["state"].as_str()), (1, Some(state)), "{row}");
    }
}

/// An SPF record of others' terms is not thrown away.
#[test]
fn what_is_wanted_of_an_spf_record_keeps_what_is_there() {
    let site = Published::new("");
    site.show("a.test", "TXT", &["v=spf1 include:x.test -all", "site-verification=1"]);
    let row = site.row("a.test", "TXT").1;
    // The include leads nowhere: that is broken, and mended by a new record.
    assert_eq!(row["have"][0], "v=spf1 include:x.test -all");
    site.show("a.test", "TXT", &["v=spf1 ip4:198.51.100.1 -all"]);
    let row = site.row("a.test", "TXT").1;
    let want = row["want"].as_str().unwrap();
    assert!(want.starts_with("v=spf1 ip") && want.ends_with(" ip4:198.51.100.1 -all"), "{want}");
    assert_eq!(row["have"][0], "v=spf1 ip4:198.51.100.1 -all");
    site.show("a.test", "TXT", &[want]);
    assert_eq!(site.row("a.test", "TXT").1["state"], "ok");
}

/// Records that are found by an alias count, and so does a policy of the domain above.
#[test]
fn aliases_and_the_domain_above() {
    let site = Published::new("[domain.\"lists.a.test\"]\nmaildir = \"m/{user}\"\n");
    site.show("_dmarc.lists.a.test", "TXT", &[]);
    let (status, row) = site.row("_dmarc.lists.a.test", "TXT");
    assert_eq!((status, row["state"].as_str()), (0, Some("ok")), "{row}");
    assert_eq!(row["want"], "v=DMARC1; p=none; rua=mailto:postmaster@a.test");
    let zone = served(&site.zone);
    let zone = zone.replace("_dmarc.a.test TXT", "dmarc.b.test TXT");
    site.dns.set(&format!("{zone}_dmarc.a.test CNAME dmarc.b.test"));
    assert_eq!(site.row("_dmarc.a.test", "TXT").1["state"], "ok");
}

/// A key in this directory; gives its record, in strings between bars.
fn key(site: &Published, dir: &str, selector: &str, kind: KeyKind) -> String {
    make_dir(&site.place.at(dir), None).unwrap();
    let name = Name::parse(selector.as_bytes()).unwrap();
    let key = make_key(&site.place.at(dir), &name, kind, None).unwrap();
    strings(&key.record).join("|")
}

/// A site that signs for a.test and for c.test, which lives elsewhere, with three keys; all is published.
fn signing() -> Published {
    let mut site = Published::new("[sign.\"c.test\"]\ndkim = \"keys-c\"\n");
    let config = fs::read_to_string(site.place.at("facteur.toml")).unwrap();
    let own = "[domain.\"a.test\"]\ndkim = \"keys\"\n";
    site.place.write("facteur.toml", config.replace("[domain.\"a.test\"]\n", own));
    key(&site, "keys", "s1", KeyKind::Rsa);
    key(&site, "keys", "s2", KeyKind::Ed25519);
    key(&site, "keys-c", "s1", KeyKind::Ed25519);
    site.zone = run_clean(&site.place, &["dns", "--zone"]).1;
    site.dns.set(&served(&site.zone));
    site
}

#[test]
fn keys_in_each_state() {
    let site = signing();
    let (status, rows) = site.rows(&[]);
    assert_eq!(status, 0, "{rows:#?}");
    let name = "s1._domainkey.a.test";
    let own = site.row(name, "TXT").1;
    assert!(own["want"].as_str().unwrap().starts_with("v=DKIM1; k=rsa; p="), "{own}");
    // SPF, keys, then MX.
    let kinds: Vec<&str> = rows
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .filter(|name| name.ends_with("_domainkey.a.test") || *name == "a.test")
        .collect();
    assert_eq!(kinds, ["a.test", name, "s2._domainkey.a.test", "a.test"]);
    // Of a domain that lives elsewhere nothing else is wanted.
    let (status, rows) = site.rows(&["c.test"]);
    assert_eq!((status, rows.len()), (0, 1), "{rows:#?}");
    let other = key(&site, "others", "s1", KeyKind::Rsa);
    let text = own["want"].as_str().unwrap().replace("v=DKIM1; ", "n=a b; ");
    let (front, back) = text.split_at(200);
    for (content, state) in [
        (vec![format!("{front}|{back}"), "v=DKIM1; p=".to_owned()], "ok"),
        (vec![other], "differs"),
        (vec!["v=DKIM1; p=".to_owned()], "differs"),
        (vec![], "missing"),
        (vec!["!servfail".to_owned()], "unknown"),
    ] {
        site.show(name, "TXT", &content.iter().map(String::as_str).collect::<Vec<_>>());
        let (status, row) = site.row(name, "TXT");
        assert_eq!(row["state"], state, "{content:?}: {row}");
        assert_eq!(status, i32::from(state != "ok"), "{row}");
    }
    // One that cannot be used, and none at all.
    site.dns.set(&served(&site.zone));
    site.place.write("keys/s1.rsa.pem", "nonsense");
    let (status, row) = site.row("_domainkey.a.test", "TXT");
    assert_eq!((status, row["state"].as_str()), (1, Some("unknown")), "{row}");
    assert!(row["want"].as_str().unwrap().contains("s1.rsa.pem"), "{row}");
    fs::remove_dir_all(site.place.at("keys")).unwrap();
    make_dir(&site.place.at("keys"), None).unwrap();
    let (status, row) = site.row("_domainkey.a.test", "TXT");
    assert_eq!((status, row["state"].as_str()), (1, Some("missing")), "{row}");
    assert_eq!(row["want"], "(there is no key yet: facteur dkim new a.test)");
}

#[test]
fn keys_that_cannot_be_read_cost_their_own_lines() {
    let site = signing();
    let (keys, away) = (site.place.at("keys"), site.place.at("away"));
    // Root may read all, but no link that leads to itself.
    let is_root = geteuid().is_root();
    if is_root {
        fs::rename(&keys, &away).unwrap();
        symlink(&keys, &keys).unwrap();
    } else {
        fs::set_permissions(&keys, Permissions::from_mode(0o000)).unwrap();
    }
    let (status, rows) = site.rows(&[]);
    if !is_root {
        fs::set_permissions(&keys, Permissions::from_mode(0o700)).unwrap();
    }
    let why = if is_root { "symbolic links" } else { "Permission" };
    let bad: Vec<&Value> = rows.iter().filter(|row| row["state"] != "ok").collect();
    // The domain that is an alias has the same keys.
    let names: Vec<_> = bad.iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!((status, &names[..]), (1, &["_domainkey.a.test", "_domainkey.alias.test"][..]));
    for row in bad {
        let want = row["want"].as_str().unwrap();
        assert!(row["state"] == "unknown" && want.contains(why), "{row}");
    }
}

/// What DNS shows of keys is remembered, so that they sign; and of a key that is needed no more it is told
/// that its record may go.
#[test]
fn keys_that_were_shown_sign_and_retired_ones_may_go() {
    let site = signing();
    fs::create_dir(site.place.at("spool")).unwrap();
    assert_eq!(run(&site.place, &["dns"]).0, 0);
    let listed = || run(&site.place, &["dkim", "list", "--json"]).1;
    assert_eq!(listed().matches("\"signs\"").count(), 5, "{}", listed());
    // Another key takes over, an hour later, and what the first one signed has long arrived.
    let record = key(&site, "keys", "s3", KeyKind::Rsa);
    // The domain that is an alias has the same keys.
    let shown = ["a.test", "alias.test"].map(|name| format!("s3._domainkey.{name} TXT {record}\n"));
    let zone = format!("{}{}", served(&site.zone), shown.concat());
    site.dns.set(&zone);
    assert_eq!(run(&site.place, &["dns"]).0, 0);
    let file = site.place.at("spool/dkim/a.test");
    let long_ago = |text: &str| {
        let year = |at: i64| {
            let then = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * at);
            format!("{then:.0}")
        };
        let words = text.split_inclusive([' ', '\n']).map(|word| match word.starts_with("20") {
            true => word.replace(word.trim_end(), &year(60)),
            false => word.to_owned(),
        });
        words.collect::<String>()
    };
    let text = fs::read_to_string(&file).unwrap();
    let (head, keys) = text.split_once("key ").unwrap();
    fs::write(&file, format!("{head}key {}", long_ago(keys))).unwrap();
    assert_eq!(run(&site.place, &["dns"]).0, 0);
    let retired = fs::read_to_string(&file).unwrap();
    let retired: String = retired
        .lines()
        .map(|line| match line.rsplit_once(" retired ") {
            Some((front, when)) if when != "-" => format!("{front} retired {}\n", long_ago(when)),
            _ => format!("{line}\n"),
        })
        .collect();
    fs::write(&file, retired).unwrap();
    // A message that it signed waits longer than all others, as one that is held.
    let waiting = "facteur queue 1\nid: m0fixture\nqueued: 2026-11-23T14:00:00Z\nsession: s0fixture\n\
                   from: <ann@a.test>\ntrusted: yes\nsigned: a.test s1 s2\nto: <eve@b.test>\nsize: 1\n\nx";
    fs::create_dir_all(site.place.at("spool/queue")).unwrap();
    let waiting = site.place.write("spool/queue/m0fixture", waiting);
    let (status, out, _) = run(&site.place, &["dns", "a.test"]);
    let needed = "(of a retired key: mail that it signed waits in the queue)";
    assert!(status == 0 && out.contains(needed) && !out.contains("may be removed"), "{out}");
    assert!(run(&site.place, &["dns", "--zone"]).1.contains("s1._domainkey.a.test"));
    fs::remove_file(waiting).unwrap();
    let (status, out, err) = run(&site.place, &["dns", "a.test"]);
    let lines = out.lines().skip_while(|line| !line.contains("s1._domainkey.a.test"));
    let lines: Vec<&str> = lines.collect();
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    assert!(lines[0].starts_with("ok "), "{out}");
    assert_eq!(
        lines[1..],
        ["    (of a retired key: this record may be removed, then its file)"],
        "the last line of all: {out}"
    );
    assert!(!run(&site.place, &["dns", "--zone"]).1.contains("s1._domainkey.a.test"));
    // It is gone: nothing is said of it.
    site.dns.set(
        &zone
            .lines()
            .filter(|line| !line.starts_with("s1._domainkey.a.test"))
            .map(|line| format!("{line}\n"))
            .collect::<String>(),
    );
    let (status, out, _) = run(&site.place, &["dns", "a.test"]);
    assert!(status == 0 && !out.contains("s1._domainkey.a.test"), "{out}");
}

/// Behind a smarthost its operator says what SPF has to say.
#[test]
fn a_smarthost_sends() {
    let site = Published::new("[relay]\nsmarthost = \"smtp.b.test:587\"\n");
    assert!(site.zone.contains("\n; a.test. TXT: what the operator of smtp.b.test says"));
    let (status, row) = site.row("a.test", "TXT");
    assert_eq!((status, row["state"].as_str()), (0, Some("missing")), "{row}");
    for (record, state) in [
        ("v=spf1 include:b.test -all", "differs"),
        ("v=spf1 ip4:198.51.100.1 -all", "ok"),
        ("v=spf1 x", "differs"),
    ] {
        site.show("a.test", "TXT", &[record]);
        let (status, row) = site.row("a.test", "TXT");
        assert_eq!((status, row["state"].as_str()), (0, Some(state)), "{row}");
    }
}

#[test]
fn names_that_are_not_ours_and_options_that_do_not_fit() {
    let site = Published::new("");
    let (status, out, err) = run_clean(&site.place, &["dns", "a.test", "b\u{1b}.test"]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert_eq!(err, "facteur: b\\x1b.test is neither our host name nor a domain of ours\n");
    let (status, rows) = site.rows(&["alias.test"]);
    assert_eq!((status, rows.len()), (0, 7), "{rows:#?}");
    let (status, rows) = site.rows(&["B\u{fc}cher.test.", "xn--bcher-kva.test"]);
    assert_eq!((status, rows.len()), (0, 7), "{rows:#?}");
    for options in [&["dns", "--zone", "--json"][..], &["check", "--zone"], &["dns", "--all"]] {
        assert_eq!(run_clean(&site.place, options).0, 2, "{options:?}");
    }
    // A certificate that cannot be read spoils its own line only.
    site.place.write("mx.pem", "nonsense");
    let (status, row) = site.row("_25._tcp.mx.a.test", "TLSA");
    assert_eq!((status, row["state"].as_str()), (0, Some("unknown")));
    assert!(row["want"].as_str().unwrap().contains("mx.pem: expected"), "{row}");
}

#[test]
fn named_checkzone_reads_the_zone() {
    if !has_program("named-checkzone", "-v") {
        return skip("named-checkzone is not installed");
    }
    let site = signing();
    let head = "$ORIGIN test.\n@ 3600 IN SOA ns.test. root.test. 1 3600 600 86400 300\n\
                @ 3600 IN NS ns.test.\nns.test. 3600 IN A 192.0.2.53\n";
    let file = site.place.write("zone", format!("{head}{}", site.zone));
    let mut check = Command::new("named-checkzone");
    let output = check.args(["-D", "-i", "local", "test"]).arg(file).output().unwrap();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}{}", site.zone);
    // The records as it has read them, in one form.
    for record in [
        "s1._domainkey.a.test.",
        "_dmarc.xn--bcher-kva.test.",
        "_25._tcp.mx.a.test.",
        "_submissions._tcp.a.test.",
    ] {
        assert!(text(&output.stdout).contains(record), "{record}: {said}");
    }
    // Other name servers refuse the whole zone then.
    assert!(site.zone.contains(".arpa. "), "{}", site.zone);
    assert!(!said.contains("out-of-zone"), "{said}");
}

/// `check` warns of what mail may be refused for, and is no failure for it.
#[test]
fn check_says_what_is_not_published() {
    let site = Published::new("");
    let check = || {
        let (status, _, err) = run_clean(&site.place, &["check"]);
        let lines = err.lines().filter(|line| line.contains("DNS")).map(str::to_owned);
        (status, lines.collect::<Vec<_>>())
    };
    let (status, lines) = check();
    assert_eq!((status, lines.as_slice()), (0, &[][..]));
    site.show("a.test", "MX", &["10 mx.b.test"]);
    let (status, lines) = check();
    let words = "warning: DNS: MX of a.test is \"10 mx.b.test\"; wanted: 10 mx.a.test";
    assert_eq!((status, lines), (0, vec![words.to_owned()]));
    // What is only good to have is not missed, but a record that keeps mail away is.
    site.show("_smtp._tls.a.test", "TXT", &[]);
    assert!(check().1.is_empty());
    site.show("_25._tcp.mx.a.test", "TLSA", &[&format!("3 1 1 {}", "00".repeat(32))]);
    assert_eq!(check().1.len(), 1);
    // Nobody answers: one line, soon.
    site.dns.set("* !silent");
    let began = Instant::now();
    let (status, lines) = check();
    assert!(status == 0 && began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(lines.len() == 1 && lines[0].contains("DNS did not say"), "{lines:?}");
    // Names that only a server of ours could know are not asked of others.
    let servers = format!("servers = [\"{}\"]\n", site.dns.address());
    site.place.write("facteur.toml", self::site(&site.dns, "").replace(&servers, ""));
    assert!(check().1.is_empty());
}
