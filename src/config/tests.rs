//! The whole reader: the contract's example, the defaults, and one row for each kind of error.

use super::*;

/// The least that is a configuration; it takes no default but that of the rows' own keys.
const LEAST: &str = "hostname = \"mx.test\"\n[relay]\nnetworks = [\"127.0.0.0/8\"]\n";

/// The example of the contract, octet by octet.
const EXAMPLE: &str = include_str!("example.toml");

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("facteur.toml")).map_err(|error| error.to_string())
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_mins(minutes)
}

#[test]
fn the_example_of_the_contract() {
    let file = Path::new("/etc/facteur/facteur.toml");
    let config = Config::parse(EXAMPLE, file).unwrap();
    let path = |name: &str| PathBuf::from("/etc/facteur").join(name);
    let hop = |host: &str, port| HostPort { host: host.to_owned(), port };
    let sockets = |text: &str| vec![text.parse().unwrap()];
    let expected = Config {
        file: Some(file.to_owned()),
        hostname: Domain::parse("mx.example.org").unwrap(),
        spool: PathBuf::from("/var/spool/facteur"),
        run_as: Some("facteur".to_owned()),
        listen: Listen {
            smtp: sockets("[::]:25"),
            submission: sockets("[::]:587"),
            submissions: sockets("[::]:465"),
            metrics: sockets("127.0.0.1:9025"),
            proxy: Vec::new(),
        },
        tls: Some(Tls { certificate: path("fullchain.pem"), key: path("privkey.pem") }),
        domains: vec![DomainConfig {
            name: Domain::parse("example.org").unwrap(),
            key: "domain.\"example.org\"".to_owned(),
            maildir: "/var/mail/{domain}/{user}".to_owned(),
            lmtp: None,
            users: Some(path("example.org.users")),
            any_user: false,
            aliases: Some(path("example.org.aliases")),
            catch_all: Some(CatchAll::Here("postmaster".to_owned())),
            subaddress: "+".to_owned(),
            dkim: None,
        }],
        sign: Vec::new(),
        relay: Relay {
            networks: vec![
                Network { address: [127, 0, 0, 0].into(), bits: 8 },
                Network { address: [0, 0, 0, 0, 0, 0, 0, 1].into(), bits: 128 },
            ],
            smarthost: Some(hop("smtp.example.net", 587)),
            smarthost_auth: Some(SmarthostAuth {
                user: "me@example.net".to_owned(),
                password_file: path("smarthost.password"),
            }),
            route: vec![("example.net".to_owned(), hop("127.0.0.1", 2626))],
            // The example shows the defaults everywhere else.
            ..parse(LEAST).unwrap().relay
        },
        dns: Dns { servers: vec![sockets("127.0.0.1:53")[0].into()], ..parse(LEAST).unwrap().dns },
        lines: config.lines.clone(),
        ..parse(LEAST).unwrap()
    };
    assert_eq!(config, expected);
    assert_eq!(config.place("relay.smarthost"), "/etc/facteur/facteur.toml:28: relay.smarthost");
}

#[test]
fn defaults() {
    let config = parse(LEAST).unwrap();
    assert_eq!(config.file.as_deref(), Some(Path::new("facteur.toml")));
    assert_eq!(config.spool, Path::new("./facteur-data/spool"));
    assert_eq!(config.listen.smtp, ["[::]:25".parse().unwrap()]);
    assert_eq!(config.listen, Listen { smtp: config.listen.smtp.clone(), ..Listen::default() });
    assert_eq!((config.run_as, config.tls), (None, None));
    let relay = config.relay;
    assert_eq!((relay.port, relay.threads, relay.per_destination), (25, 16, 4));
    assert_eq!(relay.retry, [5, 15, 30, 60, 240].map(minutes));
    assert_eq!((relay.expire, relay.delay_notice), (minutes(5 * 24 * 60), minutes(240)));
    assert_eq!((relay.smarthost, relay.smarthost_auth, relay.route), (None, None, vec![]));
    assert_eq!((relay.mta_sts, relay.dane, relay.reports), (true, true, None));
    let dns = Dns { servers: vec![], timeout: Duration::from_secs(5), trust_ad: false };
    assert_eq!(config.dns, dns);
    let limit = Limit {
        message_size: 50 << 20,
        recipients: 1000,
        sessions: 1000,
        sessions_per_client: 50,
        recipients_per_hour: 500,
        errors: 20,
        hops: 100,
        auth_failures: 3,
    };
    assert_eq!(config.limit, limit);
    let trust = Trust {
        spf: Spf::Mark,
        dkim: true,
        arc: true,
        dmarc: Dmarc::Junk,
        allow: vec![],
        sealers: vec![],
        defers: false,
        gateways: vec![
            Network { address: [127, 0, 0, 0].into(), bits: 8 },
            Network { address: [0, 0, 0, 0, 0, 0, 0, 1].into(), bits: 128 },
        ],
        blocklists: vec![],
        junk: ".Junk".to_owned(),
        junk_fields: [("X-Spam", "Yes"), ("X-Spam-Flag", "YES")]
            .map(|(name, value)| JunkField { name: name.to_owned(), value: value.to_owned() })
            .to_vec(),
    };
    assert_eq!(config.trust, trust);
    assert_eq!(config.greylist, None);
    let greylist = parse(&format!("{LEAST}\n[greylist]")).unwrap().greylist.unwrap();
    assert_eq!((greylist.delay, greylist.expire), (minutes(5), minutes(35 * 24 * 60)));
    assert_eq!(config.trace, Trace { keep: minutes(30 * 24 * 60), size: 256 << 20 });
    let timeout = Timeout {
        session: minutes(10),
        command: minutes(5),
        data: minutes(3),
        r#final: minutes(10),
        connect: Duration::from_secs(30),
        shutdown: Duration::from_secs(30),
    };
    assert_eq!(config.timeout, timeout);
}

#[test]
fn the_demo() {
    let demo = Config::demo();
    assert_eq!((demo.file, demo.hostname.as_str()), (None, "localhost"));
    assert_eq!(demo.spool, Path::new("./facteur-data/spool"));
    assert_eq!(demo.listen.smtp, ["127.0.0.1:2525".parse().unwrap()]);
    let [domain] = demo.domains.as_slice() else { panic!("{:?}", demo.domains) };
    assert_eq!((domain.name.as_str(), domain.any_user), ("localhost", true));
    assert_eq!(domain.maildir, "./facteur-data/mail/{domain}/{user}");
    assert!(demo.relay.networks.is_empty());
}

#[test]
fn domains_stay_in_the_order_they_were_written() {
    let text = "[domain.\"z.test\"]\n[domain.B-test]\nsubaddress = \"\"\n[domain.\"A.test\"]\n";
    let config = parse(text).unwrap();
    let names: Vec<_> = config.domains.iter().map(|domain| domain.name.as_str()).collect();
    assert_eq!(names, ["z.test", "b-test", "a.test"]);
    let defaults = &config.domains[0];
    assert_eq!((defaults.subaddress.as_str(), defaults.any_user), ("+", false));
    assert_eq!(defaults.maildir, "./facteur-data/mail/{domain}/{user}");
    assert_eq!(config.domains[1].subaddress, "");
}

#[test]
fn domains_that_sign() {
    let text =
        "[domain.\"b.test\"]\ndkim = \"keys/b\"\n[domain.c]\n[sign.\"a.test\"]\ndkim = \"/a\"\n";
    let file = Path::new("/etc/facteur/facteur.toml");
    let config = Config::parse(&format!("{LEAST}{text}"), file).unwrap();
    let signing = config.signing();
    let all = signing.iter().map(|own| (own.name.as_str(), own.place.as_str(), own.dir.to_str()));
    let expected = [
        (
            "b.test",
            "/etc/facteur/facteur.toml:5: domain.\"b.test\".dkim",
            Some("/etc/facteur/keys/b"),
        ),
        ("a.test", "/etc/facteur/facteur.toml:8: sign.\"a.test\".dkim", Some("/a")),
    ];
    assert_eq!(all.collect::<Vec<_>>(), expected);
    // An alias has its target's keys, or its own.
    let aliases = "[domain.\"d.test\"]\nalias_of = \"b.test\"\n[domain.\"e.test\"]\n\
                   alias_of = \"b.test\"\ndkim = \"/e\"\n[domain.\"f.test\"]\nalias_of = \"c\"\n";
    let config = Config::parse(&format!("{LEAST}{text}{aliases}"), file).unwrap();
    let signing = config.signing();
    let all = signing.iter().map(|own| (own.name.as_str(), own.place.as_str(), own.dir.to_str()));
    let own = ("e.test", "/etc/facteur/facteur.toml:13: domain.\"e.test\".dkim", Some("/e"));
    let expected = [expected[0], ("d.test", expected[0].1, expected[0].2), own, expected[1]];
    assert_eq!(all.collect::<Vec<_>>(), expected);
}

#[test]
fn the_systems_host_name() {
    let system = nix::unistd::gethostname().unwrap().to_string_lossy().into_owned();
    match (value::domain(&system), parse("[domain.a]\n")) {
        (Some(name), Ok(config)) => assert_eq!(config.hostname, name),
        (None, Err(error)) => assert!(error.ends_with("is no domain; set hostname"), "{error}"),
        (name, config) => panic!("{name:?} {config:?}"),
    }
}

#[test]
fn values_that_are_good() {
    for text in [
        "[listen]\nsubmission = [\"[::]:587\"]",
        "[listen]\nsubmission = [\"[::]:587\"]\n[tls]\ncertificate = \"a\"\nkey = \"a\"",
        "[listen]\nsubmission = [\"[::]:587\"]\n[relay]\nnetworks = [\"127.0.0.1/32\"]",
        "[domain.a]\n[listen]\nsmtp = [\"127.0.0.1:0\", \"127.0.0.1:0\", \"[::1]:25\"]",
        "[domain.a]\n[listen]\nsmtp = [\n  \"127.0.0.1:25\",\n  \"127.0.0.2:25\",\n]",
        "[domain.a]\n[limit]\nmessage_size = 65536\nhops = 1\nrecipients = 0x64",
        "[domain.a]\n[limit]\nmessage_size = \"64KiB\"\nsessions = 10_000",
        "[domain.a]\n[relay]\ndelay_notice = \"0s\"\nretry = [\"1s\"]",
        "[domain.a]\n[relay.route]\n\".a.test\" = \"[::1]:25\"\n\"A.test\" = \"mx.test:25\"",
        "[domain.a]\ncatch_all = \"ann@b.test\"\nmaildir = \"/m\"\nusers = \"/u\"",
        "domain.a.any_user = true",
    ] {
        let config = parse(&format!("hostname = \"mx.test\"\n{text}"));
        assert!(config.is_ok(), "{text}: {config:?}");
    }
}

#[test]
fn filters() {
    let text = "[[milter]]\nname = \"rspamd\"\nsocket = \"unix:run/milter.sock\"\n\
        [[milter]]\nname = \"clamav\"\nsocket = \"inet:[::1]:7357\"\n\
        services = [\"sendmail\", \"smtp\", \"smtp\"]\ntimeout = { message = \"2m\" }\n\
        on_failure = \"pass\"\nmay = [\"quarantine\", \"recipients\"]\n";
    let config = parse(&format!("{LEAST}{text}")).unwrap();
    let second = Duration::from_secs(1);
    let expected = [
        Milter {
            name: "rspamd".to_owned(),
            socket: MilterSocket::Unix(PathBuf::from("./run/milter.sock")),
            services: MilterService::ALL.to_vec(),
            timeout: MilterTimeout {
                connect: 5 * second,
                command: 30 * second,
                message: 90 * second,
            },
            is_passed: false,
            may: MilterRights { header: true, ..MilterRights::default() },
        },
        Milter {
            name: "clamav".to_owned(),
            socket: MilterSocket::Inet(HostPort { host: "::1".to_owned(), port: 7357 }),
            services: vec![MilterService::Sendmail, MilterService::Smtp],
            timeout: MilterTimeout {
                connect: 5 * second,
                command: 30 * second,
                message: 120 * second,
            },
            is_passed: true,
            may: MilterRights { recipients: true, quarantine: true, ..MilterRights::default() },
        },
    ];
    assert_eq!(config.milters, expected);
    let shown: Vec<String> = config.milters.iter().map(|m| m.socket.to_string()).collect();
    assert_eq!(shown, ["unix:./run/milter.sock", "inet:[::1]:7357"]);
    assert_eq!(config.milters[1].may.to_string(), "recipients quarantine");
    assert_eq!(config.place("milter.clamav"), "facteur.toml:7: milter.clamav");
    let one = |n: usize| format!("[[milter]]\nname = \"f{n}\"\nsocket = \"unix:/f{n}\"\n");
    let many = |n: usize| format!("{LEAST}{}", (0..n).map(one).collect::<String>());
    assert_eq!(parse(&many(16)).unwrap().milters.len(), 16);
    assert_eq!(parse(&many(17)).unwrap_err(), "facteur.toml:52: milter: more than 16 filters");
    let long = format!("{LEAST}[[milter]]\nname = \"a\"\nsocket = \"unix:/{}\"\n", "a".repeat(107));
    assert!(parse(&long).unwrap_err().contains("of at most 107 octets"));
}

/// Rows are what follows [`LEAST`] from line 4 on, still in `[relay]`, and the error without
/// "facteur.toml:".
#[test]
fn values_that_are_bad() {
    for (text, what) in [
        // Unknown keys.
        ("thread = 1", "4: relay.thread: unknown key; is threads meant?"),
        (
            "[bogus]",
            "4: bogus: unknown key; known here: domain, hostname, spool, run_as, listen, tls, sign, relay, dns, limit, trust, greylist, milter, trace, timeout",
        ),
        ("[limits]", "4: limits: unknown key; is limit meant?"),
        ("[trace]\n\"a b\" = 1", "5: trace.\"a b\": unknown key; known here: keep, size"),
        (
            "[tls]\ncertificat = \"a\"\nkey = \"b\"",
            "5: tls.certificat: unknown key; is certificate meant?",
        ),
        (
            "[domain.example.org]",
            "4: domain.example.org: unknown key; a name with dots has to be in quotes",
        ),
        (
            "[trust]\nspf = \"junk\"",
            "5: trust.spf: expected \"off\", \"mark\" or \"reject\", found \"junk\"",
        ),
        (
            "[trust]\ndmarc = true",
            "5: trust.dmarc: expected \"off\", \"mark\", \"junk\" or \"reject\", found the boolean true",
        ),
        (
            "[trust]\narc = \"reject\"",
            "5: trust.arc: expected \"mark\" or \"off\", found \"reject\"",
        ),
        (
            "[trust]\ntemperror = \"reject\"",
            "5: trust.temperror: expected \"pass\" or \"defer\", found \"reject\"",
        ),
        (
            "[trust]\nallow = [\"ann@example.net\"]",
            "5: trust.allow: expected a domain of letters, digits and hyphens, found \"ann@example.net\"",
        ),
        (
            "[trust]\ngateways = [\"10.0.0.1/8\"]",
            "5: trust.gateways: expected 10.0.0.0/8 or more than 8 bits, found \"10.0.0.1/8\"",
        ),
        (
            "[trust]\njunk = \"Junk\"",
            "5: trust.junk: expected a folder of a Maildir, \".Junk\" or \".Mail.Junk\", found \"Junk\"",
        ),
        ("[trust]\nblocklist = []", "5: trust.blocklist: unknown key; is blocklists meant?"),
        (
            "[trust]\njunk_fields = [\"X-Spam\"]",
            "5: trust.junk_fields: expected a field of a header, \"X-Spam: Yes\", found \"X-Spam\"",
        ),
        (
            "[[milter]]\nname = \"a b\"",
            "5: milter.name: expected a short name of letters, digits, \"-\", \"_\" and \".\", like \"rspamd\", found \"a b\"",
        ),
        ("[[milter]]\nname = \"a\"", "4: milter.a: needs socket"),
        ("[[milter]]\nsocket = \"a\"", "4: milter: needs name"),
        ("[milter]\nname = \"a\"", "4: milter: expected a list in brackets, found a table"),
        (
            "[[milter]]\nname = \"a\"\nsocket = \"/run/a\"",
            "6: milter.a.socket: expected \"unix:/path/of/socket\" or \"inet:host:port\", found \"/run/a\"",
        ),
        (
            "[[milter]]\nname = \"a\"\nsocket = \"inet:127.0.0.1\"",
            "6: milter.a.socket: expected \"unix:/path/of/socket\" or \"inet:host:port\", found \"inet:127.0.0.1\"",
        ),
        (
            "[[milter]]\nname = \"a\"\nsocket = \"unix:/a\"\n[[milter]]\nname = \"a\"",
            "8: milter.name: a filter a is there already",
        ),
        (
            "[[milter]]\nname = \"a\"\nsocket = \"unix:/a\"\nservices = []",
            "7: milter.a.services: expected one or more of \"smtp\", \"submission\", \"submissions\" or \"sendmail\", found an array",
        ),
        (
            "[[milter]]\nname = \"a\"\nsocket = \"unix:/a\"\nservices = [\"lmtp\"]",
            "7: milter.a.services: expected \"smtp\", \"submission\", \"submissions\" or \"sendmail\", found \"lmtp\"",
        ),
        (
            "[[milter]]\nname = \"a\"\nsocket = \"unix:/a\"\ntimeout = { message = \"3m\" }",
            "7: milter.a.timeout.message: expected a duration from \"1s\" to \"2m\", found \"3m\"",
        ),
        (
            "[[milter]]\nname = \"a\"\nsocket = \"unix:/a\"\ntimeout = { end = \"3s\" }",
            "7: milter.a.timeout.end: unknown key; known here: connect, command, message",
        ),
        (
            "[[milter]]\nname = \"a\"\nsocket = \"unix:/a\"\non_failure = \"accept\"",
            "7: milter.a.on_failure: expected \"defer\" or \"pass\", found \"accept\"",
        ),
        (
            "[[milter]]\nname = \"a\"\nsocket = \"unix:/a\"\nmay = [\"all\"]",
            "7: milter.a.may: expected \"header\", \"body\", \"recipients\", \"sender\" or \"quarantine\", found \"all\"",
        ),
        (
            "[[milter]]\nname = \"a\"\nsocket = \"unix:/a\"\nservice = []",
            "7: milter.a.service: unknown key; is services meant?",
        ),
        (
            "[trust]\nblocklists = \"zen.example\"",
            "5: trust.blocklists: expected a list in brackets, found the string \"zen.example\"",
        ),
        (
            "[trust]\nblocklists = [\n\"zen.example\",\n\"127.0.0.2\"]",
            "7: trust.blocklists: expected a domain of letters, digits and hyphens, found \"127.0.0.2\"",
        ),
        (
            "[trust]\nblocklists = [\"zen.example\",\n{ zone = \"ZEN.example\" }]",
            "6: trust.blocklists: the list is there twice",
        ),
        ("[trust]\nblocklists = [5]", "5: trust.blocklists: expected a table, found the integer 5"),
        ("[trust]\nblocklists = [{ codes = [] }]", "5: trust.blocklists: needs zone"),
        (
            "[trust]\nblocklists = [{ zone = \"zen.example\", codes = [] }]",
            "5: trust.blocklists.codes: expected at least one code",
        ),
        (
            "[trust]\nblocklists = [{ zone = \"zen.example\", codes = [\"127.255.255.254\"] }]",
            "5: trust.blocklists.codes: expected codes of a list like \"127.0.0.2\" or \"127.0.0.2-127.0.0.11\", up to 127.255.254.255, found \"127.255.255.254\"",
        ),
        (
            "[greylist]\ndelay = \"2d\"",
            "5: greylist.delay: expected a duration from \"1s\" to \"1d\", found \"2d\"",
        ),
        ("[greylist]\nexpires = \"2d\"", "5: greylist.expires: unknown key; is expire meant?"),
        // Wrong types.
        (
            "threads = \"16\"",
            "4: relay.threads: expected a whole number from 1 to 1000, found the string \"16\"",
        ),
        (
            "threads = 1.5",
            "4: relay.threads: expected a whole number from 1 to 1000, found the float 1.5",
        ),
        (
            "expire = 5",
            "4: relay.expire: expected a duration like \"90s\", \"5m\", \"4h\" or \"5d\", found the integer 5",
        ),
        ("retry = \"5m\"", "4: relay.retry: expected a list in brackets, found the string \"5m\""),
        (
            "retry = [\n  \"5m\",\n  5,\n]",
            "6: relay.retry: expected a duration like \"90s\", \"5m\", \"4h\" or \"5d\", found the integer 5",
        ),
        (
            "smarthost = [\"a:25\"]",
            "4: relay.smarthost: expected host:port, \"mx.example.net:25\", \"192.0.2.1:25\" or \"[2001:db8::1]:25\", found an array",
        ),
        (
            "[domain.a]\nany_user = 1",
            "5: domain.a.any_user: expected true or false, found the integer 1",
        ),
        ("[domain]\na = true", "5: domain.a: expected a table, found the boolean true"),
        ("[[domain]]", "4: domain: expected a table, found an array"),
        (
            "[domain.a]\nusers = 2026-01-01",
            "5: domain.a.users: expected a path, found the datetime 2026-01-01",
        ),
        (
            "[dns]\ntrust_ad = \"true\"",
            "5: dns.trust_ad: expected true or false, found the string \"true\"",
        ),
        (
            "[limit]\nmessage_size = true",
            "5: limit.message_size: expected a whole number of bytes, or a string like \"25MiB\" (KiB, MiB, GiB), found the boolean true",
        ),
        // Numbers, sizes, durations.
        ("threads = 0", "4: relay.threads: expected a whole number from 1 to 1000, found 0"),
        ("threads = -1", "4: relay.threads: expected a whole number from 1 to 1000, found -1"),
        (
            "port = 99999999999999999999",
            "4: relay.port: expected a whole number from 1 to 65535, found 99999999999999999999",
        ),
        (
            "per_destination = 0",
            "4: relay.per_destination: expected a whole number from 1 to 1000, found 0",
        ),
        ("retry = []", "4: relay.retry: expected 1 to 1000 waits"),
        (
            "retry = [\"0s\"]",
            "4: relay.retry: expected a duration from \"1s\" to \"3650d\", found \"0s\"",
        ),
        (
            "expire = \"3651d\"",
            "4: relay.expire: expected a duration from \"1s\" to \"3650d\", found \"3651d\"",
        ),
        (
            "delay_notice = \"4\"",
            "4: relay.delay_notice: expected a duration like \"90s\", \"5m\", \"4h\" or \"5d\", found \"4\"",
        ),
        (
            "[limit]\nrecipients = 99",
            "5: limit.recipients: expected a whole number from 100 to 1000000, found 99",
        ),
        ("[limit]\nhops = 0", "5: limit.hops: expected a whole number from 1 to 1000000, found 0"),
        (
            "[limit]\nmessage_size = \"63KiB\"",
            "5: limit.message_size: expected at least 64KiB, found \"63KiB\"",
        ),
        (
            "[limit]\nmessage_size = \"25MB\"",
            "5: limit.message_size: expected a whole number of bytes, or a string like \"25MiB\" (KiB, MiB, GiB), found \"25MB\"",
        ),
        ("[trace]\nsize = 0", "5: trace.size: expected at least 1MiB, found 0"),
        (
            "[timeout]\nfinal = \"0s\"",
            "5: timeout.final: expected a duration from \"1s\" to \"3650d\", found \"0s\"",
        ),
        // Names and addresses.
        (
            "smarthost = \"smtp.example.net\"",
            "4: relay.smarthost: expected host:port, \"mx.example.net:25\", \"192.0.2.1:25\" or \"[2001:db8::1]:25\", found \"smtp.example.net\"",
        ),
        (
            "[dns]\nservers = [\"127.0.0.1\"]",
            "5: dns.servers: expected address:port, \"127.0.0.1:25\" or \"[::1]:25\", found \"127.0.0.1\"",
        ),
        (
            "[dns]\nservers = [\"127.0.0.1:0\"]",
            "5: dns.servers: expected address:port, \"127.0.0.1:25\" or \"[::1]:25\", found \"127.0.0.1:0\"",
        ),
        (
            "[listen]\nsmtp = [\"localhost:25\"]",
            "5: listen.smtp: expected address:port, \"127.0.0.1:25\" or \"[::1]:25\", found \"localhost:25\"",
        ),
        (
            "[domain.\"a b\"]",
            "4: domain.\"a b\": expected a domain of letters, digits and hyphens, found \"a b\"",
        ),
        (
            "[relay.route]\n\"*.a.test\" = \"b:25\"",
            "5: relay.route.\"*.a.test\": expected a domain, or \".example.com\" for its subdomains, found \"*.a.test\"",
        ),
        (
            "[relay.route]\na.test = \"b:25\"",
            "5: relay.route.a: expected host:port, \"mx.example.net:25\", \"192.0.2.1:25\" or \"[2001:db8::1]:25\", found a table",
        ),
        (
            "[domain.a]\ncatch_all = \"@b\"",
            "5: domain.a.catch_all: expected a local part of this domain, or a whole address, found \"@b\"",
        ),
        (
            "[domain.a]\nsubaddress = \"x\"",
            "5: domain.a.subaddress: expected up to 4 of !#$%&'*+-=?^_`{|}~. and not dots alone, or \"\" for none, found \"x\"",
        ),
        (
            "[domain.a]\nmaildir = \"/m/{name}\"",
            "5: domain.a.maildir: expected a path in which {domain} and {user} are the only braces, found \"/m/{name}\"",
        ),
        (
            "[domain.a]\nmaildir = \"\"",
            "5: domain.a.maildir: expected a path in which {domain} and {user} are the only braces, found \"\"",
        ),
        ("[domain.a]\naliases = \"\"", "5: domain.a.aliases: expected a path, found \"\""),
        ("[domain.a]\nusers = \"a\\u0000\"", "5: domain.a.users: expected a path, found \"a\\0\""),
        ("[domain.a]\ndkim = \"\"", "5: domain.a.dkim: expected a path, found \"\""),
        ("[sign.a]", "4: sign.a: needs dkim"),
        ("[sign.a]\ndkim = 1", "5: sign.a.dkim: expected a path, found the integer 1"),
        (
            "[sign.\"a_b\"]\ndkim = \"k\"",
            "4: sign.a_b: expected a domain of letters, digits and hyphens, found \"a_b\"",
        ),
        (
            "[sign.a]\ndkim = \"k\"\n[sign.A]\ndkim = \"k\"",
            "6: sign.A: the domain a is there twice",
        ),
        (
            "[domain.a]\n[sign.a]\ndkim = \"k\"",
            "5: sign.a: a is delivered here; dkim belongs into its [domain.\"a\"]",
        ),
        // What does not go together.
        (
            "smarthost_auth = { user = \"a\", password_file = \"b\" }",
            "4: relay.smarthost_auth: there is no smarthost",
        ),
        (
            "smarthost = \"a:25\"\nsmarthost_auth = { user = \"a\" }",
            "5: relay.smarthost_auth: needs password_file",
        ),
        (
            "smarthost = \"a:25\"\nsmarthost_auth = { user = \"\", password_file = \"b\" }",
            "5: relay.smarthost_auth.user: expected a user's name, found \"\"",
        ),
        ("[tls]\ncertificate = \"a\"", "4: tls: needs key"),
        (
            "[listen]\nsubmissions = [\"[::]:465\"]",
            "5: listen.submissions: it is TLS from the first byte, and needs a [tls]",
        ),
        (
            "[listen]\nsmtp = [\"127.0.0.1:25\"]\nmetrics = [\n\"127.0.0.1:25\"]",
            "7: listen.metrics: 127.0.0.1:25 is there twice",
        ),
        ("[domain.a]\nalias_of = \"a\"", "5: domain.a.alias_of: it leads back to itself"),
        (
            "[domain.a]\nalias_of = \"b\"\n[domain.b]\nalias_of = \"a\"",
            "5: domain.a.alias_of: b is an alias of a itself; name a domain that is none",
        ),
        (
            "[domain.c]\n[domain.a]\nalias_of = \"b\"\n[domain.b]\nalias_of = \"c\"",
            "6: domain.a.alias_of: b is an alias of c itself; name a domain that is none",
        ),
        (
            "[domain.a]\nalias_of = \"far.test\"",
            "5: domain.a.alias_of: there is no [domain.\"far.test\"]",
        ),
        (
            "[domain.b]\n[domain.a]\nalias_of = \"b\"\nusers = \"u\"",
            "7: domain.a.users: only dkim may stand beside alias_of",
        ),
        (
            "[domain.a]\nlmtp = \"/run/lmtp\"",
            "5: domain.a.lmtp: expected \"unix:/path/of/socket\" or \"inet:host:port\", found \"/run/lmtp\"",
        ),
        (
            "[domain.a]\nlmtp = \"inet:a:24\"\nmaildir = \"/m/{user}\"",
            "6: domain.a.maildir: lmtp keeps the mail of this domain, so it has no Maildirs",
        ),
        (
            "[relay.backup]\na = 1",
            "5: relay.backup.a: expected a path, or \"\" for all recipients, found the integer 1",
        ),
        (
            "reports = \"postmaster\"",
            "4: relay.reports: expected an address, \"postmaster@example.org\", found \"postmaster\"",
        ),
        ("dane = 1", "4: relay.dane: expected true or false, found the integer 1"),
        (
            "prefer = \"ipv5\"",
            "4: relay.prefer: expected \"ipv6\", \"ipv4\", \"ipv6-only\" or \"ipv4-only\", found \"ipv5\"",
        ),
        (
            "[listen]\nsmtp = [\"127.0.0.1:25\"]\nproxy = [\"10.0.0.9/8\"]",
            "6: listen.proxy: expected 10.0.0.0/8 or more than 8 bits, found \"10.0.0.9/8\"",
        ),
        ("[domain.a]\n[domain.A]", "5: domain.A: the domain a is there twice"),
        (
            "[relay.route]\na = \"b:25\"\nA = \"c:25\"",
            "6: relay.route.A: the route for a is there twice",
        ),
        // TOML itself.
        ("threads = 1\nthreads = 2", "5: duplicate key threads"),
        ("threads", "4: key with no value, expected `=`"),
        ("threads =", "4: string values must be quoted, expected literal string"),
        ("[listen", "4: unclosed table, expected `]`"),
        ("[relay]", "4: duplicate key relay"),
        ("[domain.\"a.test\"]\n[domain.\"a.test\"]", "5: duplicate key \"a.test\""),
    ] {
        let error = parse(&format!("{LEAST}{text}\n")).err();
        assert_eq!(error, Some(format!("facteur.toml:{what}")), "{text}");
    }
}

/// Rows that are whole files.
#[test]
fn files_that_are_bad() {
    for (text, what) in [
        (
            "hostname = \"mx.test\"\n",
            " nothing to do: no [domain.\"...\"], no relay.networks, no listen.submission",
        ),
        ("hostname = \"mx.test\"\n[domains.a]\n", "2: domains: unknown key; is domain meant?"),
        (
            "hostname = \"192.0.2.1\"\n",
            "1: hostname: expected a domain of letters, digits and hyphens, found \"192.0.2.1\"",
        ),
        (
            "hostname = 1\n",
            "1: hostname: expected a domain of letters, digits and hyphens, found the integer 1",
        ),
        ("\nspool = \"\"\nhostname = \"a\"", "2: spool: expected a path, found \"\""),
        ("run_as = \"\"\nhostname = \"a\"", "1: run_as: expected a user's name, found \"\""),
        (
            "hostname = \"a\"\nrelay.networks = [\"10.1.0.0/8\"]",
            "2: relay.networks: expected 10.0.0.0/8 or more than 8 bits, found \"10.1.0.0/8\"",
        ),
        (
            "hostname = \"a\"\nrelay.networks = [\"10.0.0.0/33\"]",
            "2: relay.networks: expected a network like \"192.0.2.0/24\" or \"2001:db8::/32\", found \"10.0.0.0/33\"",
        ),
    ] {
        assert_eq!(parse(text).err(), Some(format!("facteur.toml:{what}")), "{text}");
    }
    let long = parse(&format!("hostname = \"{}\"", "\u{e9}".repeat(300))).unwrap_err();
    assert!(long.ends_with("\u{e9}\"...") && long.len() < 600, "{long}");
}

#[test]
fn files() {
    let folder = std::env::temp_dir().join(format!("facteur-config-{}", std::process::id()));
    fs::create_dir_all(folder.join("folder")).unwrap();
    let [good, latin1, long, link] = ["good", "latin1", "long", "link"].map(|n| folder.join(n));
    fs::write(&good, LEAST).unwrap();
    fs::write(&latin1, b"\n# caf\xe9\n").unwrap();
    fs::write(&long, "\n".repeat(1024 * 1024 + 1)).unwrap();
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    let missing = folder.join("missing");

    let config = Config::load(Some(&good)).unwrap();
    assert_eq!(config.spool, folder.join("facteur-data/spool"));
    assert_eq!(Config::find(&[&missing, &good, &long]), Ok(config));
    assert_eq!(Config::find(&[&missing]), Ok(Config::demo()));
    for (path, what) in [
        (&missing, ": cannot be read: No such file or directory (os error 2)"),
        (&link, ": cannot be read: No such file or directory (os error 2)"),
        (&folder.join("folder"), ": cannot be read: Is a directory (os error 21)"),
        (&latin1, ":2: is not UTF-8"),
        (&long, ": is longer than 1MiB"),
    ] {
        let error = Config::load(Some(path)).unwrap_err().to_string();
        assert_eq!(error, format!("{}{what}", path.display()));
    }
    let error = Config::find(&[&link, &good]).unwrap_err();
    assert_eq!(error.file, link);
    fs::remove_dir_all(&folder).unwrap();
}
