//! What becomes of each setting of main.cf: translated, of no use here, or named with what to do.
//!
//! Pure. A pattern that ends in `*` stands for all names that begin so, one that begins with `*` for all that end so;
//! the first that fits counts.

use super::main_cf::MainCf;
use super::restrictions::is_restrictions;

/// Longest value that a line repeats, in characters.
const SHOWN: usize = 80;

/// Settings that other files of this directory translate, and say themselves what they could not.
const TRANSLATED: &[&str] = &[
    "alias_database",
    "alias_maps",
    "append_at_myorigin",
    "append_dot_mydomain",
    "config_directory",
    "delay_warning_time",
    "home_mailbox",
    "inet_interfaces",
    "inet_protocols",
    "local_recipient_maps",
    "luser_relay",
    "mailbox_transport",
    "maximal_queue_lifetime",
    "message_size_limit",
    "milter_default_action",
    "mydestination",
    "mydomain",
    "myhostname",
    "mynetworks",
    "mynetworks_style",
    "myorigin",
    "non_smtpd_milters",
    "postscreen_dnsbl_sites",
    "postscreen_dnsbl_threshold",
    "queue_directory",
    "recipient_delimiter",
    "relay_domains",
    "relay_recipient_maps",
    "relayhost",
    "smtp_destination_concurrency_limit",
    "smtp_sasl_auth_enable",
    "smtp_sasl_password_maps",
    "smtpd_client_connection_count_limit",
    "smtpd_hard_error_limit",
    "smtpd_milters",
    "smtpd_recipient_limit",
    "smtpd_tls_cert_file",
    "smtpd_tls_chain_files",
    "smtpd_tls_eccert_file",
    "smtpd_tls_eckey_file",
    "smtpd_tls_key_file",
    "transport_maps",
    "virtual_alias_domains",
    "virtual_alias_maps",
    "virtual_gid_maps",
    "virtual_mailbox_base",
    "virtual_mailbox_domains",
    "virtual_mailbox_maps",
    "virtual_maps",
    "virtual_transport",
    "virtual_uid_maps",
    "hopcount_limit",
];

/// What to do about the others. An empty text: nothing is lost by leaving it out.
const OTHERS: &[(&str, &str)] = &[
    // Addresses that are rewritten.
    ("canonical_maps", REWRITES),
    ("*_canonical_maps", REWRITES),
    ("*canonical_classes", ""),
    ("masquerade_*", REWRITES),
    (
        "*_generic_maps",
        "senders are not rewritten on their way out: let the programs give a sender of a domain of this \
                        host (facteur sendmail -f, From)",
    ),
    (
        "relocated_maps",
        "mail for these hears 550 without the new address; an alias would send it on",
    ),
    ("always_bcc", COPIES),
    ("*_bcc_maps", COPIES),
    // Delivery.
    (
        "mailbox_command*",
        "no program delivers mail here; let Dovecot keep it, with Sieve (facteur setup --dovecot)",
    ),
    ("mailbox_transport_maps", "one way for all accounts: lmtp of the domain"),
    ("fallback_transport*", "unknown users go to catch_all, or are refused"),
    ("mailbox_size_limit", QUOTAS),
    ("virtual_mailbox_limit*", QUOTAS),
    ("virtual_maildir_*", QUOTAS),
    ("virtual_overquota_*", QUOTAS),
    ("virtual_create_maildirsize", QUOTAS),
    (
        "mail_spool_directory",
        "mail is kept in Maildirs; docs/postfix.md says how to move what lies there",
    ),
    (
        "forward_path",
        "no .forward is read here: write what stands in these files into the aliases file",
    ),
    ("virtual_minimum_uid", ""),
    ("virtual_mailbox_lock", ""),
    ("mailbox_delivery_lock", ""),
    ("allow_mail_to_*", "no program is run and no file is written by mail here"),
    ("local_transport", "accounts get Maildirs, or their domain has lmtp"),
    ("relay_transport", "next hops stand in relay.route"),
    ("default_transport", "mail goes to MX hosts, relay.route or relay.smarthost"),
    (
        "content_filter",
        "filters are asked before mail is taken, by the milter protocol: [[milter]], docs/filters.md \
                        (amavis: its milter amavisd-milter)",
    ),
    ("smtpd_proxy_*", "filters are asked by the milter protocol: [[milter]], docs/filters.md"),
    ("receive_override_options", ""),
    ("biff", ""),
    // Content.
    ("*header_checks", CONTENT),
    ("body_checks", CONTENT),
    ("body_checks_size_limit", ""),
    ("smtp_*_checks", CONTENT),
    ("header_size_limit", ""),
    ("mime_*", ""),
    ("milter_*_timeout", "timeouts stand in [[milter]] timeout; its defaults are 5s, 30s and 90s"),
    ("milter_*", "filters are told the usual macros; nothing to do unless yours misses one"),
    ("smtpd_milter_maps", "a filter is asked for all clients of its services"),
    ("always_add_missing_headers", ""),
    ("enable_original_recipient", ""),
    // The queue.
    ("bounce_queue_lifetime", "notices wait as long as other mail (relay.expire)"),
    ("minimal_backoff_time", RETRY),
    ("maximal_backoff_time", RETRY),
    ("queue_run_delay", RETRY),
    ("transport_retry_time", RETRY),
    ("bounce_template_file", "notices have a text of their own"),
    ("bounce_size_limit", ""),
    ("*notice_recipient", "notices that nobody can be told go to postmaster: give it an alias"),
    ("notify_classes", "trouble is told by log and metrics (facteur check, listen.metrics)"),
    ("soft_bounce", "nothing here turns 5xx into 4xx"),
    ("defer_transports", "nothing is held for a while by name; stop the server instead"),
    ("hash_queue_*", ""),
    ("queue_minfree", "a full disk is told when a write fails (452)"),
    ("fast_flush_*", "ETRN is heard for every domain"),
    ("enable_long_queue_ids", ""),
    ("initial_destination_concurrency", ""),
    (
        "default_destination_concurrency_limit",
        "relay.per_destination says how many connections one next hop gets",
    ),
    (
        "*_destination_rate_delay",
        "no waits between messages for one next hop: relay.per_destination = 1 is the slowest",
    ),
    ("*_destination_*", ""),
    ("*_transport_rate_delay", ""),
    ("default_*", ""),
    ("qmgr_*", ""),
    // Mail to other hosts.
    ("smtp_sasl_tls_security_options", "a password is given over verified TLS alone"),
    ("smtp_sasl_security_options", "a password is given over verified TLS alone"),
    ("smtp_sasl_*", ""),
    ("smtp_sender_dependent_authentication", SENDERS),
    ("sender_dependent_*", SENDERS),
    (
        "smtp_tls_policy_maps",
        "what a next hop is held to comes from DANE, MTA-STS and smarthost_auth; none stands in the \
                              configuration",
    ),
    ("smtp_tls_per_site", "what a next hop is held to comes from DANE, MTA-STS and smarthost_auth"),
    ("smtp_tls_CA*", "the authorities of the system are trusted (update-ca-certificates)"),
    ("smtp_tls_wrappermode", "TLS from the first octet is spoken to a smarthost at port 465"),
    ("smtp_use_tls", ""),
    ("smtp_enforce_tls", "TLS is tried with every host, and owed where DANE or MTA-STS says so"),
    ("smtp_tls_cert_file", "no certificate of a client is shown to next hops"),
    ("smtp_tls_key_file", "no certificate of a client is shown to next hops"),
    ("smtp_tls_*", TLS),
    ("smtp_bind_address*", "the system chooses the address that mail leaves from"),
    ("smtp_helo_name", "hostname is what other hosts hear"),
    (
        "smtp_fallback_relay",
        "mail waits for its next hop; a route in relay.route takes a domain elsewhere",
    ),
    ("smtp_host_lookup", "names of hosts come from DNS"),
    ("disable_dns_lookups", "without DNS set relay.smarthost and relay.route"),
    (
        "smtp_dns_support_level",
        "dns.trust_ad = true where the name server of this machine validates DNSSEC",
    ),
    ("smtp_address_preference", "relay.prefer says which addresses are tried first"),
    ("smtp_*timeout", "[timeout] says how long a step may take"),
    ("smtp_*", ""),
    ("lmtp_*", "lmtp of a domain needs no settings"),
    (
        "best_mx_transport",
        "mail for a domain whose best MX is this host, and that is not delivered here, is returned",
    ),
    ("ignore_mx_lookup_error", ""),
    ("export_environment", ""),
    ("import_environment", ""),
    // Clients.
    ("smtpd_sasl_type", LOGINS),
    ("smtpd_sasl_path", LOGINS),
    ("smtpd_sasl_local_domain", "a login is the whole address"),
    ("smtpd_sasl_auth_enable", "users log in on submission and submissions, never on port 25"),
    ("smtpd_sasl_*", ""),
    (
        "smtpd_sender_login_maps",
        "a user may send under an own address and under aliases that lead to it",
    ),
    ("smtpd_tls_auth_only", ""),
    ("smtpd_tls_CA*", "certificates of clients are not asked for"),
    ("smtpd_tls_*ccert*", "certificates of clients are not asked for"),
    ("relay_clientcerts", "clients relay by network (relay.networks) or by a login"),
    ("tls_server_sni_maps", "one certificate for all names: it may hold several"),
    ("smtpd_tls_*", TLS),
    ("smtpd_use_tls", ""),
    ("smtpd_enforce_tls", "clients of port 25 are never required to speak TLS"),
    ("tls_*", TLS),
    ("tlsproxy_*", ""),
    ("smtpd_banner", "the greeting says hostname"),
    ("smtpd_helo_required", ""),
    ("disable_vrfy_command", ""),
    ("smtpd_delay_reject", ""),
    ("strict_rfc821_envelopes", ""),
    ("smtpd_reject_unlisted_*", ""),
    ("smtpd_relay_before_recipient_restrictions", ""),
    ("unverified_*", ""),
    (
        "address_verify_*",
        "the better MX is not asked who exists: relay.backup names a file of recipients",
    ),
    (
        "smtpd_client_*rate_limit",
        "limit.sessions_per_client and limit.recipients_per_hour bound clients and users",
    ),
    ("smtpd_client_*", ""),
    ("smtpd_*timeout", "[timeout] says how long a step may take"),
    ("smtpd_error_sleep_time", ""),
    ("smtpd_soft_error_limit", ""),
    ("smtpd_junk_command_limit", ""),
    ("smtpd_forbid_*", "a bare CR or LF is always refused"),
    ("smtpd_policy_service_*", "policy services are not asked here"),
    ("smtpd_authorized_x*", "listen.proxy names balancers, by the PROXY protocol"),
    ("*upstream_proxy_protocol", "listen.proxy names balancers, by the PROXY protocol"),
    ("smtpd_upstream_proxy_timeout", ""),
    ("*reject_code", ""),
    ("*defer_code", ""),
    ("smtpd_*footer*", "refusals end in the id of the session"),
    ("smtpd_discard_ehlo_*", "what EHLO offers is not configured"),
    ("smtpd_command_filter", "what clients say is not rewritten"),
    ("smtpd_etrn_restrictions", "ETRN is bounded by itself"),
    ("authorized_submit_users", "every login of this machine may send by sendmail"),
    ("authorized_*_users", ""),
    ("smtpd_*", ""),
    ("postscreen_*", "strangers are met by trust.blocklists and [greylist] (docs/gates.md)"),
    ("dnsblog_*", ""),
    (
        "permit_mx_backup_networks",
        "each domain of which this host is a backup MX stands in relay.backup",
    ),
    ("parent_domain_matches_subdomains", "subdomains are named: \".example.com\" in relay.route"),
    (
        "proxy_interfaces",
        "an address of a balancer stands in listen.proxy; mail loops are seen by their Received fields",
    ),
    ("smtputf8_*", ""),
    ("strict_*", ""),
    ("local_header_rewrite_clients", ""),
    ("remote_header_rewrite_domain", ""),
    ("swap_bangpath", ""),
    ("allow_percent_hack", ""),
    ("resolve_*", ""),
    (
        "propagate_unmatched_extensions",
        "user+tag of an alias leads where the alias does; the tag ends there",
    ),
    ("owner_request_special", ""),
    ("virtual_alias_*limit", ""),
    ("show_user_unknown_table_name", ""),
    // The program itself.
    ("compatibility_level", ""),
    ("maillog_file*", "the log goes to stderr, and by systemd to the journal"),
    ("syslog_*", "the log goes to stderr, and by systemd to the journal"),
    ("multi_instance_*", "a second server has a facteur.toml of its own (facteur -c FILE)"),
    ("master_service_disable", "[listen] says what listens"),
    ("mail_owner", ""),
    ("setgid_group", ""),
    ("mail_name", ""),
    ("*_directory", ""),
    ("*_path", ""),
    ("*_service_name", ""),
    ("*_time_limit", ""),
    ("*_recipient_limit", ""),
    ("*_recipient_refill_*", ""),
    ("*_minimum_delivery_slots", ""),
    ("*_delivery_slot_*", ""),
    ("*_initial_destination_concurrency", ""),
    ("debug*", ""),
    ("daemon_*", ""),
    ("ipc_*", ""),
    ("max_*", ""),
    ("proxy_*_maps", ""),
    ("process_*", ""),
    ("*_maps_rbl_*", ""),
    ("in_flow_delay", ""),
    ("line_length_limit", ""),
    ("rbl_reply_maps", "the refusal names the list"),
    ("message_*_characters", "octets of a message stay as they are"),
    ("qmqpd_*", "QMQP is not spoken here"),
    ("maps_rbl_domains", "lists of clients in DNS stand in trust.blocklists"),
    ("stress", ""),
];

const REWRITES: &str = "addresses are not rewritten: give the programs their right names, and write aliases for recipients";
const COPIES: &str =
    "no copies of all mail are made; an alias with two targets copies mail for one address";
const QUOTAS: &str = "Maildirs have no quota here; Dovecot has, by lmtp (facteur setup --dovecot)";
const CONTENT: &str = "contents are looked at by filters: [[milter]], docs/filters.md";
const RETRY: &str =
    "relay.retry lists the waits between attempts; its default is 5m, 15m, 30m, 1h, 4h";
const SENDERS: &str = "one smarthost for all senders: relay.smarthost";
const TLS: &str = "TLS 1.2 and 1.3 are spoken with the ciphers of this version; nothing to do";
const LOGINS: &str = "users log in by the passwords of the users files (facteur user add), which Dovecot can read too";

/// A line for each setting that has no counterpart, in the order of the file.
pub fn without_counterpart(main: &MainCf) -> Vec<String> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let classes = main.text("smtpd_restriction_classes");
    for (name, setting) in main.settings() {
        let is_class = classes.split([',', ' ']).any(|class| class == name);
        if TRANSLATED.contains(&name) || is_restrictions(name) || (is_class && !name.is_empty()) {
            continue;
        }
        let words = match of_value(name, &main.text(name)).or_else(|| words_of(name)) {
            Some(words) => words,
            None if main.is_parameter(name) => {
                "it has no counterpart: nothing to do, unless it was set for a reason that is not plain from its name"
            }
            // A name of the file's own, which its settings use.
            None if main.is_used(name) => continue,
            None => "it is no parameter of Postfix, and no other setting uses it: nothing to do",
        };
        let words = if words.is_empty() { "nothing to do" } else { words };
        lines.push((setting.line, said(setting.line, name, &setting.raw, words)));
    }
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

/// "main.cf:3: biff = no: nothing to do".
pub fn said(line: usize, name: &str, raw: &str, words: &str) -> String {
    let mut value: String = raw.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = value.char_indices().nth(SHOWN) {
        value.truncate(end);
        value.push_str("...");
    }
    let value = if value.is_empty() { String::new() } else { format!(" {value}") };
    format!("main.cf:{line}: {name} ={value}: {words}")
}

/// Words where the value makes the difference.
fn of_value(name: &str, value: &str) -> Option<&'static str> {
    Some(match (name, value) {
        ("smtp_tls_security_level" | "smtpd_tls_security_level", "may")
        | ("mailbox_size_limit" | "virtual_mailbox_limit", "0") => "",
        ("smtp_tls_security_level", "dane" | "dane-only") => {
            "DANE holds with dns.trust_ad = true, where a name server of this machine validates (docs/dns.md)"
        }
        ("smtp_tls_security_level", "" | "none") => {
            "TLS is spoken wherever a next hop offers it: nothing to do"
        }
        ("smtp_tls_security_level", _) => {
            "TLS is owed where DANE or MTA-STS says so, and to a smarthost with a login; other hosts may get mail in the clear"
        }
        ("smtpd_tls_security_level", "encrypt") => {
            "logins are taken behind TLS alone; mail of other servers comes in the clear too (RFC 3207)"
        }
        ("smtpd_tls_security_level", _) => {
            "TLS is offered wherever there is a certificate: nothing to do"
        }
        _ => return None,
    })
}

fn words_of(name: &str) -> Option<&'static str> {
    let fits = |pattern: &str| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(middle), _) if middle.ends_with('*') => name.contains(middle.trim_end_matches('*')),
        (Some(end), _) => name.ends_with(end),
        (None, Some(begin)) => name.starts_with(begin),
        (None, None) => match pattern.split_once('*') {
            Some((begin, end)) => name.starts_with(begin) && name.ends_with(end),
            None => name == pattern,
        },
    };
    OTHERS.iter().find(|(pattern, _)| fits(pattern)).map(|(_, words)| *words)
}

#[cfg(test)]
mod tests {
    use super::super::main_cf::SystemNames;
    use super::*;

    #[test]
    fn each_setting_is_named_or_translated() {
        let text = "biff = no\nrelayhost = x\nsmtp_generic_maps = hash:/x\nmine = 1\nnobodys = 2\nmydestination = $mine\n\
                    dovecot_destination_recipient_limit = 1\nsmtpd_recipient_restrictions = reject\n\
                    tls_preempt_cipherlist = yes\n";
        let (main, _) = MainCf::parse(text.as_bytes(), SystemNames::default());
        let lines = without_counterpart(&main);
        let begins: Vec<_> =
            lines.iter().map(|line| line.split(" = ").next().unwrap_or_default()).collect();
        assert_eq!(
            begins,
            [
                "main.cf:1: biff",
                "main.cf:3: smtp_generic_maps",
                "main.cf:5: nobodys",
                "main.cf:7: dovecot_destination_recipient_limit",
                "main.cf:9: tls_preempt_cipherlist"
            ]
        );
        assert!(lines[0].ends_with("= no: nothing to do"), "{lines:?}");
        assert!(lines[1].contains("facteur sendmail -f"), "{lines:?}");
    }

    /// Every parameter of Postfix has words, or is translated.
    #[test]
    fn no_parameter_is_without_words() {
        let mut text = String::new();
        for line in include_str!("defaults.cf").lines() {
            text.push_str(line.split(" = ").next().unwrap_or_default().trim_end_matches(" ="));
            text.push_str(" = x\n");
        }
        let (main, _) = MainCf::parse(text.as_bytes(), SystemNames::default());
        let lines = without_counterpart(&main);
        let general = lines.iter().filter(|line| line.contains("it has no counterpart:"));
        let general: Vec<_> = general.collect();
        assert!(lines.len() > 700 && general.len() < 90, "{general:#?}");
    }
}
