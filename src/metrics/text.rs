//! Numbers as Prometheus reads them: the text format 0.0.4.

use super::numbers::{Family, Sample, Values};
use std::fmt::Write as _;

/// All families, each with its HELP and TYPE.
pub(super) fn write(families: &[Family]) -> String {
    let mut out = String::new();
    families.iter().for_each(|family| write_family(&mut out, family));
    out
}

// Writing to a String cannot fail.
fn write_family(out: &mut String, Family { name, help, values }: &Family) {
    let (kind, samples) = match values {
        Values::Counter(samples) => ("counter", &samples[..]),
        Values::Gauge(samples) => ("gauge", &samples[..]),
        Values::Histogram(_) => ("histogram", &[][..]),
    };
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for Sample { labels, value } in samples {
        let labels = labels.iter().map(|(label, is)| format!("{label}=\"{}\"", escaped(is)));
        let labels = labels.collect::<Vec<_>>().join(",");
        let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
        let _ = writeln!(out, "{name}{labels} {value}");
    }
    if let Values::Histogram(shape) = values {
        for (bound, count) in &shape.ranges {
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        let (count, sum) = (shape.count, shape.sum);
        let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(out, "{name}_sum {sum}\n{name}_count {count}");
    }
}

/// The value of a label, escaped.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_labels_cannot_end_them() {
        let labels = vec![("name", "a\"\\\nb".to_owned()), ("b", "x".to_owned())];
        let values = Values::Gauge(vec![Sample { labels, value: 1.5 }]);
        let text = write(&[Family { name: "facteur_x", help: "Of\\a\nb.", values }]);
        let expected = "# HELP facteur_x Of\\\\a\\nb.\n# TYPE facteur_x gauge\n\
                        facteur_x{name=\"a\\\"\\\\\\nb\",b=\"x\"} 1.5\n";
        assert_eq!(text, expected);
    }
}
