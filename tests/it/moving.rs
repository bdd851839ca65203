//! `facteur setup --from-postfix` on the sites of `tests/postfix/`: `check` passes afterwards, and mail for each address
//! goes where a real Postfix with the same files has sent it.

use crate::daemons::{Daemon, own_address};
use crate::dnsd::Dnsd;
use crate::outside::{Input, PYTHON, installed, program, run};
use crate::postfix::Postfix;
use crate::servers::FACTEUR;
use crate::support::{PATIENCE, Place, files, skip, text, tree, within};
use nix::unistd::geteuid;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The server's user in these tests: an account that every Debian has, so that none has to be made.
const USER: &str = "list";

/// A directory of tests/postfix.
struct MovedSite {
    name: &'static str,
    /// What setup is asked for.
    domain: &'static str,
    /// The domain of ours whose users are the accounts of this system.
    accounts: &'static str,
}

const SITES: [MovedSite; 5] = [
    MovedSite { name: "virtual", domain: "example.org", accounts: "mx.example.org" },
    MovedSite { name: "dovecot", domain: "example.com", accounts: "localhost" },
    MovedSite { name: "backup", domain: "example.net", accounts: "mx2.example.net" },
    MovedSite { name: "relayhost", domain: "home.example", accounts: "home.example" },
    MovedSite { name: "local", domain: "example.org", accounts: "example.org" },
];

/// Names for the next hops and backups of the sites; nobody listens there.
const ZONE: &str = "example.org MX 10 mx.example.org\nexample.org MX 20 mx2.example.net\n\
                    mx.example.org A 127.0.0.9\nmx2.example.net A 127.0.0.8\nprimary.example.net A 127.0.0.9\n\
                    smtp.provider.example A 127.0.0.9\ngate.partner.example A 127.0.0.9\n";

/// Where mail ends: "here NAME@DOMAIN", "account NAME", "away ADDRESS by HOP"; nothing: it is refused or returned.
type Ends = BTreeSet<String>;

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/postfix").join(name)
}

/// Copies a site into a place, with paths of its mail below that place. Those of /etc/postfix stay: setup finds their
/// files beside main.cf.
fn copied(place: &Place, name: &str) -> PathBuf {
    let (from, to) = (source(name), place.at("etc/postfix"));
    let mail = place.at("vhosts").display().to_string();
    for file in tree(&from) {
        let path = to.join(file.strip_prefix(&from).unwrap());
        if file.is_dir() {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = fs::read_to_string(&file).unwrap();
            fs::write(path, text.replace("/var/mail/vhosts", &mail)).unwrap();
        }
    }
    to
}

fn facteur(place: &Place, arguments: &[&str]) -> Output {
    Command::new(FACTEUR).current_dir(place.path()).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// Sets a site up below a place; gives what was said.
fn set_up(place: &Place, from: &Path, domain: &str, more: &[&str]) -> Output {
    let [etc, spool, mail] = ["facteur", "spool", "mail"].map(|name| place.at(name));
    let [etc, spool, mail, from] = [&etc, &spool, &mail, from].map(|path| path.to_str().unwrap());
    let mut arguments =
        vec!["setup", domain, "--from-postfix", from, "--etc", etc, "--spool", spool];
    arguments.extend(["--mail", mail, "--user", USER]);
    arguments.extend(more);
    facteur(place, &arguments)
}

/// The addresses that are asked about.
fn addresses(site: &MovedSite) -> Vec<String> {
    let text = fs::read_to_string(source(site.name).join("addresses")).unwrap();
    let all: Vec<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(all.len(), 20, "{}", site.name);
    all
}

/// Where ours sends an address, by the words of `facteur route`.
fn ends_of_route(words: &str, address: &str, accounts: &str) -> Ends {
    let mut ends = Ends::new();
    let mut to = address.to_owned();
    for line in words.lines().map(str::trim) {
        if let Some(list) = line.strip_prefix("delivered to ") {
            for part in list.split(" and to ") {
                let (mailbox, path) = part.split_once(" in ").unwrap();
                let (name, _) = mailbox.rsplit_once('@').unwrap();
                // Whatever domain of accounts was asked, there is one Maildir.
                let is_account = path.ends_with(&format!("/mail/{accounts}/{name}"));
                ends.insert(if is_account {
                    format!("account {name}")
                } else {
                    format!("here {mailbox}")
                });
            }
        } else if let Some(other) = line.strip_prefix("sent on to ") {
            to = other.to_owned();
        } else if let Some(hop) =
            line.strip_prefix("smarthost ").or_else(|| line.strip_prefix("route "))
        {
            ends.insert(format!("away {to} by {}", hop.split_whitespace().next().unwrap()));
        } else if let Some(domain) = line.strip_suffix(" by MX") {
            ends.insert(format!("away {to} by MX of {domain}"));
        }
    }
    ends
}

/// A running Postfix with the files of a site. Mail for other hosts ends at a program that echoes the next hop.
struct Asked {
    _daemon: Daemon,
    place: Place,
    sendmail: PathBuf,
    libraries: PathBuf,
}

impl Asked {
    fn start(site: &MovedSite) -> Option<Asked> {
        let (root, owner, group) = Postfix::found()?;
        let (place, address) = (Place::new(), own_address());
        let dir = copied(&place, site.name);
        for name in ["queue", "queue/pid"] {
            fs::create_dir(place.at(name)).unwrap();
        }
        let queues = "active bounce corrupt defer deferred flush hold incoming private saved trace";
        let queues = queues.split(' ').map(|name| (format!("queue/{name}"), 0o700));
        let others = [
            ("data", 0o700),
            ("vhosts", 0o755),
            ("queue/public", 0o710),
            ("queue/maildrop", 0o730),
        ];
        for (name, mode) in queues.chain(others.map(|(name, mode)| (name.to_owned(), mode))) {
            fs::create_dir_all(place.at(&name)).unwrap();
            chown(place.at(&name), Some(owner.uid.as_raw()), Some(group.gid.as_raw())).unwrap();
            fs::set_permissions(place.at(&name), Permissions::from_mode(mode)).unwrap();
        }
        // Each account writes its own mailbox there.
        fs::create_dir(place.at("boxes")).unwrap();
        fs::set_permissions(place.at("boxes"), Permissions::from_mode(0o1777)).unwrap();
        let (libraries, at) = (root.join("usr/lib/postfix"), place.path().display());
        let own = format!(
            "mail_owner = {}\nsetgid_group = {}\nconfig_directory = {etc}\nmeta_directory = {etc}\n\
             queue_directory = {at}/queue\ndata_directory = {at}/data\ndaemon_directory = {lib}/sbin\n\
             command_directory = {}/usr/sbin\nshlib_directory = {lib}\n\
             import_environment = MAIL_CONFIG LD_LIBRARY_PATH\nexport_environment = MAIL_CONFIG LD_LIBRARY_PATH\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n\
             maillog_file = {at}/data/log\nmaillog_file_prefixes = {at}\nhome_mailbox =\n\
             mail_spool_directory = {at}/boxes/\nvirtual_transport = virtual\nsmtpd_tls_cert_file =\n\
             smtpd_tls_key_file =\nsmtpd_milters =\nvirtual_uid_maps = static:{uid}\nvirtual_gid_maps = static:{uid}\n\
             virtual_minimum_uid = 1\nvirtual_mailbox_limit = 0\nmailbox_size_limit = 0\n",
            owner.name,
            group.name,
            root.display(),
            etc = dir.display(),
            lib = libraries.display(),
            uid = owner.uid,
        );
        for file in files(&dir).into_iter().filter(|file| file.is_file()) {
            let text = fs::read_to_string(&file).unwrap();
            fs::write(&file, text.replace("/etc/postfix", dir.to_str().unwrap())).unwrap();
        }
        let main = fs::read_to_string(dir.join("main.cf")).unwrap();
        fs::write(dir.join("main.cf"), replaced(&main, &own)).unwrap();
        let services = "pickup unix n - n 60 1 pickup\ncleanup unix n - n - 0 cleanup\n\
             qmgr unix n - n 300 1 qmgr\nrewrite unix - - n - - trivial-rewrite\n\
             bounce unix - - n - 0 bounce\ndefer unix - - n - 0 bounce\ntrace unix - - n - 0 bounce\n\
             proxymap unix - - n - - proxymap\n\
             smtp unix - n n - - pipe user=games argv=/bin/echo ${nexthop}\n\
             relay unix - n n - - pipe user=games argv=/bin/echo ${nexthop}\n\
             error unix - - n - - error\nretry unix - - n - - error\nlocal unix - n n - - local\n\
             virtual unix - n n - - virtual\nanvil unix - - n - 1 anvil\npostlog unix-dgram n - n - 1 postlogd\n";
        fs::write(dir.join("master.cf"), format!("{address} inet n - n - - smtpd\n{services}"))
            .unwrap();
        for file in files(&dir) {
            let name = file.file_name().unwrap().to_str().unwrap();
            let compiler = match name {
                "virtual" | "vmailbox" | "transport" | "relay_domains" | "relay_recipients"
                | "sasl_passwd" => "postmap",
                "aliases" => "postalias",
                _ => continue,
            };
            let mut command =
                program(&place, root.join("usr/sbin").join(compiler).to_str().unwrap());
            command.env("LD_LIBRARY_PATH", &libraries).arg("-c").arg(&dir);
            command.arg(format!("hash:{}", file.display()));
            run(&place, &mut command, Input::Octets(b""));
        }
        let mut command = program(&place, libraries.join("sbin/master").to_str().unwrap());
        command.env("LD_LIBRARY_PATH", &libraries).arg("-d").arg("-c").arg(&dir);
        let daemon = Daemon::start(&place, "postfix", command, address);
        Some(Asked { _daemon: daemon, sendmail: root.join("usr/sbin/sendmail"), libraries, place })
    }

    fn sendmail(&self, arguments: &[&str], octets: &[u8]) {
        let mut command = program(&self.place, self.sendmail.to_str().unwrap());
        command.env("LD_LIBRARY_PATH", &self.libraries).arg("-C").arg(self.place.at("etc/postfix"));
        run(&self.place, command.args(arguments), Input::Octets(octets));
    }

    /// Where mail for an address has gone: a message is sent there, and the log says what became of it.
    fn ends(&self, address: &str) -> Ends {
        let before = self.log().len();
        self.sendmail(&["-f", "<>", "-i", address], b"Subject: where\n\nx\n");
        let is_idle = || {
            ["maildrop", "incoming", "active", "deferred"].iter().all(|name| {
                tree(&self.place.at(&format!("queue/{name}"))).iter().all(|path| path.is_dir())
            })
        };
        let is_done = || self.log()[before..].contains(": removed\n") && is_idle();
        assert!(within(PATIENCE, is_done), "{address}: {}", self.log());
        let log = self.log();
        log[before..].lines().filter_map(end_of_line).collect()
    }

    fn log(&self) -> String {
        text(&fs::read(self.place.at("data/log")).unwrap_or_default())
    }
}

/// main.cf with other settings in the place of its own: a name twice would be warned of.
fn replaced(main: &str, own: &str) -> String {
    let name = |line: &str| line.split('=').next().unwrap().trim().to_owned();
    let names: BTreeSet<String> = own.lines().map(name).collect();
    let (mut kept, mut is_kept) = (String::new(), true);
    for line in main.lines().filter(|line| !line.starts_with('#')) {
        if !line.starts_with([' ', '\t']) {
            is_kept = !names.contains(&name(line));
        }
        if is_kept {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept + own
}

/// What a line of Postfix's log says of one recipient.
fn end_of_line(line: &str) -> Option<String> {
    let to = line.split_once(" to=<")?.1.split_once(">,")?.0.to_owned();
    let field = |name: &str| line.split_once(name).map(|(_, rest)| rest);
    let relay = field(" relay=")?.split(',').next()?;
    let (status, why) = field(" status=")?.split_once(" (")?;
    let bare = |address: &str| {
        let (name, domain) = address.rsplit_once('@').unwrap();
        format!("{}@{domain}", name.split('+').next().unwrap()).to_lowercase()
    };
    match (relay, status) {
        ("local", "sent") if why.starts_with("delivered") => {
            Some(format!("account {}", bare(&to).split('@').next()?))
        }
        ("virtual", "sent") => Some(format!("here {}", bare(&to))),
        ("smtp" | "relay", "sent") => {
            let (_, echoed) = why.split_once(" service (").unwrap();
            Some(format!("away {to} by {}", hop(echoed.split(')').next().unwrap().trim())))
        }
        _ => None,
    }
}

/// A next hop of Postfix, as ours is shown.
fn hop(text: &str) -> String {
    let Some(inside) = text.strip_prefix('[') else { return format!("MX of {text}") };
    let (host, port) = inside.split_once(']').unwrap();
    let port = port.trim_start_matches(':').replace("submission", "587");
    format!("{host}:{}", if port.is_empty() { "25" } else { port.as_str() })
}

fn is_root() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        skip("setup makes files of another user, so it is for root");
    }
    is_root
}

/// The expression, between `[` and `]` of a relayhost.
const EXPRESSIONS: &[&str] = &[
    "a.test",
    "mx.$mydomain",
    "${mydomain}",
    "$(mydomain)",
    "${ mydomain }",
    "$one.${two}.$(three)",
    "$deep.test",
    "${mydomain?{a}:{b}}.test",
    "${empty?{a}:{b}}.test",
    "${nothing?{a}:{b}}.test",
    "${empty:{x}}${one:{y}}.test",
    "${one?yes}.test",
    "${empty?no}${empty:yes}.test",
    "${one?{${two?{both}:{one}}}:{none}}.test",
    "${void?{set}:{unset}}.test",
    "${ one ? {a} : {b} }.test",
    "${one?{a}:b}.test",
    "${empty?{a}:b}.test",
    "x${empty}y.test",
    "${{$one} == {one} ? {same} : {other}}.test",
    "${{$one} != {one} ? {other}:{same}}.test",
    "${{$one}=={two}?{same}:{other}}.test",
    "${{a} < {b} ? {less} : {more}}.test",
    "${{b} <= {a} ? {less} : {more}}.test",
    "${{b} > {a} ? {more}}.test",
    "${{10} >= {9} ? {more} : {less}}.test",
    "${{10x} >= {9x} ? {more} : {less}}.test",
    "${{02} == {2} ? {same} : {other}}.test",
    "${{$compatibility_level} <level {3.10} ? {old} : {new}}.test",
    "${{$compatibility_level} >=level {3.6} ? {new} : {old}}.test",
    "${{3} ==level {3.0} ? {same} : {other}}.test",
    "${{$one} == {one}}.test",
    "${{$empty} == {} ? {void} : {full}}.test",
    "${smtpd_client_connection_limit_exceptions:none}.test",
    "${multi_instance_name?{$multi_instance_name}:{postfix}}.test",
    "$default_database_type.test",
    "$myhostname",
    "${default_privs}.$mydomain",
];

#[test]
fn names_of_main_cf_are_read_as_postconf_reads_them() {
    let Some((root, owner, group)) = Postfix::found() else { return };
    let (place, libraries) = (Place::new(), root.join("usr/lib/postfix"));
    let dir = place.at("postfix");
    fs::create_dir(&dir).unwrap();
    for (number, expression) in EXPRESSIONS.iter().enumerate() {
        let begin = if number % 2 == 0 { "" } else { "\n# a comment\n\n\t" };
        // The first of two is not the one that counts.
        let main = format!(
            "mail_owner = {}\nsetgid_group = {}\nmeta_directory = {at}\nshlib_directory = {}\ncompatibility_level = 3.6\n\
             mydomain = d.test\nmyhostname = mx.d.test\nempty =\nvoid = $empty\none = one\ntwo =   two\nthree = $one$two\n\
             deep = $three\nmyorigin = first.test\nmyorigin = mx.$mydomain\nmydestination = mx.$mydomain\n\
             relayhost ={begin} [{expression}]:2525\n",
            owner.name,
            group.name,
            libraries.display(),
            at = dir.display(),
        );
        fs::write(dir.join("main.cf"), &main).unwrap();
        fs::write(dir.join("master.cf"), "smtp inet n - n - - smtpd\n").unwrap();
        let mut postconf = program(&place, root.join("usr/sbin/postconf").to_str().unwrap());
        postconf.env("LD_LIBRARY_PATH", &libraries).arg("-c").arg(&dir).args([
            "-x",
            "-h",
            "relayhost",
        ]);
        let said_there = run(&place, &mut postconf, Input::Octets(b""));
        let theirs: String = said_there
            .lines()
            .filter(|line| line.starts_with('['))
            .flat_map(str::split_whitespace)
            .collect();
        let shown = set_up(&place, &dir, "mx.d.test", &["--dry-run"]);
        let shown = said(&shown);
        let ours = shown.lines().find_map(|line| line.split_once("smarthost = \""));
        let ours = ours.and_then(|(_, rest)| rest.split_once('"')).map(|(host, _)| host);
        assert_eq!(ours, Some(hop(&theirs).as_str()), "{expression}\n{said_there}\n{shown}");
    }
}

/// The commands of the page's blocks, without what is said behind them.
fn commands_of_the_page() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/postfix.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks = page.split("```").skip(1).step_by(2).flat_map(|block| block.lines().skip(1));
    let bare = |line: &str| line.split("   #").next().unwrap().trim().to_owned();
    blocks.map(bare).collect()
}

#[test]
fn every_command_of_the_page_works() {
    if !is_root() || !installed(&[PYTHON]) {
        return;
    }
    let site = &SITES[4];
    let Some(postfix) = Asked::start(site) else { return };
    let place = Place::new();
    let from = copied(&place, site.name);
    let at = place.path().display();
    // Programs under the names of the page, each for the places of this test; units are tried where a package is.
    let root = postfix.sendmail.parent().unwrap().display();
    let there = format!("LD_LIBRARY_PATH={} {root}", postfix.libraries.display());
    let theirs = postfix.place.at("etc/postfix");
    for (name, script) in [
        ("systemctl", "exit 0".to_owned()),
        ("sendmail", format!("{there}/sendmail -C {} \"$@\"", theirs.display())),
        ("postmap", format!("{there}/postmap -c {} \"$@\"", theirs.display())),
        ("postqueue", format!("{there}/postqueue -c {} \"$@\"", theirs.display())),
        (
            "facteur",
            format!(
                "case $1 in setup) set -- \"$@\" --etc {at}/facteur --spool {at}/spool --mail {at}/mail --user {USER};;\n\
                 *) set -- -c {at}/facteur/facteur.toml \"$@\";; esac\nexec {FACTEUR} \"$@\""
            ),
        ),
    ] {
        let path = place.write(&format!("bin-{name}"), format!("#!/bin/sh\n{script}\n"));
        fs::create_dir_all(place.at("bin")).unwrap();
        fs::rename(path, place.at("bin").join(name)).unwrap();
        fs::set_permissions(place.at("bin").join(name), Permissions::from_mode(0o755)).unwrap();
    }
    // What is moved: a Maildir of a user, and a mailbox that is one file.
    for dir in ["new", "cur", "tmp"] {
        fs::create_dir_all(place.at("home/ann/Maildir").join(dir)).unwrap();
    }
    place.write("home/ann/Maildir/new/1.old", "Subject: old\n\nx\n");
    let letter = "From a@b.test Thu Jan  1 00:00:00 2026\nSubject: boxed\n\nx\n\n";
    place.write("ann.mbox", letter.repeat(2));
    let path = format!("{at}/bin:{}", std::env::var("PATH").unwrap());
    let mut count = 0;
    for command in commands_of_the_page() {
        let table = format!("hash:{}/aliases", theirs.display());
        let own = command
            .replace(
                "postmap -q ann@example.org hash:/etc/postfix/virtual",
                "postmap -q root TABLE",
            )
            .replace("/etc/postfix", from.to_str().unwrap())
            .replace("TABLE", &table)
            .replace("facteur route ann@", "facteur route list@")
            .replace("sendmail -bv ann@", "sendmail -bv list@")
            .replace("facteur: ", &format!("{USER}: "))
            .replace("/home/ann", &format!("{at}/home/ann"))
            .replace("/var/mail/ann", &format!("{at}/ann.mbox"))
            .replace("/var/vmail", &format!("{at}/mail"));
        let mut shell = program(&place, "/bin/sh");
        run(&place, shell.env("PATH", &path).args(["-c", &own]), Input::Octets(b""));
        count += 1;
    }
    assert!(count >= 12, "{count}");
    let mail: Vec<String> = files(&place.at("mail/example.org/ann/new"))
        .iter()
        .map(|path| text(&fs::read(path).unwrap()))
        .collect();
    assert_eq!(mail.iter().filter(|mail| mail.contains("boxed")).count(), 2, "{mail:?}");
    assert_eq!(mail.iter().filter(|mail| mail.contains("old")).count(), 1, "{mail:?}");
}

#[test]
fn mail_goes_where_postfix_sent_it() {
    if !is_root() {
        return;
    }
    let dns = Dnsd::new(ZONE);
    for site in &SITES {
        let Some(postfix) = Asked::start(site) else { return };
        let place = Place::new();
        let from = copied(&place, site.name);
        let output = set_up(&place, &from, site.domain, &[]);
        assert!(output.status.success(), "{}: {}", site.name, said(&output));
        let toml = place.at("facteur/facteur.toml");
        let config = fs::read_to_string(&toml).unwrap();
        fs::write(&toml, format!("{config}\n[dns]\nservers = [\"{}\"]\n", dns.address())).unwrap();
        let toml = toml.to_str().unwrap();
        let check = facteur(&place, &["-c", toml, "check"]);
        assert!(check.status.success(), "{}: {}\n{config}", site.name, said(&check));
        let mut found = BTreeMap::new();
        for address in addresses(site) {
            let route = [
                "-c",
                toml,
                "route",
                "--client",
                "127.0.0.1",
                "--from",
                "a@sender.example",
                &address,
            ];
            let words = said(&facteur(&place, &route));
            let ours = ends_of_route(&words, &address, site.accounts);
            let theirs = postfix.ends(&address);
            assert_eq!(ours, theirs, "{}: {address}\n{words}\n{}", site.name, postfix.log());
            found.insert(address, ours);
        }
        // The table says something: mail goes to several places, and some of it nowhere.
        let places: BTreeSet<&Ends> = found.values().collect();
        assert!(places.len() > 4, "{}: {found:#?}", site.name);
    }
}

/// setup is root; a list is read with the rights that Postfix would read it with, also by way of a link. One that lies
/// beside main.cf is read as it is: a copy of that directory may be where only root can look.
#[test]
fn a_link_of_a_user_shows_nothing_that_only_root_may_read() {
    let place = Place::new();
    let from = place.at("etc/postfix");
    fs::create_dir_all(&from).unwrap();
    for (name, list) in [("secret", "hidden@far.test\n"), ("etc/postfix/beside", "open@far.test\n")]
    {
        place.write(name, list);
        fs::set_permissions(place.at(name), Permissions::from_mode(0o600)).unwrap();
    }
    symlink(place.at("secret"), place.at("link")).unwrap();
    let include = |name: &str| format!("{name}: :include:{}\n", place.at(name).display());
    place.write(
        "etc/postfix/aliases",
        include("secret")
            + &include("link")
            + &format!("beside: :include:{}\n", from.join("beside").display()),
    );
    let main = format!(
        "myhostname = mx.a.test\nmydestination = a.test\nalias_maps = hash:{}\n",
        from.join("aliases").display()
    );
    place.write("etc/postfix/main.cf", main);
    let said = said(&set_up(&place, &from, "a.test", &["--dry-run"]));
    // Who is not root has no rights but those of the user who runs the test.
    let is_root = geteuid().is_root();
    assert_eq!(said.contains("hidden@far.test"), !is_root, "{said}");
    assert_eq!(said.matches("(read as nobody)").count() >= 2, is_root, "{said}");
    assert!(said.contains("beside: open@far.test"), "{said}");
}
