//! The same messages through Postfix and through us, each with the same filters: what is said, what lies in
//! the mailboxes, what is held. What the two may differ in is taken off by [`without_own`] and [`said`], and
//! by nothing else.
//!
//! Both serve mx.test with the same mailboxes, and take their client for a host before them: neither adds
//! anything of its own but what it writes on top of every message.

use crate::client::{Client, stuffed};
use crate::dnsd::Dnsd;
use crate::outside::{Input, program, run};
use crate::postfix::Postfix;
use crate::servers::{Binary, FACTEUR};
use crate::support::{PATIENCE, Place, config, text, until};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// A message, and who brings it to whom.
#[derive(Clone)]
pub struct Letter {
    /// Also the name said in EHLO, before `.test`; and how the letter is called where the two differ.
    pub name: String,
    pub from: String,
    /// Local parts at mx.test; those of one letter are of no other.
    pub to: Vec<String>,
    /// With CR LF.
    pub message: Vec<u8>,
}

impl Letter {
    /// To a mailbox of its own.
    pub fn new(name: &str, message: impl AsRef<[u8]>) -> Letter {
        let (from, to) = ("ann@a.test".to_owned(), vec![format!("{name}-bob")]);
        Letter { name: name.to_owned(), from, to, message: message.as_ref().to_vec() }
    }
}

/// What became of a letter.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Fate {
    /// To EHLO, to MAIL, to each RCPT, to DATA and to the message, as far as it came.
    pub replies: Vec<String>,
    /// By mailbox; `/.Junk` behind its name where they lie in that folder.
    pub copies: BTreeMap<String, Vec<String>>,
    pub is_held: bool,
}

/// A filter: where it listens, and its table in our configuration.
pub struct Filter {
    /// As we and Postfix write it.
    pub socket: String,
    pub table: String,
}

impl Filter {
    /// One that may do everything.
    pub fn free(name: &str, socket: &Path) -> Filter {
        let socket = format!("unix:{}", socket.display());
        let table = format!(
            "[[milter]]\nname = \"{name}\"\nsocket = \"{socket}\"\n\
             may = [\"header\", \"body\", \"recipients\", \"sender\", \"quarantine\"]\n"
        );
        Filter { socket, table }
    }
}

/// Both servers, with the same filters or each with its own of the same kind.
pub struct Beside {
    place: Place,
    _dns: Dnsd,
    pub server: Binary,
    pub postfix: Postfix,
}

impl Beside {
    /// With mailboxes of those names. `more`: tables of our configuration. Nothing where Postfix cannot be
    /// started, which is said.
    pub fn start(
        ours: &[Filter],
        theirs: &[Filter],
        users: &[String],
        more: &str,
    ) -> Option<Beside> {
        let place = Place::new();
        let lines: String = users.iter().map(|user| format!("{user}@mx.test {user}/\n")).collect();
        let mailboxes = place.write("mailboxes", lines);
        let sockets: Vec<&str> = theirs.iter().map(|filter| &filter.socket[..]).collect();
        // Without the third and the last but one it would add to headers what a mail program left out.
        let lines = format!(
            "myhostname = mx.test\ntransport_maps =\nvirtual_mailbox_domains = mx.test\n\
             virtual_mailbox_maps = texthash:{}\nsmtpd_milters = {}\n\
             milter_default_action = tempfail\nmilter_connect_macros = j {{daemon_name}} \
             {{daemon_addr}} v _ {{client_addr}} {{client_port}} {{client_name}} {{client_ptr}}\n\
             milter_macro_v = facteur\nlocal_header_rewrite_clients =\nsmtpd_peername_lookup = yes\n",
            mailboxes.display(),
            sockets.join(", ")
        );
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        let postfix = Postfix::with(nobody, &lines)?;
        let tables: String = ours.iter().map(|filter| filter.table.as_str()).collect();
        // As the file of hosts says it to Postfix.
        let dns = Dnsd::new("1.0.0.127.in-addr.arpa PTR localhost\nlocalhost A 127.0.0.1\n");
        let servers = format!("[dns]\nservers = [\"{}\"]\n", dns.address());
        let server = Binary::serve(&place, &config(&format!("{servers}{more}\n{tables}")));
        Some(Beside { place, _dns: dns, server, postfix })
    }

    /// Both hear each letter; gives what became of it here and there.
    pub fn play(&self, letters: &[Letter]) -> Vec<(Fate, Fate)> {
        let mut fates: Vec<(Fate, Fate)> = letters
            .iter()
            .map(|letter| (told(self.server.address, letter), told(self.postfix.address, letter)))
            .collect();
        until("Postfix has delivered all", || self.postfix.is_idle());
        let (ours, theirs) = (self.held(), self.held_there());
        for (letter, (our, their)) in letters.iter().zip(&mut fates) {
            our.is_held = letter.to.iter().any(|user| ours.contains_key(user));
            their.is_held = letter.to.iter().any(|user| theirs.contains(user));
        }
        self.release(ours.into_values().collect());
        let users = fs::read_to_string(self.place.at("mailboxes")).unwrap();
        for user in users.lines().filter_map(|line| line.split('@').next()) {
            let case = user.split('-').next().unwrap();
            let at = letters.iter().position(|letter| letter.name == case);
            let Some((our, their)) = at.map(|at| &mut fates[at]) else { continue };
            our.keep(user, self.place.mail(user));
            our.keep(&format!("{user}/.Junk"), self.place.mail(&format!("{user}/.Junk")));
            their.keep(user, self.postfix.mail_of(user));
        }
        fates
    }

    /// What lies here in a mailbox.
    pub fn mail(&self, user: &str) -> Vec<Vec<u8>> {
        self.place.mail(user)
    }

    /// The ids of messages that are held here, by mailbox.
    fn held(&self) -> BTreeMap<String, String> {
        let said = self.queue(&["list", "--json"]);
        let mut held = BTreeMap::new();
        for line in said.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(row["held"].is_string(), "{line}");
            for to in row["recipients"].as_array().unwrap() {
                let user = to.as_str().unwrap().split('@').next().unwrap();
                held.insert(user.to_owned(), row["id"].as_str().unwrap().to_owned());
            }
        }
        held
    }

    fn held_there(&self) -> BTreeSet<String> {
        let files = self.postfix.queue("hold");
        let octets = files.iter().map(|path| text(&fs::read(path).unwrap()));
        let words: Vec<String> = octets.collect();
        let users = fs::read_to_string(self.place.at("mailboxes")).unwrap();
        let users = users.lines().filter_map(|line| line.split('@').next());
        let is_held =
            |user: &&str| words.iter().any(|file| file.contains(&format!("{user}@mx.test")));
        users.filter(is_held).map(str::to_owned).collect()
    }

    /// Lets go what is held, here and there.
    fn release(&self, ids: BTreeSet<String>) {
        for id in ids {
            self.queue(&["retry", &id]);
            self.server.wait_for(&["delivered ", &format!("id={id} ")]);
        }
        until("nothing waits here", || self.queue(&["list"]).is_empty());
        if !self.postfix.queue("hold").is_empty() {
            self.postfix.release();
            until("Postfix holds nothing", || self.postfix.queue("hold").is_empty());
            until("Postfix has delivered all", || self.postfix.is_idle());
        }
    }

    fn queue(&self, arguments: &[&str]) -> String {
        let mut command = program(&self.place, FACTEUR);
        run(&self.place, command.arg("queue").args(arguments), Input::Octets(b""))
    }
}

/// One session with that letter; gives the replies.
fn told(address: SocketAddr, letter: &Letter) -> Fate {
    let mut client = Client::connect(address);
    let mut fate = Fate::default();
    let mut say = |octets: &[u8]| {
        client.send(octets);
        let reply = client.reply_within(PATIENCE);
        reply.unwrap_or_else(|| {
            panic!("{} at {address}: no answer to {}", letter.name, text(octets))
        })
    };
    say(b"");
    let greeting = say(format!("EHLO {}.test\r\n", letter.name).as_bytes());
    if !greeting.starts_with("250") {
        fate.replies.push(said(&greeting));
        return fate;
    }
    fate.replies.push("250".to_owned());
    let mut ask = |octets: &[u8]| {
        let reply = say(octets);
        fate.replies.push(said(&reply));
        reply[..1].to_owned()
    };
    let mail = ask(format!("MAIL FROM:<{}> BODY=8BITMIME\r\n", letter.from).as_bytes());
    let rcpts = letter.to.iter().map(|to| format!("RCPT TO:<{to}@mx.test>\r\n"));
    let is_for_somebody =
        mail == "2" && rcpts.filter(|rcpt| ask(rcpt.as_bytes()) == "2").count() > 0;
    if is_for_somebody && ask(b"DATA\r\n") == "3" {
        ask(&stuffed(&letter.message));
    }
    fate
}

/// A reply as both say it: of a good one its codes alone, of another without what is a server's own: our
/// session's id at the end, and Postfix's words where the filter gave none.
fn said(reply: &str) -> String {
    let last = reply.rfind('\n').map_or(0, |at| at + 1);
    let codes: Vec<&str> = reply[last..].splitn(3, ' ').collect();
    if reply.is_empty() {
        return "closed".to_owned();
    }
    if !reply.starts_with(['4', '5']) {
        let has_code = codes.get(1).is_some_and(|code| code.starts_with(&reply[..1]));
        return codes[..if has_code { 2 } else { 1 }].join(" ");
    }
    let mut text = reply.to_owned();
    if let Some(at) = text.rfind(" [").filter(|_| text.ends_with(']')) {
        text.truncate(at);
    }
    for own in OWN_WORDS {
        text = text.replace(own, "");
    }
    let text = text.trim_end();
    // What a filter says without an enhanced code gets one here.
    match has_enhanced(text) {
        true => text.to_owned(),
        false => format!("{} {}.7.1{}", &text[..3], &text[..1], &text[3..]),
    }
}

fn has_enhanced(reply: &str) -> bool {
    let class = reply.get(4..6).unwrap_or_default();
    class.starts_with(&reply[..1]) && class.ends_with('.')
}

/// What Postfix and we say where a filter refuses without a text.
const OWN_WORDS: [&str; 4] = [
    "Command rejected",
    "Service unavailable - try again later",
    "refused by a filter",
    "put off by a filter, try later",
];

impl Fate {
    /// As if all had come into the inbox.
    pub fn without_folders(mut self) -> Fate {
        let copies = std::mem::take(&mut self.copies).into_iter();
        self.copies = copies.map(|(name, mail)| (name.replace("/.Junk", ""), mail)).collect();
        self
    }

    /// With other copies in place of what came.
    pub fn with_copies(mut self, change: impl Fn(&str) -> String) -> Fate {
        self.copies.values_mut().flatten().for_each(|copy| *copy = change(copy));
        self
    }

    fn keep(&mut self, user: &str, mail: Vec<Vec<u8>>) {
        if !mail.is_empty() {
            let mail = mail.iter().map(|octets| without_own(octets)).collect();
            self.copies.insert(user.to_owned(), mail);
        }
    }
}

/// A delivered message without what each server writes in its own words: of the first Received field only its
/// place is left, of the envelope's fields the two that both write, in one order.
pub fn without_own(message: &[u8]) -> String {
    let mut own = BTreeSet::new();
    let mut rest = message;
    // What stands on top is the server's, up to the first other field.
    loop {
        let (field, after) = first_field(rest);
        let name = text(field).split(':').next().unwrap().to_ascii_lowercase();
        match &name[..] {
            "return-path" | "delivered-to" => own.insert(text(field)),
            "x-original-to" => true,
            _ => break,
        };
        rest = after;
    }
    let mut shown: String = own.into_iter().collect();
    let mut has_received = false;
    while !rest.is_empty() && !has_received {
        let (field, after) = first_field(rest);
        has_received = field.starts_with(b"Received: from ");
        shown += &if has_received { "Received\n".to_owned() } else { latin(field) };
        rest = after;
    }
    shown + &latin(rest)
}

/// With nothing between these two, wherever they stand.
pub fn masked(text: &str, start: &str, end: &str) -> String {
    let (mut shown, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once(start) {
        shown = shown + before + start;
        rest = after.find(end).map_or("", |at| &after[at..]);
    }
    shown + rest
}

/// Octets one by one, so that none is lost in a text.
pub fn latin(octets: &[u8]) -> String {
    octets.iter().map(|&octet| char::from(octet)).collect()
}

/// The first field with the lines that continue it, and what follows.
fn first_field(octets: &[u8]) -> (&[u8], &[u8]) {
    let mut end = 0;
    for line in octets.split_inclusive(|&octet| octet == b'\n') {
        if end > 0 && !line.starts_with(b"\t") && !line.starts_with(b" ") {
            break;
        }
        end += line.len();
    }
    octets.split_at(end)
}

/// What is expected here in place of what Postfix does, by the letter's name. Each such function says why.
pub type Argued = BTreeMap<String, fn(&Letter, &Fate) -> Fate>;

/// Where the fates of letters differ, in words.
pub fn differences(letters: &[Letter], fates: &[(Fate, Fate)], argued: &Argued) -> Vec<String> {
    let mut differ = Vec::new();
    for (letter, (ours, theirs)) in letters.iter().zip(fates) {
        let expected = argued.get(&letter.name).map(|change| change(letter, theirs));
        assert!(expected.as_ref() != Some(theirs), "{}: argued without need", letter.name);
        let expected = expected.as_ref().unwrap_or(theirs);
        if ours != expected {
            differ.push(format!("{}: {}", letter.name, first_difference(ours, expected)));
        }
    }
    differ
}

/// Where two texts part, with what stands around it.
pub fn first_difference(ours: &impl std::fmt::Debug, theirs: &impl std::fmt::Debug) -> String {
    let [ours, theirs] =
        [format!("{ours:?}"), format!("{theirs:?}")].map(|text| text.replace("\\\"", "\""));
    let is_same = |(a, b): &(char, char)| a == b;
    let same = ours.chars().zip(theirs.chars()).take_while(is_same).count();
    let around = |text: &str| -> String {
        let from = same.saturating_sub(150);
        text.chars().skip(from).take(same - from + 150).collect()
    };
    format!("\n  {}\n  not\n  {}", around(&ours), around(&theirs))
}
