//! Reports on TLS (RFC 8460) through the whole server: mail to hosts whose TLS fails, a day that passes, and the report
//! as its receivers get it, by mail and by HTTPS; with restarts and kills between, and as `facteur queue tls-report`
//! shows and sends it.

use crate::commands::run;
use crate::dnsd::Dnsd;
use crate::hosts::{Host, Mail};
use crate::secrecy::{Pair, authority};
use crate::servers::{Binary, FACTEUR};
use crate::signed::{Keys, by_dkimpy, holding, until_both_sign};
use crate::support::{PATIENCE, Place, config, files, text, until};
use crate::webd::{Page, Webd};
use base64ct::{Base64, Encoding};
use flate2::read::GzDecoder;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::Command;

/// A server of mx.test that signs and reports, and the MX host of far.test, which may not be what it has to be.
struct World {
    place: Place,
    keys: Keys,
    dns: Dnsd,
    far: Host,
    web: Webd,
}

/// Where the web server of reports is asked.
const WEB: &str = "web.far.test";

impl World {
    /// `rua`: where far.test wants its reports, `WEB` and its port for `{web}`; `more`: of its zone.
    fn new(rua: &str, more: &str) -> World {
        let (place, keys) = (Place::new(), Keys::new());
        keys.write(&place.at("keys"));
        place.write("authority.pem", authority());
        let far = Host::on("127.0.0.2:0", "");
        let web = Webd::new(&Pair::of(&[WEB]));
        web.set(WEB, Page::of(201, "text/plain", ""));
        let dns = Dnsd::new("");
        let world = World { place, keys, dns, far, web };
        world.set(rua, more);
        world.place.write("facteur.toml", world.config());
        world
    }

    /// From now on DNS says this.
    fn set(&self, rua: &str, more: &str) {
        let web = format!("{WEB}:{}", self.web.address.port());
        let record = match rua {
            "" => String::new(),
            rua => {
                format!("_smtp._tls.far.test TXT v=TLSRPTv1; rua={}\n", rua.replace("{web}", &web))
            }
        };
        let hosts =
            format!("far.test MX 10 mx.far.test\nmx.far.test A 127.0.0.2\n{WEB} A 127.0.0.1\n");
        self.dns.set(&format!("{}{hosts}{record}{more}", self.keys.zone("mx.test")));
    }

    fn config(&self) -> String {
        let (dns, port) = (self.dns.address(), self.far.address.port());
        config(&format!(
            "dkim = \"keys\"\n[relay]\nnetworks = [\"127.0.0.0/8\"]\nport = {port}\nretry = [\"1h\"]\n\
             reports = \"tls@mx.test\"\n[dns]\nservers = [\"{dns}\"]\ntimeout = \"1s\"\ntrust_ad = true\n\
             [timeout]\ncommand = \"5s\"\nconnect = \"5s\"\n"
        ))
    }

    fn serve(&self) -> Binary {
        let mut command = Command::new(FACTEUR);
        command.arg("-c").arg(self.place.at("facteur.toml")).arg("serve");
        command.env("SSL_CERT_FILE", self.place.at("authority.pem"));
        let server = Binary::start(command);
        until_both_sign(&server, &self.place, "ann@mx.test", "ann");
        server
    }

    /// A command, which believes the authority of the tests.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(FACTEUR);
        command.args(arguments).current_dir(self.place.path());
        command.env("SSL_CERT_FILE", self.place.at("authority.pem"));
        let output = command.output().unwrap();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    /// Sends a message to far.test.
    fn send(&self, server: &Binary) {
        let message = b"From: ann@mx.test\r\nSubject: hi\r\n\r\nhello\r\n";
        server.client().delivered(&["bob@far.test"], message);
    }

    /// The file of this day's counts.
    fn today(&self) -> PathBuf {
        self.place.at(&format!("spool/tls/{}", day(0)))
    }

    /// Waits until so many connections are counted today.
    fn until_counted(&self, count: u64) {
        let number = |line: &str| serde_json::from_str::<Value>(line).ok()?["count"].as_u64();
        until(&format!("{count} connections are counted"), || {
            let lines = fs::read_to_string(self.today()).unwrap_or_default();
            lines.lines().filter_map(number).sum::<u64>() == count
        });
    }

    /// Two days pass: so the hour after the day is over, whatever time it is.
    fn days_pass(&self) {
        fs::rename(self.today(), self.place.at(&format!("spool/tls/{}", day(2)))).unwrap();
    }

    /// The reports that the host of far.test has got, once so many have come.
    fn reports(&self, count: usize) -> Vec<Vec<u8>> {
        let is_report = |mail: &Mail| mail.is_taken && mail.to == ["tls@far.test"];
        let taken = || self.far.mail().into_iter().filter(is_report).map(|mail| mail.octets);
        until(&format!("{count} reports"), || taken().count() >= count);
        taken().collect()
    }
}

/// A day so many days ago.
fn day(ago: i32) -> String {
    let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
    today.saturating_sub(i64::from(ago).days()).to_string()
}

fn unpacked(octets: &[u8]) -> Value {
    let mut json = String::new();
    GzDecoder::new(octets).read_to_string(&mut json).unwrap();
    serde_json::from_str(&json).unwrap()
}

/// The report in a letter.
fn report_of(letter: &[u8]) -> Value {
    let letter = text(letter).replace("\r\n", "\n");
    let (_, body) = letter.split_once(".json.gz\"\n\n").unwrap();
    let (body, _) = body.split_once("\n\n").unwrap();
    unpacked(&Base64::decode_vec(&body.replace('\n', "")).unwrap())
}

/// A field of a letter, unfolded.
fn field(letter: &[u8], name: &str) -> String {
    let letter = text(letter).replace("\r\n", "\n").replace("\n\t", " ").replace("\n ", " ");
    let line = letter.lines().find(|line| line.starts_with(&format!("{name}: ")));
    let line = line.unwrap_or_else(|| panic!("no {name} in {letter}"));
    line[name.len() + 2..].to_owned()
}

/// What was counted for so many messages that went in the clear.
fn in_the_clear(count: u64) -> Value {
    json!([{
        "policy": { "policy-type": "no-policy-found", "policy-domain": "far.test" },
        "summary": {
            "total-successful-session-count": 0,
            "total-failure-session-count": count,
        },
        "failure-details": [{
            "result-type": "starttls-not-supported",
            "sending-mta-ip": "127.0.0.1",
            "receiving-mx-hostname": "mx.far.test",
            "receiving-ip": "127.0.0.2",
            "failed-session-count": count,
            "failure-reason-code": "no STARTTLS is offered",
        }],
    }])
}

#[test]
fn a_day_is_reported_by_mail_and_by_https_once() {
    let world = World::new("mailto:tls@far.test,https://{web}/v1", "");
    let server = world.serve();
    world.send(&server);
    server.wait_for(&["relayed ", "to=bob@far.test"]);
    world.until_counted(1);
    // What is counted survives a stop, and is counted on.
    server.stop();
    let server = world.serve();
    world.send(&server);
    world.until_counted(2);
    server.stop();
    world.days_pass();
    let server = world.serve();
    let letter = world.reports(1).remove(0);
    server.wait_for(&["tls-reports day=", "domains=1 sent=2 failed=0"]);
    let report = report_of(&letter);
    let day = day(2);
    assert_eq!(report["policies"], in_the_clear(2), "{report}");
    assert_eq!(report["organization-name"], "mx.test");
    assert_eq!(report["contact-info"], "tls@mx.test");
    assert_eq!(report["date-range"]["start-datetime"], format!("{day}T00:00:00Z"));
    assert_eq!(report["date-range"]["end-datetime"], format!("{day}T23:59:59Z"));
    // As RFC 8460 §5.3 has it.
    let id = report["report-id"].as_str().unwrap();
    let subject = format!("Report Domain: far.test Submitter: mx.test Report-ID: <{id}>");
    assert_eq!(field(&letter, "Subject"), subject);
    assert_eq!(field(&letter, "TLS-Report-Domain"), "far.test");
    assert_eq!(field(&letter, "TLS-Report-Submitter"), "mx.test");
    assert_eq!(field(&letter, "TLS-Required"), "No");
    assert!(field(&letter, "Content-Type").contains("report-type=\"tlsrpt\""));
    let file = text(&letter);
    assert!(file.contains("filename=\"mx.test!far.test!") && file.contains(".json.gz\""), "{file}");
    // Signed, with its own fields.
    let records = world.keys.records("mx.test");
    assert_eq!(holding(&letter, &records).len(), 2, "{}", text(&letter));
    by_dkimpy(std::slice::from_ref(&letter), &records);
    let signature = field(&letter, "DKIM-Signature").replace(' ', "");
    assert!(signature.contains("tls-report-domain:tls-report-submitter"), "{signature}");
    // By HTTPS the same.
    let asked = world.web.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!((&*asked[0].name, &*asked[0].what), (WEB, "POST /v1"));
    assert!(asked[0].header.contains(&"content-type: application/tlsrpt+gzip".to_owned()));
    assert_eq!(unpacked(&asked[0].body), report);
    // From nobody, and in a queue that is empty again.
    let mail = world.far.mail();
    let its = mail.iter().find(|mail| mail.octets == letter).unwrap();
    assert_eq!(its.from, "");
    until("the queue is empty", || files(&world.place.at("spool/queue")).is_empty());
    // Nothing is counted about it, and nothing goes again.
    server.stop();
    assert!(!world.today().exists(), "{:?}", fs::read_to_string(world.today()));
    let server = world.serve();
    world.send(&server);
    world.until_counted(1);
    server.stop();
    assert_eq!((world.reports(1).len(), world.web.asked().len()), (1, 1));
    let (status, out, _) = world.run(&["queue", "tls-report", "--day", &day, "--send"]);
    assert_eq!((status, &*out), (0, &*format!("{day}: there is nothing that has not gone yet\n")));
}

#[test]
fn a_kill_between_two_addresses_repeats_none() {
    let world = World::new("mailto:tls@far.test,https://{web}/v1", "");
    let server = world.serve();
    world.send(&server);
    world.until_counted(1);
    server.stop();
    world.days_pass();
    // The web server takes the report, and does not answer.
    world.web.set(WEB, Page::Held(Vec::new()));
    let mut server = world.serve();
    until("it is posted", || world.web.count(WEB) == 1);
    let first = world.reports(1).remove(0);
    server.signal("KILL");
    server.wait_end(PATIENCE);
    world.web.set(WEB, Page::of(200, "text/plain", ""));
    let server = world.serve();
    server.wait_for(&["tls-reports day=", "sent=1 failed=0"]);
    assert_eq!((world.reports(1).len(), world.web.count(WEB)), (1, 2));
    // The one that may have come twice is the same.
    let posted: Vec<Value> = world.web.asked().iter().map(|one| unpacked(&one.body)).collect();
    assert_eq!((&posted[0], &posted[0]), (&posted[1], &report_of(&first)));
    server.stop();
}

#[test]
fn a_report_is_not_kept_back_by_the_record_that_it_is_about() {
    let tlsa = format!("_{{port}}._tcp.mx.far.test TLSA 3 1 1 {}\n", "ab".repeat(32));
    let world = World::new("mailto:tls@far.test", "");
    let port = world.far.address.port().to_string();
    let signed = "far.test !ad\nmx.far.test !ad\n".to_owned();
    let tlsa = tlsa.replace("{port}", &port);
    let more = format!("{signed}{tlsa}_{port}._tcp.mx.far.test !ad\n");
    world.set("mailto:tls@far.test", &more);
    let server = world.serve();
    world.send(&server);
    server.wait_for(&["deferred ", "to=bob@far.test", "4.7.5"]);
    world.until_counted(1);
    server.stop();
    assert!(world.far.mail().is_empty());
    world.days_pass();
    let server = world.serve();
    let report = report_of(&world.reports(1)[0]);
    let policy = &report["policies"][0];
    assert_eq!(
        policy["policy"],
        json!({
            "policy-type": "tlsa",
            "policy-string": [format!("3 1 1 {}", "ab".repeat(32))],
            "policy-domain": "mx.far.test",
        })
    );
    assert_eq!(policy["summary"]["total-failure-session-count"], 1);
    assert_eq!(policy["failure-details"][0]["result-type"], "starttls-not-supported");
    // The other mail waits on.
    assert!(world.far.mail().iter().all(|mail| mail.to == ["tls@far.test"]));
    server.stop();
}

#[test]
fn nobody_hears_of_a_report_that_fails() {
    let world = World::new("mailto:tls@far.test,mailto:nobody@mx.test", "");
    let server = world.serve();
    world.send(&server);
    world.until_counted(1);
    server.stop();
    world.days_pass();
    world.far.change("RCPT: 550 5.1.1 who");
    let config = world.config().replace("any_user = true", "users = \"users\"");
    world.place.write("facteur.toml", config);
    world.place.write("users", "ann:{PLAIN}x\n");
    let server = world.serve();
    for to in ["tls@far.test", "nobody@mx.test"] {
        server.wait_for(&["bounced ", &format!("to={to}")]);
    }
    until("the queue is empty", || files(&world.place.at("spool/queue")).is_empty());
    assert_eq!(server.lines().iter().filter(|line| line.contains("noticed ")).count(), 0);
    assert!(world.place.mail("ann").is_empty(), "{:?}", world.place.mail("ann"));
    server.stop();
}

#[test]
fn a_report_is_shown_and_sent_by_hand() {
    let world = World::new("mailto:tls@far.test,https://{web}/v1,ftp://x.test", "");
    let server = world.serve();
    let (status, out, err) = world.run(&["queue", "tls-report"]);
    assert_eq!(
        (status, &*out, &*err),
        (0, "", &*format!("facteur: nothing was counted on {}\n", day(0)))
    );
    world.send(&server);
    world.until_counted(1);
    // Today so far, with and without its name, and nothing goes.
    for arguments in
        [&["queue", "tls-report", "--day", &day(0)][..], &["queue", "tls-report", "--print"]]
    {
        let (status, out, err) = world.run(arguments);
        let report: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((status, &report["policies"]), (0, &in_the_clear(1)), "{err}");
        assert!(err.contains("far.test: its report goes to mailto:tls@far.test\n"), "{err}");
        assert!(err.contains("ftp://x.test"), "{err}");
    }
    assert_eq!((world.web.asked().len(), world.far.mail().len()), (0, 1));
    // At once, beside the server.
    let (status, out, err) = world.run(&["queue", "tls-report", "--send"]);
    assert_eq!(status, 0, "{out}{err}");
    assert!(out.contains("far.test: queued for mailto:tls@far.test as m"), "{out}");
    assert!(out.contains(&format!("far.test: posted to https://{WEB}")), "{out}");
    assert!(
        out.contains("far.test: cannot be sent, for its TLSRPT record: \"ftp://x.test\""),
        "{out}"
    );
    assert_eq!((world.reports(1).len(), world.web.asked().len()), (1, 1));
    // What is counted later on the same day is a report of its own, also without a server.
    server.stop();
    let server = world.serve();
    world.send(&server);
    world.until_counted(1);
    server.stop();
    let (status, out, _) =
        world.run(&["queue", "tls-report", "--day", &day(0), "--send", "--print"]);
    assert_eq!(status, 0, "{out}");
    assert_eq!(world.web.asked().len(), 2);
    assert_ne!(
        unpacked(&world.web.asked()[0].body)["report-id"],
        unpacked(&world.web.asked()[1].body)["report-id"]
    );
    assert_eq!(world.place.at("spool/queue").read_dir().unwrap().count(), 1);
}

#[test]
fn what_fails_by_hand_is_left_for_the_server() {
    let world = World::new("https://{web}/v1", "");
    let server = world.serve();
    world.send(&server);
    world.until_counted(1);
    server.stop();
    world.web.set(WEB, Page::of(503, "text/plain", ""));
    let (status, out, err) = world.run(&["queue", "tls-report", "--send"]);
    assert_eq!((status, &*out), (1, ""), "{err}");
    assert!(err.contains("the server answered 503"), "{err}");
    // A certificate for another name is no server of far.test's.
    world.set("https://{web}/v1", "");
    let other = Webd::new(&Pair::of(&["other.test"]));
    let url = format!("https://{WEB}:{}/", other.address.port());
    world.set(&url, "");
    let (status, _, err) = world.run(&["queue", "tls-report", "--send"]);
    assert_eq!(status, 1, "{err}");
    assert!(
        err.contains("the certificate is not for web.far.test") && other.asked().is_empty(),
        "{err}"
    );
    world.set("https://{web}/v1", "");
    world.web.set(WEB, Page::of(200, "text/plain", ""));
    let server = world.serve();
    server.wait_for(&["tls-report ", "domain=far.test", "status=200"]);
    server.stop();
    assert_eq!(world.web.asked().len(), 2);
}

#[test]
fn wrong_words_and_sites_without_reports() {
    let place = Place::new();
    place.write("facteur.toml", config(""));
    let (status, out, err) = run(&place, &["queue", "tls-report"]);
    assert_eq!((status, &*out), (1, ""));
    assert!(err.contains("relay.reports is not set"), "{err}");
    place.write("facteur.toml", config("[relay]\nreports = \"tls@mx.test\"\n"));
    for bad in ["yesterday", "2026-1-1", "2026-13-01", ""] {
        let (status, _, err) = run(&place, &["queue", "tls-report", "--day", bad]);
        assert_eq!(status, 2, "{bad} {err}");
    }
    for arguments in [
        &["queue", "list", "--send"][..],
        &["queue", "tls-report", "--json"],
        &["queue", "tls-report", "x"],
    ] {
        assert_eq!(run(&place, arguments).0, 2, "{arguments:?}");
    }
    // Nothing is made by looking.
    assert!(!place.at("spool").exists());
    // Reports that nobody signs are ignored by their receivers.
    let (_, out, err) = run(&place, &["check"]);
    assert!(out.contains("reports on TLS: daily, from tls@mx.test\n"), "{out}");
    assert!(
        err.contains("warning: facteur.toml:") && err.contains("mx.test has no keys here"),
        "{err}"
    );
}

#[test]
fn a_torn_file_of_counts_costs_its_torn_lines_alone() {
    let world = World::new("mailto:tls@far.test", "");
    let server = world.serve();
    world.send(&server);
    world.until_counted(1);
    server.stop();
    let mut torn = fs::read(world.today()).unwrap();
    let half = torn.len() / 2;
    torn.extend_from_within(..half);
    fs::write(world.today(), &torn).unwrap();
    let server = world.serve();
    world.send(&server);
    world.until_counted(2);
    let (status, out, err) = world.run(&["queue", "tls-report", "--day", &day(0)]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &report["policies"]), (0, &in_the_clear(2)), "{err}");
    assert!(err.contains("left out as they are torn: 1"), "{err}");
    server.stop();
}

#[test]
fn without_reports_nothing_is_counted() {
    let world = World::new("mailto:tls@far.test", "");
    let config = world.config().replace("reports = \"tls@mx.test\"\n", "");
    world.place.write("facteur.toml", config);
    let server = world.serve();
    world.send(&server);
    server.wait_for(&["relayed ", "to=bob@far.test"]);
    let pid = server.pid();
    let threads = || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
    };
    assert!(threads().any(|name| name == "scheduler\n"));
    assert!(!threads().any(|name| name.starts_with("tls-")));
    // A reload turns them on.
    world.place.write("facteur.toml", world.config());
    server.signal("HUP");
    server.wait_for(&["reloaded "]);
    world.send(&server);
    world.until_counted(1);
    assert_eq!(world.dns.asked("_smtp._tls.far.test", "TXT"), 0);
    server.stop();
}
