//! Debian's package, as `packaging/build-deb` makes it of the binary under test: lintian finds nothing, everything lies
//! where Debian looks for it, and man(1) shows each page. `tests/install/walk` installs it.

use crate::servers::FACTEUR;
use crate::support::{Place, files, has_program, skip, text};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The package, made in a place.
fn package(place: &Place) -> PathBuf {
    let mut command = Command::new("packaging/build-deb");
    command.args(["--binary", FACTEUR, "--fast", "--deb-version", "9.8.7-1", "--output"]);
    let output = command.arg(place.path()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let package = files(place.path()).pop().expect("a package");
    let name = package.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(name.starts_with("facteur_9.8.7-1_") && name.ends_with(".deb"), "{name}");
    package
}

fn dpkg(arguments: &[&str], package: &Path) -> String {
    let output = Command::new("dpkg-deb").args(arguments).arg(package).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// What lies where, with its kind and mode as `ls -l` shows them; a link with where it leads.
const LAYOUT: [(&str, &str); 22] = [
    ("-rwxr-xr-x", "./usr/bin/facteur"),
    ("lrwxrwxrwx", "./usr/sbin/sendmail -> ../bin/facteur"),
    ("lrwxrwxrwx", "./usr/lib/sendmail -> ../sbin/sendmail"),
    ("lrwxrwxrwx", "./usr/bin/mailq -> facteur"),
    ("lrwxrwxrwx", "./usr/bin/newaliases -> facteur"),
    ("-rw-r--r--", "./usr/lib/systemd/system/facteur.service"),
    ("-rw-r--r--", "./usr/lib/systemd/system/facteur.socket"),
    ("-rw-r--r--", "./usr/lib/systemd/system/facteur-metrics.socket"),
    ("-rw-r--r--", "./usr/lib/sysusers.d/facteur.conf"),
    ("-rw-r--r--", "./usr/lib/tmpfiles.d/facteur.conf"),
    ("-rw-r--r--", "./usr/share/man/man1/facteur.1.gz"),
    ("-rw-r--r--", "./usr/share/man/man1/sendmail.1.gz"),
    ("lrwxrwxrwx", "./usr/share/man/man1/mailq.1.gz -> sendmail.1.gz"),
    ("lrwxrwxrwx", "./usr/share/man/man1/newaliases.1.gz -> sendmail.1.gz"),
    ("-rw-r--r--", "./usr/share/man/man5/facteur.toml.5.gz"),
    ("-rwxr-xr-x", "./etc/letsencrypt/renewal-hooks/deploy/facteur"),
    ("-rw-r--r--", "./etc/fail2ban/filter.d/facteur.conf"),
    ("-rw-r--r--", "./etc/fail2ban/jail.d/facteur.conf"),
    ("-rw-r--r--", "./usr/share/doc/facteur/copyright"),
    ("-rw-r--r--", "./usr/share/doc/facteur/changelog.gz"),
    ("-rw-r--r--", "./usr/share/doc/facteur/changelog.Debian.gz"),
    ("-rw-r--r--", "./usr/share/doc/facteur/docs/configuration.md"),
];

#[ignore = "needs cargo-deb and lintian: .ci/run --all installs them"]
#[test]
fn debian_finds_nothing_wrong_with_the_package() {
    for (program, argument) in
        [("cargo-deb", "--version"), ("lintian", "--version"), ("man", "--version")]
    {
        if !has_program(program, argument) {
            return skip(&format!("{program} is not installed"));
        }
    }
    let place = Place::new();
    let package = package(&place);

    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error,warning"]);
    let output = lintian.arg(&package).output().unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{said}{}", text(&output.stderr));

    let found = dpkg(&["--contents"], &package);
    for (kind, path) in LAYOUT {
        let is_so = |line: &&str| line.starts_with(kind) && line.ends_with(&format!(" {path}"));
        let line = found.lines().find(is_so);
        let is_roots = |line: &str| line.contains(" root/root ") || line.contains(" 0/0 ");
        assert!(line.is_some_and(is_roots), "{kind} {path}: {found}");
    }
    // The owner of mail, queue and configuration is not the package.
    for path in ["./var/", "./etc/facteur", "./etc/systemd"] {
        assert!(!found.contains(path), "{path}");
    }

    let field = |name: &str| {
        let output = Command::new("dpkg-deb").arg("--field").arg(&package).arg(name).output();
        text(&output.unwrap().stdout).trim().to_owned()
    };
    for name in ["Provides", "Conflicts", "Replaces"] {
        assert_eq!(field(name), "mail-transport-agent", "{name}");
    }
    assert!(field("Depends").starts_with("libc6 (>= "), "{}", field("Depends"));

    let root = place.at("root");
    let output = Command::new("dpkg-deb").arg("--extract").args([&package, &root]).output();
    assert!(output.unwrap().status.success());
    for (name, words) in [
        ("man1/facteur.1.gz", "facteur.toml(5)"),
        ("man1/mailq.1.gz", "sendmail"),
        ("man5/facteur.toml.5.gz", "hostname"),
    ] {
        let mut command = Command::new("man");
        command.env("MANPAGER", "cat").env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8");
        let page = root.join("usr/share/man").join(name);
        let output = command.args(["--warnings", "--local-file"]).arg(page).output().unwrap();
        assert_eq!(text(&output.stderr), "", "{name}");
        assert!(text(&output.stdout).contains(words), "{name}: {}", text(&output.stdout));
    }
}
