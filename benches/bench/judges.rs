//! Programs that judge strangers' mail behind Postfix, as Debian has them: opendkim and opendmarc as milters, and a
//! policy server for SPF, which Postfix starts. All ask the same name server, by a resolv.conf of their own.

use crate::Outcome;
use crate::peer::Peer;
use crate::peers::{Duty, MAIL, Postfix};
use nix::unistd::geteuid;
use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Debian's Python, which sees Debian's packages.
const PYTHON: &str = "/usr/bin/python3";

/// What `/usr/bin/policyd-spf` does: its package depends on Postfix's, the module's own does not.
const POLICYD: &str = "from spf_engine.policyd_spf import main\nmain()\n";

/// Debian's list of domains under which others have theirs, as its opendmarc.conf names it.
const SUFFIXES: &str = "/usr/share/publicsuffix/public_suffix_list.dat";

/// An address of which no mail comes. Each of these programs leaves this machine's own mail alone, unless other
/// addresses are named in place of 127.0.0.1.
const ELSEWHERE: &str = "192.0.2.1";

/// What is missing, if anything, in words.
pub fn missing() -> Option<String> {
    let mut missing = Vec::new();
    if !geteuid().is_root() {
        missing.push("only root can start it".to_owned());
    }
    missing.extend(Postfix::found().err());
    for name in ["opendkim", "opendmarc"] {
        if program(name).is_none() {
            missing.push(format!("{name} is not installed"));
        }
    }
    if !succeeds(PYTHON, &["-c", "import spf_engine.policyd_spf"]) {
        missing.push(format!("{PYTHON} has no spf_engine (Debian's python3-spf-engine)"));
    }
    if !succeeds("unshare", &["--mount", "true"]) {
        missing.push("it cannot be given a resolv.conf of its own (unshare --mount)".to_owned());
    }
    (!missing.is_empty()).then(|| missing.join("; "))
}

/// Both milters.
pub struct Judges([Peer; 2]);

impl Judges {
    /// With their files in a directory; `dns` is a name server at port 53.
    pub fn start(dir: &Path, dns: Ipv4Addr) -> Outcome<Judges> {
        let shown = dir.display();
        let write = |name: &str, text: String| fs::write(dir.join(name), text);
        write("resolv.conf", format!("nameserver {dns}\n"))?;
        write("elsewhere", format!("{ELSEWHERE}\n"))?;
        let opendkim = format!(
            "Mode v\nBackground no\nSyslog yes\nUMask 000\nAuthservID mx.bench.test\n\
             InternalHosts {shown}/elsewhere\nNameservers {dns}\nSocket local:{shown}/opendkim.sock\n"
        );
        write("opendkim.conf", opendkim)?;
        // Without a HistoryFile, which is for reports to others. SPF's result is the policy server's, in the field
        // that it adds.
        let suffixes = match Path::new(SUFFIXES).is_file() {
            true => format!("PublicSuffixList {SUFFIXES}\n"),
            false => String::new(),
        };
        let opendmarc = format!(
            "Background false\nSyslog true\nUMask 0000\nAuthservID mx.bench.test\n\
             TrustedAuthservIDs mx.bench.test\nRejectFailures true\nIgnoreHosts {shown}/elsewhere\n\
             {suffixes}Socket local:{shown}/opendmarc.sock\n"
        );
        write("opendmarc.conf", opendmarc)?;
        let start = |name: &str, options: &[&str]| {
            let program = program(name).ok_or_else(|| format!("{name} is not installed"))?;
            let mut command = world(dir, &program);
            command.args(options).arg(dir.join(format!("{name}.conf")));
            let socket = dir.join(format!("{name}.sock"));
            let is_up = || UnixStream::connect(&socket).is_ok();
            Peer::start(command, &dir.join(format!("{name}.out")), is_up)
        };
        Ok(Judges([start("opendkim", &["-f", "-x"])?, start("opendmarc", &["-f", "-c"])?]))
    }

    pub fn cpu(&self) -> Outcome<Duration> {
        Ok(self.0[0].cpu()? + self.0[1].cpu()?)
    }
}

/// What Postfix has to do besides, so that they are asked.
pub fn judged(dir: &Path, mut duty: Duty) -> Outcome<Duty> {
    let shown = dir.display();
    fs::write(dir.join("policyd-spf.py"), POLICYD)?;
    // Debian's own, but for the kind of field, and whose mail is left alone.
    let settings = format!(
        "debugLevel = 1\nTestOnly = 1\nHELO_reject = Fail\nMail_From_reject = Fail\n\
         PermError_reject = False\nTempError_Defer = False\nskip_addresses = {ELSEWHERE}/32\n\
         Header_Type = AR\nAuthserv_Id = mx.bench.test\n"
    );
    fs::write(dir.join("policyd-spf.conf"), settings)?;
    duty.main += &format!(
        "smtpd_recipient_restrictions = reject_unauth_destination,\n\
         \x20check_policy_service unix:private/policyd-spf\n\
         policyd-spf_time_limit = 3600\n\
         smtpd_milters = unix:{shown}/opendkim.sock, unix:{shown}/opendmarc.sock\n\
         milter_default_action = tempfail\n"
    );
    duty.services += &format!(
        "policyd-spf unix - n n - 0 spawn user={MAIL} argv={PYTHON} {shown}/policyd-spf.py\n\
         \x20{shown}/policyd-spf.conf\n"
    );
    Ok(duty)
}

/// A program that finds the directory's resolv.conf in the place of the machine's. Nobody else does.
pub fn world(dir: &Path, program: &Path) -> Command {
    let mut command = Command::new("unshare");
    let hide = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    command.args(["--mount", "--propagation", "private", "sh", "-c", hide]);
    command.arg(dir.join("resolv.conf")).arg(program);
    command
}

/// An address of this machine that no other process of this kind has, for a name server: a resolv.conf knows no
/// port but 53.
pub fn own_address() -> SocketAddrV4 {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    SocketAddrV4::new(Ipv4Addr::new(127, 128 | high, middle, low), 53)
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A program in PATH, or where Debian has what only root starts.
fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut dirs = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/bin".into()]);
    dirs.find_map(|dir| Some(dir.join(name)).filter(|path| path.is_file()))
}
