//! main.cf: its settings as postconf(1) reads them, with the defaults of Postfix and all macros replaced.
//!
//! Pure: gets the octets of the file and what the system says of itself.

use super::expand::expand;
use super::lines::{is_blank, logical_lines};
use std::collections::BTreeMap;

/// Every parameter of Postfix 3.7 as Debian 12 has it, as `postconf -d` prints them; without those that
/// [`SystemNames`] gives.
const DEFAULTS: &str = include_str!("defaults.cf");

/// Where Postfix has its files unless it is told another place.
pub const CONFIG_DIRECTORY: &str = "/etc/postfix";

/// Parameters whose macros are replaced at each delivery or reply, from what is known then.
const LATE: [&str; 9] = [
    "command_execution_directory",
    "default_rbl_reply",
    "forward_path",
    "luser_relay",
    "mailbox_command",
    "postscreen_expansion_filter",
    "postscreen_reject_footer",
    "smtpd_expansion_filter",
    "smtpd_reject_footer",
];

/// What the system says of itself, from which Postfix takes its own defaults.
#[derive(Clone, Debug, Default)]
pub struct SystemNames {
    /// The name of this host, with a domain or without.
    pub hostname: String,
    /// The directory that main.cf is read from.
    pub directory: String,
}

/// One setting of main.cf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MainSetting {
    /// The line of the file that counts.
    pub line: usize,
    /// As it is written, with its macros.
    pub raw: String,
}

/// The whole file.
#[derive(Clone, Debug)]
pub struct MainCf {
    set: BTreeMap<String, MainSetting>,
    defaults: BTreeMap<&'static str, &'static str>,
    system: SystemNames,
}

impl MainCf {
    /// Reads the octets of main.cf; gives its settings, and words for each line that is none.
    pub fn parse(octets: &[u8], system: SystemNames) -> (MainCf, Vec<String>) {
        let (mut set, mut bad) = (BTreeMap::new(), Vec::new());
        for line in logical_lines(octets) {
            match name_and_value(&line.text) {
                // The last one counts.
                Some((name, raw)) => {
                    let setting = MainSetting { line: line.number, raw: raw.to_owned() };
                    set.insert(name.to_owned(), setting);
                }
                None => bad.push(format!("main.cf:{}: expected name = value", line.number)),
            }
        }
        let defaults = DEFAULTS.lines().filter_map(name_and_value).collect();
        (MainCf { set, defaults, system }, bad)
    }

    /// What the file sets, by name.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &MainSetting)> {
        self.set.iter().map(|(name, setting)| (name.as_str(), setting))
    }

    /// Whether the file sets it.
    pub fn is_set(&self, name: &str) -> bool {
        self.set.contains_key(name)
    }

    /// Whether Postfix has a parameter of this name.
    pub fn is_parameter(&self, name: &str) -> bool {
        self.defaults.contains_key(name)
            || matches!(name, "myhostname" | "mydomain" | "mynetworks" | "compatibility_level")
    }

    /// The value, or Postfix's default, with its macros replaced; empty where there is neither. The words of the
    /// error say what Postfix would not take in it.
    pub fn value(&self, name: &str) -> Result<String, String> {
        let raw = self.raw(name).unwrap_or_default();
        if LATE.contains(&name) { Ok(raw) } else { self.expanded(&raw) }
    }

    /// The same; empty where it has no meaning, which is said elsewhere ([`MainCf::wrong`]).
    pub fn text(&self, name: &str) -> String {
        self.value(name).unwrap_or_default()
    }

    /// Any text with the macros of main.cf in it.
    pub fn expanded(&self, text: &str) -> Result<String, String> {
        let expanded = expand(text, &|name| self.raw(name))?;
        Ok(expanded.trim_matches(is_blank).to_owned())
    }

    /// `yes` or `no`; anything else is none, and the default counts.
    pub fn flag(&self, name: &str) -> bool {
        let text = self.text(name);
        let default = || self.defaults.get(name).is_some_and(|value| *value == "yes");
        match text.to_ascii_lowercase().as_str() {
            "yes" => true,
            "no" => false,
            _ => default(),
        }
    }

    /// Words for each setting that Postfix itself would not take.
    pub fn wrong(&self) -> Vec<String> {
        let wrong = |(name, setting): (&String, &MainSetting)| {
            let why = self.value(name).err()?;
            Some(format!("main.cf:{}: {name}: {why}", setting.line))
        };
        self.set.iter().filter_map(wrong).collect()
    }

    /// Whether another setting of the file, or a default that matters, names this one.
    pub fn is_used(&self, name: &str) -> bool {
        let forms = [format!("${name}"), format!("${{{name}"), format!("$({name}")];
        let names = |text: &str| {
            forms.iter().any(|form| {
                text.match_indices(form.as_str()).any(|(at, _)| {
                    let next = text[at + form.len()..].chars().next();
                    next.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_')
                })
            })
        };
        self.set.values().any(|setting| names(&setting.raw))
    }

    /// As it is written, with its macros.
    fn raw(&self, name: &str) -> Option<String> {
        if let Some(setting) = self.set.get(name) {
            return Some(setting.raw.clone());
        }
        match name {
            "compatibility_level" => Some("0".to_owned()),
            "config_directory" => Some(self.system.directory.clone()),
            "myhostname" => Some(match self.system.hostname.contains('.') {
                true => self.system.hostname.clone(),
                false => {
                    let domain = self.set.get("mydomain").map(|setting| setting.raw.as_str());
                    format!("{}.{}", self.system.hostname, domain.unwrap_or("localdomain"))
                }
            }),
            "mydomain" => {
                let host = self.value("myhostname").unwrap_or_default();
                Some(host.split_once('.').map_or("localdomain", |(_, domain)| domain).to_owned())
            }
            name => self.defaults.get(name).map(|value| (*value).to_owned()),
        }
    }
}

/// `name = value`, without blanks around either; the value may be empty.
fn name_and_value(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim_matches(is_blank);
    let is_name = !name.is_empty() && !name.contains(is_blank);
    is_name.then(|| (name, value.trim_matches(is_blank)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> MainCf {
        let system =
            SystemNames { hostname: "mx".to_owned(), directory: CONFIG_DIRECTORY.to_owned() };
        MainCf::parse(text.as_bytes(), system).0
    }

    #[test]
    fn values_and_defaults() {
        let text = "mydomain = example.org\nmyorigin=$mydomain\nrelayhost = a\nrelayhost =\n b\n\
                    my_hosts = a.test,\n # between\n  b.test\nmydestination = $my_hosts localhost\n";
        let main = read(text);
        for (name, value) in [
            ("myhostname", "mx.example.org"),
            ("myorigin", "example.org"),
            ("mydestination", "a.test,  b.test localhost"),
            ("relayhost", "b"),
            ("smtpd_banner", "mx.example.org ESMTP Postfix"),
            ("append_dot_mydomain", "yes"),
            ("relay_domains", "a.test,  b.test localhost"),
            ("smtpd_relay_restrictions", ""),
            ("config_directory", "/etc/postfix"),
            ("nonsense", ""),
        ] {
            assert_eq!(main.value(name).as_deref(), Ok(value), "{name}");
        }
        assert!(main.is_used("my_hosts") && main.is_used("mydomain") && !main.is_used("my"));
        assert!(main.is_parameter("biff") && !main.is_parameter("my_hosts"));
        assert!(main.flag("append_dot_mydomain") && !main.flag("smtpd_sasl_auth_enable"));
        assert!(main.flag("biff") && !main.is_set("biff"));
    }

    #[test]
    fn defaults_that_follow_others() {
        let main = read("myhostname = mail.example.net\ncompatibility_level = 3.6\n");
        assert_eq!(
            main.text("mydestination"),
            "mail.example.net, localhost.example.net, localhost"
        );
        assert_eq!(
            (main.text("relay_domains"), main.flag("append_dot_mydomain")),
            ("".into(), false)
        );
        assert_eq!(read("").text("myhostname"), "mx.localdomain");
        assert_eq!(read("myhostname = mx").text("mydomain"), "localdomain");
    }

    #[test]
    fn lines_that_are_no_settings() {
        let system = SystemNames::default();
        let (main, bad) = MainCf::parse(b"a\n= b\na b = c\nc = ${d\n", system);
        assert_eq!(bad.len(), 3, "{bad:?}");
        assert!(bad[0].starts_with("main.cf:1: "), "{bad:?}");
        assert_eq!(main.wrong(), ["main.cf:4: c: { is opened and not closed: {d"]);
        assert_eq!(main.text("c"), "");
    }
}
