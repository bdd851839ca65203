//! What others find in the same records: pyspf, where it is installed.

use crate::outside::{PYTHON, has_modules};
use crate::support::{Dice, text};
use crate::trust_zone::Zone;
use facteur::mail::proof::spf::{SpfClient, SpfIdentity, check};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Zones, and clients of each.
const ZONES: usize = 120;
const CLIENTS: usize = 10;

const DOMAINS: usize = 8;

/// What pyspf says where RFC 7208 has it otherwise.
const ARGUED: [&str; 5] = [
    // It counts `redirect=` also where that is not followed (§4.6.4).
    "Too many DNS lookups",
    // Modifiers that nobody knows are ignored however often they come (§6).
    "x= MUST appear at most once",
    "x.y-z_1= MUST appear at most once",
    "unknown= MUST appear at most once",
    // It looks for this before any term is evaluated; a loop is an error where it is reached (§4.6.4).
    "include has trivial recursion",
];

fn pick<'a>(dice: &mut Dice, of: &[&'a str]) -> &'a str {
    of[dice.below(of.len())]
}

fn domain(dice: &mut Dice) -> String {
    format!("d{}.example", dice.below(DOMAINS))
}

/// An address near those of the hosts, or one of them.
fn address(dice: &mut Dice) -> String {
    let (near, host) = (dice.below(3), dice.below(4));
    match dice.below(2) {
        0 => format!("192.0.{near}.{host}"),
        _ => format!("2001:db8:{near}::{host}"),
    }
}

/// A name for a term: mostly a host that has addresses, seldom one that is not there or fails.
fn target(dice: &mut Dice) -> String {
    match dice.below(20) {
        0 => "nothing.example".to_owned(),
        1 => "fails.example".to_owned(),
        2 => pick(dice, &["%{l}.m.example", "%{l1r-}.m.example", "%{L2r+-}.m.example"]).to_owned(),
        3 => pick(dice, &["%{ir}.%{v}.m.example", "%{h}", "%{H1}.m.example", "%{o2}"]).to_owned(),
        4 => pick(dice, &["%{d}", "%{d1r}.m.example.", "%{s}.example", "x%_%%y%-.example"])
            .to_owned(),
        5 => domain(dice),
        _ => format!("h{}.example", dice.below(6)),
    }
}

/// Lengths of prefixes: both good and bad ones.
fn lengths(dice: &mut Dice) -> &'static str {
    match dice.below(8) {
        0 => pick(dice, &["/33", "//129", "/024", "/", "/24/64"]),
        1..4 => pick(dice, &["/24", "//48", "/16//32", "/32", "//128", "/0", "//0"]),
        _ => "",
    }
}

fn term(dice: &mut Dice) -> String {
    let sign = pick(dice, &["", "", "", "+", "-", "~", "?"]);
    let mechanism = match dice.below(40) {
        0..7 => format!("a:{}{}", target(dice), lengths(dice)),
        7..10 => format!("a{}", lengths(dice)),
        10..14 => format!("mx:{}{}", target(dice), lengths(dice)),
        14..16 => "mx".to_owned(),
        16..20 => {
            format!("ip4:192.0.{}.0{}", dice.below(3), pick(dice, &["/24", "/28", "", "/32"]))
        }
        20..24 => format!("ip6:2001:db8:{}::{}", dice.below(3), pick(dice, &["/48", "/64", "1"])),
        24..29 => format!("include:{}", domain(dice)),
        29..33 => format!("exists:{}", target(dice)),
        33..35 => format!("ptr:{}", pick(dice, &["example", "h1.example", "d0.example"])),
        35 => "all".to_owned(),
        36 => return pick(dice, &["x=y", "x.y-z_1=%{d}/:", "unknown="]).to_owned(),
        37 => return format!("redirect={}", domain(dice)),
        38 => return "exp=why.example".to_owned(),
        _ => pick(dice, &["ip4:192.0.2", "a:", "include", "all:x", "b", "ptr/8", "a:x", "ip6::::"])
            .to_owned(),
    };
    sign.to_owned() + &mechanism
}

fn zone(dice: &mut Dice) -> Value {
    let mut zone = json!({
        "fails.example": [["TIMEOUT", null]],
        "why.example": [["TXT", ["%{i} of %{h} is not %{s}, %{L}%_%{c} %{d2r} %{v}"]]],
        "bar.m.example": [["A", "127.0.0.2"], ["AAAA", "2001:db8:1::1"]],
        "foo-bar.m.example": [["A", "192.0.1.1"]],
        "1.1.0.192.in-addr.m.example": [["A", "192.0.1.1"], ["AAAA", "2001:db8:1::1"]],
        "1.1.0.192.in-addr.arpa": [["PTR", "h1.example"], ["PTR", "d0.example"]],
    });
    for host in 0..6 {
        let four = format!("192.0.{}.{}", host % 3, host % 4);
        let six = format!("2001:db8:{}::{}", host % 3, host % 4);
        let name = format!("h{host}.example");
        let other = format!("h{}.example", (host + 1) % 6);
        zone[&name] = json!([["A", four], ["AAAA", six], ["MX", [10, name]], ["MX", [5, other]]]);
    }
    for number in 0..DOMAINS {
        let terms: Vec<String> = (0..1 + dice.below(6)).map(|_| term(dice)).collect();
        let end = pick(dice, &["", " -all", " -all", " ~all", " ?all", " -all exp=why.example"]);
        let record = format!("v=spf1 {}{end}", terms.join(" "));
        let host = format!("h{}.example", dice.below(6));
        zone[format!("d{number}.example")] = json!([
            ["TXT", [record]],
            ["A", "192.0.0.9"],
            ["AAAA", "2001:db8::9"],
            ["MX", [1, host]]
        ]);
    }
    zone
}

/// Runs the script `tests/programs/NAME` with `input`, and gives its lines.
fn ask_python(name: &str, input: &Value) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name);
    let mut command = Command::new(PYTHON);
    command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It says nothing before it has read all.
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn pyspf() {
    if !has_modules("spf") {
        return;
    }
    let mut dice = Dice::new(7208);
    let senders = ["foo-bar", "foo+bar", "a.b", "x"];
    let works: Vec<(Value, Vec<Value>)> = (0..ZONES)
        .map(|_| {
            let zone = zone(&mut dice);
            let cases = (0..CLIENTS).map(|_| {
                let sender = format!("{}@{}", pick(&mut dice, &senders), domain(&mut dice));
                let helo = pick(&mut dice, &["h1.example", "mx", "[192.0.2.1]"]);
                json!({"address": address(&mut dice), "helo": helo, "sender": sender})
            });
            let cases = cases.collect();
            (zone, cases)
        })
        .collect();
    let input: Vec<Value> =
        works.iter().map(|(zone, cases)| json!({"zone": zone, "cases": cases})).collect();
    let mut said = ask_python("spf_oracle.py", &json!(input)).into_iter();
    let (mut argued, mut others) = (0, Vec::new());
    let mut results = BTreeMap::new();
    for (zone, cases) in &works {
        let table = Zone::of_lists(zone);
        for case in cases {
            let said = said.next().unwrap();
            let of = |key: &str| case[key].as_str().unwrap();
            let client = SpfClient {
                address: of("address").parse().unwrap(),
                helo: of("helo").as_bytes(),
                receiver: "unknown",
                time: 0,
            };
            let (local, domain) = of("sender").split_once('@').unwrap();
            let identity =
                SpfIdentity::MailFrom { local: local.as_bytes(), domain: domain.as_bytes() };
            let found = check(&mut table.clone(), &client, identity);
            *results.entry(found.result.to_string()).or_insert(0) += 1;
            let (result, words) = said.split_once('\t').unwrap();
            let explained =
                result != "fail" || found.explanation.as_deref().unwrap_or_default() == words;
            match found.result.to_string() == result && explained {
                true => {}
                false if ARGUED.contains(&words) => argued += 1,
                false => others.push(format!("{case}\n  {found:?}\n  {said}\n  {zone}")),
            }
        }
    }
    assert!(others.is_empty(), "{} differ:\n{}", others.len(), others.join("\n"));
    assert!(argued * 50 <= ZONES * CLIENTS, "{argued} are argued");
    // Records that all end the same way would prove little.
    for result in ["neutral", "pass", "fail", "softfail", "temperror", "permerror"] {
        let times = results.get(result).copied().unwrap_or(0);
        assert!(times * 50 >= ZONES * CLIENTS, "{results:?}");
    }
}
