//! `facteur dkim`: the files that it makes, who may read them, what a person is told, and what `check` says of keys.

use crate::commands::{run, run_clean};
use crate::dnsd::Dnsd;
use crate::servers::FACTEUR;
use crate::support::{Place, config, files, has_program, skip, text, within};
use facteur::store::keys::KeyDir;
use nix::unistd::{User, geteuid};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

/// A place whose domain has keys, and a name server that knows no name.
fn place(more: &str) -> (Place, Dnsd) {
    let (place, dns) = (Place::new(), Dnsd::new(""));
    let servers = format!("[dns]\nservers = [\"{}\"]", dns.address());
    place.write("facteur.toml", config(&format!("dkim = \"keys\"\n{more}\n{servers}")));
    (place, dns)
}

/// The names of the files in a directory.
fn names(dir: &Path) -> Vec<String> {
    files(dir).iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

fn list(place: &Place) -> Vec<Value> {
    let (status, out, err) = run_clean(place, &["dkim", "list", "--json"]);
    assert_eq!((status, err.as_str()), (0, ""));
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Without the date of a selector, which would be another tomorrow.
fn undated(names: &[String]) -> Vec<&str> {
    names
        .iter()
        .map(|name| name.split_at(8))
        .map(|(date, rest)| {
            assert!(date.bytes().all(|octet| octet.is_ascii_digit()), "{date}");
            rest
        })
        .collect()
}

#[test]
fn keys_are_made_and_their_records_printed() {
    let (place, _dns) = place("");
    let (status, out, err) = run(&place, &["dkim", "new", "MX.test"]);
    assert_eq!((status, err.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 2, "{out}");
    for (line, (letter, kind)) in lines.iter().zip([("r", "rsa"), ("e", "ed25519")]) {
        let (name, data) = line.split_once(" IN TXT ( ").unwrap();
        assert_eq!(&name[8..], format!("{letter}._domainkey.mx.test."));
        assert!(data.starts_with(&format!("\"v=DKIM1; k={kind}; p=")), "{line}");
        let strings = data.strip_suffix(" )").unwrap().split("\" \"");
        assert!(strings.clone().all(|string| string.trim_matches('"').len() <= 255), "{line}");
        assert_eq!(strings.count(), if kind == "rsa" { 2 } else { 1 }, "{line}");
    }
    let all = names(&place.at("keys"));
    assert_eq!(undated(&all), ["e.ed25519.pem", "r.rsa.pem"]);
    assert_eq!(mode(&place.at("keys")), 0o700);
    assert!(all.iter().all(|name| mode(&place.at("keys").join(name)) == 0o600));

    // Behind it b, c, and nothing is overwritten.
    let before: Vec<_> =
        files(&place.at("keys")).iter().map(|path| fs::read(path).unwrap()).collect();
    for _ in 0..2 {
        assert_eq!(run(&place, &["dkim", "new", "mx.test", "--type", "ed25519"]).0, 0);
    }
    let all = names(&place.at("keys"));
    let expected = ["e.ed25519.pem", "eb.ed25519.pem", "ec.ed25519.pem", "r.rsa.pem"];
    assert_eq!(undated(&all), expected);
    let kept = [&all[0], &all[3]].map(|name| fs::read(place.at("keys").join(name)).unwrap());
    assert_eq!(kept.to_vec(), before);

    let rows = list(&place);
    assert_eq!(rows.len(), 4);
    for row in &rows {
        assert_eq!((&row["domain"], &row["state"]), (&"mx.test".into(), &"waiting".into()));
        assert_eq!((&row["until"], row.as_object().unwrap().len()), (&Value::Null, 5));
    }
    let (_, out, _) = run_clean(&place, &["dkim", "list"]);
    assert!(
        out.lines().all(|line| line.contains("waiting: 2") && line.contains("not been seen")),
        "{out}"
    );
}

#[test]
fn a_name_never_holds_two_records() {
    let (place, dns) = place("");
    let made = |selector, kind| {
        run(&place, &["dkim", "new", "mx.test", "--selector", selector, "--type", kind])
    };
    assert_eq!(made("one", "rsa").0, 0);
    for (selector, kind) in [("one", "rsa"), ("one", "ed25519"), ("ONE", "ed25519")] {
        let (status, out, err) = made(selector, kind);
        assert!(status == 1 && out.is_empty() && err.contains("is taken"), "{err}");
    }
    // Of what DNS has shown, and of what it shows.
    dns.set("two._domainkey.mx.test TXT v=spf1 -all");
    assert!(made("two", "rsa").2.contains("is taken"));
    let (when, digest) = ("2020-01-01T00:00:00Z", "ab".repeat(32));
    let times = format!("first {when} last {when} hidden - signs - retired {when}");
    fs::create_dir_all(place.at("spool/dkim")).unwrap();
    let text = format!("domain mx.test\nkey three rsa {digest} {times}\nend\n");
    place.write("spool/dkim/mx.test", text);
    assert!(made("three", "ed25519").2.contains("is taken"));
    assert_eq!(made("four", "ed25519").0, 0);
    assert_eq!(names(&place.at("keys")), ["four.ed25519.pem", "one.rsa.pem"]);
    for bad in ["", "a_b", "../x", "a/b", "-a", "a..b", "a b", "\u{e9}"] {
        let (status, _, err) = made(bad, "rsa");
        assert!(status == 1 && err.contains("is no selector"), "{bad}: {err}");
    }
    // DNS that does not answer keeps nobody from making keys.
    dns.set("* !refused");
    assert_eq!(made("five", "ed25519").0, 0);
}

#[test]
fn a_key_that_will_never_take_over_is_told() {
    let (place, _dns) = place("");
    let made = |more: &[&str]| {
        run(&place, &[&["dkim", "new", "mx.test", "--type", "ed25519"], more].concat())
    };
    assert_eq!(made(&["--selector", "mail"]).2, "");
    let (status, out, err) = made(&[]);
    assert_eq!((status, out.lines().count()), (0, 1));
    assert!(err.contains("will not take over from mail of type ed25519"), "{err}");
    assert_eq!(made(&["--selector", "mail2"]).2, "");
}

#[test]
fn a_domain_without_keys_is_told_which_line_to_add() {
    let (place, _dns) = place("[domain.\"bare.test\"]\nany_user = true");
    for (domain, table) in [("bare.test", "domain"), ("else.test", "sign")] {
        let (status, out, err) = run(&place, &["dkim", "new", domain, "--type", "ed25519"]);
        assert_eq!((status, out.lines().count()), (1, 1), "{err}");
        let line = format!("dkim = \"keys/{domain}\"");
        assert!(err.contains(&format!("[{table}.\"{domain}\"]")) && err.contains(&line), "{err}");
        assert_eq!(files(&place.at("keys").join(domain)).len(), 1);
        // As the line says.
        let file = fs::read_to_string(place.at("facteur.toml")).unwrap();
        let file = match table {
            "domain" => file
                .replace("[domain.\"bare.test\"]\n", &format!("[domain.\"bare.test\"]\n{line}\n")),
            _ => format!("{file}\n[sign.\"{domain}\"]\n{line}\n"),
        };
        place.write("facteur.toml", file);
        assert_eq!(run(&place, &["dkim", "new", domain, "--type", "rsa"]).0, 0);
        assert!(list(&place).iter().any(|row| row["domain"] == domain));
    }
}

#[test]
fn words_that_make_no_sense() {
    let (place, _dns) = place("");
    for (words, says) in [
        (&["dkim"][..], "wrong arguments"),
        (&["dkim", "new"], "wrong arguments"),
        (&["dkim", "list", "mx.test"], "wrong arguments"),
        (&["dkim", "list", "--type", "rsa"], "--type goes with dkim new"),
        (&["dkim", "new", "mx.test", "--json"], "--json goes with"),
        (&["dkim", "new", "mx.test", "--type", "dsa"], "no key is of type dsa"),
        (&["dkim", "new", "mx.test", "--selector", "a"], "say --type"),
    ] {
        let (status, _, err) = run_clean(&place, words);
        assert!(status == 2 && err.contains(says), "{words:?}: {err}");
    }
    let (status, _, err) = run_clean(&place, &["dkim", "new", "../etc"]);
    assert_eq!(status, 1, "{err}");
    let (status, out, _) = run_clean(&place, &["dkim", "--help"]);
    assert!(status == 0 && out.starts_with("usage: facteur [-c FILE] dkim new DOMAIN"));
}

/// The public half of a key as OpenSSL reads it, in the form of a record: SPKI, or its last 32 octets.
fn by_openssl(file: &Path) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(["pkey", "-pubout", "-outform", "DER", "-in"]).arg(file);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    output.stdout
}

#[test]
fn other_programs_read_the_keys() {
    if !has_program("openssl", "version") {
        return skip("there is no openssl");
    }
    let (place, _dns) = place("");
    let (_, out, _) = run(&place, &["dkim", "new", "mx.test"]);
    let published: Vec<String> = out
        .lines()
        .map(|line| {
            let (_, data) = line.split_once("p=").unwrap();
            data.replace("\" \"", "").trim_end_matches("\" )").to_owned()
        })
        .collect();
    let keys = files(&place.at("keys"));
    let base64 = |octets: &[u8]| {
        use base64ct::{Base64, Encoding};
        Base64::encode_string(octets)
    };
    assert_eq!(base64(&by_openssl(&keys[1])), published[0]);
    let ed25519 = by_openssl(&keys[0]);
    assert_eq!(base64(&ed25519[ed25519.len() - 32..]), published[1]);
}

#[test]
fn check_and_list_name_what_cannot_be_used() {
    let (place, _dns) = place("");
    run(&place, &["dkim", "new", "mx.test"]);
    let (status, out, err) = run_clean(&place, &["check"]);
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("sign mx.test: by keys in "), "{out}");
    let line = err.lines().find(|line| line.contains("e._domainkey.mx.test")).unwrap();
    assert!(
        line.starts_with("warning: ")
            && line.contains("facteur.toml:8: domain.\"mx.test\".dkim: DNS has never")
    );
    assert!(err.contains("warning: ") && err.contains("mail of mx.test leaves unsigned"), "{err}");
    let open = files(&place.at("keys"))[0].clone();
    set_mode(&open, 0o644);
    for command in [&["check"][..], &["dkim", "list"]] {
        let (status, _, err) = run_clean(&place, command);
        assert_eq!(status, 1);
        let line = err.lines().find(|line| line.contains("group or others")).unwrap_or_default();
        assert!(line.contains(open.to_str().unwrap()) && line.contains("mode 644"), "{err}");
        assert!(line.starts_with(if command[0] == "check" { "error: " } else { "facteur: " }));
        assert!(!err.contains("PRIVATE") && !err.contains("MC4C"), "{err}");
    }
    fs::remove_dir_all(place.at("keys")).unwrap();
    let (status, _, err) = run_clean(&place, &["check"]);
    assert!(status == 1 && err.contains("error: ") && err.contains("keys: No such file"), "{err}");
}

#[test]
fn a_retired_key_is_needed_while_mail_that_it_signed_waits() {
    let (place, _dns) = place("");
    for selector in ["a", "b"] {
        run(&place, &["dkim", "new", "mx.test", "--selector", selector, "--type", "ed25519"]);
    }
    let digest = |selector: &str| {
        let keys = KeyDir::read(&place.at("keys")).keys;
        keys.iter().find(|key| key.selector.to_string() == selector).unwrap().digest.clone()
    };
    let when = "2020-01-01T00:00:00Z";
    let key = |selector, times: &str| {
        format!(
            "key {selector} ed25519 {} first {when} last {when} hidden - {times}\n",
            digest(selector)
        )
    };
    let retired = key("a", &format!("signs {when} retired {when}"));
    let signs = key("b", &format!("signs {when} retired -"));
    fs::create_dir_all(place.at("spool/dkim")).unwrap();
    place.write("spool/dkim/mx.test", format!("domain mx.test\n{retired}{signs}end\n"));
    let states =
        || list(&place).into_iter().map(|row| (row["state"].clone(), row["until"].clone()));
    let states = || states().collect::<Vec<_>>();
    // Five days after it was retired, whatever the clock says now.
    let over = Value::from("2020-01-06T00:00:00Z");
    assert_eq!(states(), [("retired".into(), over), ("signs".into(), Value::Null)]);
    let (_, out, _) = run_clean(&place, &["dkim", "list"]);
    assert!(out.starts_with("mx.test  a  ed25519  retired: its record may be removed"), "{out}");
    fs::create_dir_all(place.at("spool/queue")).unwrap();
    let id = facteur::id::message();
    let header = format!("facteur queue 1\nid: {id}\nqueued: {when}\nfrom: <ann@mx.test>\n");
    place.write(
        &format!("spool/queue/{id}"),
        format!("{header}signed: mx.test a\nto: <eve@far.test>\nsize: 1\n\n\n"),
    );
    assert_eq!(states()[0], ("retired".into(), Value::Null));
    let (_, out, _) = run_clean(&place, &["dkim", "list"]);
    assert!(out.contains("retired: its record is needed while mail"), "{out}");
}

/// A place that belongs to `nobody`, and that user; nothing where there is no root to give up.
fn nobody() -> Option<User> {
    if !geteuid().is_root() {
        skip("only root can become another user");
        return None;
    }
    let nobody = User::from_name("nobody").unwrap();
    if nobody.is_none() {
        skip("there is no user nobody");
    }
    nobody
}

#[test]
fn keys_of_root_are_the_servers() {
    let Some(nobody) = nobody() else { return };
    let (place, _dns) = place("");
    let file = fs::read_to_string(place.at("facteur.toml")).unwrap();
    place.write("facteur.toml", format!("run_as = \"nobody\"\n{file}"));
    set_mode(place.path(), 0o755);
    let uid = |path: &Path| fs::metadata(path).unwrap().uid();
    let is_his = |count: usize| {
        let keys = files(&place.at("keys"));
        let modes = keys.iter().map(|key| mode(key)).all(|mode| mode == 0o600);
        keys.len() == count && modes && keys.iter().all(|key| uid(key) == nobody.uid.as_raw())
    };
    assert_eq!(run(&place, &["dkim", "new", "mx.test", "--type", "rsa"]).0, 0);
    assert!(is_his(1) && uid(&place.at("keys")) == nobody.uid.as_raw());
    assert_eq!(mode(&place.at("keys")), 0o700);
    // Into his directory with his rights, into one of root's with root's.
    assert_eq!(run(&place, &["dkim", "new", "mx.test", "--type", "ed25519"]).0, 0);
    assert!(is_his(2));
    chown(place.at("keys"), Some(0), Some(0)).unwrap();
    set_mode(&place.at("keys"), 0o755);
    assert_eq!(run(&place, &["dkim", "new", "mx.test", "--type", "ed25519"]).0, 0);
    assert!(is_his(3));
    assert_eq!(list(&place).len(), 3);
    // A user whose directory it is leads root nowhere.
    fs::remove_dir_all(place.at("keys")).unwrap();
    fs::create_dir(place.at("roots")).unwrap();
    set_mode(&place.at("roots"), 0o700);
    chown(place.path(), Some(nobody.uid.as_raw()), None).unwrap();
    symlink("roots", place.at("keys")).unwrap();
    for command in [&["dkim", "new", "mx.test", "--type", "ed25519"][..], &["dkim", "list"]] {
        let (status, _, err) = run(&place, command);
        assert!(status == 1 && err.contains("Permission denied"), "{err}");
    }
    assert_eq!(files(&place.at("roots")).len(), 0);
}

#[test]
fn another_user_makes_and_sees_nothing() {
    let Some(nobody) = nobody() else { return };
    let (place, _dns) = place("");
    run(&place, &["dkim", "new", "mx.test"]);
    set_mode(place.path(), 0o755);
    let own = place.write("facteur", fs::read(FACTEUR).unwrap());
    set_mode(&own, 0o755);
    let as_nobody = |arguments: &[&str]| {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(&own);
        command.args(arguments).current_dir(place.path()).uid(nobody.uid.as_raw());
        command.gid(nobody.gid.as_raw()).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        assert!(within(crate::support::PATIENCE, || child.try_wait().unwrap().is_some()));
        let output = child.wait_with_output().unwrap();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    for arguments in [&["dkim", "list"][..], &["dkim", "new", "mx.test", "--type", "ed25519"]] {
        let (status, out, err) = as_nobody(arguments);
        assert!(status == 1 && out.is_empty() && err.contains("Permission denied"), "{out}{err}");
    }
    assert_eq!(files(&place.at("keys")).len(), 2);
}
