//! The alerts for Prometheus: it takes them, each is about a number that there is, and each fires when it should.

use super::unit;
use crate::support::{Place, has_program, skip, text};
use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};

/// Each alert with the series, as promtool writes them and with `;` between them, that make it fire after a day.
const FIRES: [(&str, &str); 17] = [
    ("FacteurDown", "up{job=\"facteur\"} 0x1440"),
    ("FacteurRestarts", "facteur_start_time_seconds 0+1x1440"),
    ("FacteurCopiesFail", "facteur_recipients_total{outcome=\"failed\"} 0+1x1440"),
    (
        "FacteurDiskFull",
        "facteur_disk_free_bytes{directory=\"/v\"} 100-0.07x1440;facteur_disk_size_bytes{directory=\"/v\"} 100x1440",
    ),
    ("FacteurCertificateEnds", "facteur_certificate_expiry_timestamp_seconds 1850000x1440"),
    ("FacteurCertificateOver", "facteur_certificate_expiry_timestamp_seconds 250000x1440"),
    ("FacteurQueueLate", "facteur_queue_next_attempt_timestamp_seconds 0x1440"),
    ("FacteurQueueOld", "facteur_queue_oldest_seconds 0+60x1440"),
    ("FacteurQueueLong", "facteur_queue_messages 1001x1440"),
    ("FacteurHeldMail", "facteur_held_messages 1x1440"),
    ("FacteurKeyUnpublished", "facteur_dkim_unpublished{domain=\"a.test\"} 1x1440"),
    ("FacteurFilterRests", "facteur_filter_resting{filter=\"f\"} 1x1440"),
    ("FacteurFilterFails", "facteur_filtered_total{action=\"failed\",filter=\"f\"} 0+1x1440"),
    ("FacteurBlocklistOff", "facteur_blocklists{state=\"off\"} 1x1440"),
    ("FacteurDnsFails", "facteur_dns_lookups_total{outcome=\"timeout\"} 0+9x1440"),
    ("FacteurFailedLogins", "facteur_logins_total{outcome=\"failed\"} 0+9x1440"),
    ("FacteurLogLost", "facteur_log_lost_total 0+1x1440"),
];

/// A test of promtool: quiet at first, and one alert after a day.
const TEST: &str = "
rule_files: [rules.yml]
tests:
  - interval: 1m
    input_series:
SERIES
    promql_expr_test:
      - {expr: 'count(ALERTS{alertstate=\"firing\"})', eval_time: 0m}
      - expr: 'count(ALERTS{alertstate=\"firing\",alertname=\"NAME\"})'
        eval_time: 1d
        exp_samples: [{labels: '{}', value: 1}]
";

fn rules() -> String {
    unit("prometheus-alerts.yml")
}

fn names() -> Vec<String> {
    let rules = rules();
    let names = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

fn promtool(place: &Place, arguments: &[&str]) -> Output {
    Command::new("promtool").current_dir(place.path()).args(arguments).output().unwrap()
}

/// The numbers that stand in the source, where each has its name as a text of its own.
#[test]
fn they_are_about_numbers_that_there_are() {
    let source = fs::read_to_string("src/metrics/numbers.rs").unwrap();
    let named: BTreeSet<&str> =
        source.split('"').filter(|word| word.starts_with("facteur_")).collect();
    let rules = rules();
    let is_name = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    let used: BTreeSet<&str> = rules
        .split(|letter| !is_name(letter))
        .filter(|word| word.starts_with("facteur_"))
        .collect();
    assert!(used.len() > 10, "{used:?}");
    assert!(used.is_subset(&named), "{used:?}");
}

#[test]
fn prometheus_takes_them_and_each_fires() {
    assert_eq!(names(), FIRES.map(|(name, _)| name));
    if !has_program("promtool", "--version") {
        return skip("promtool is not installed");
    }
    let place = Place::new();
    place.write("rules.yml", rules());
    let output = promtool(&place, &["check", "rules", "rules.yml"]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    for (name, series) in FIRES {
        let lines = series.split(';').map(|series| {
            let (series, values) = series.split_once(' ').unwrap();
            format!("      - {{series: '{series}', values: '{values}'}}")
        });
        let test = TEST.replace("NAME", name);
        let test = test.replace("SERIES", &lines.collect::<Vec<_>>().join("\n"));
        place.write("test.yml", test);
        let output = promtool(&place, &["test", "rules", "test.yml"]);
        assert!(
            output.status.success(),
            "{name}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
    }
}
