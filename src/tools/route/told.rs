//! All steps of one address, in words.

use super::greet::{Greeter, HostGreeting};
use super::onward::{Onward, onward};
use super::place::describe;
use super::trial::{
    TrialCopies, TrialMessage, TrialOutcome, TrialRefusal, obstacle, queue_obstacle,
};
use crate::config::{Network, Spf};
use crate::conversation::transaction::question;
use crate::mail::address::{ForwardPath, Host, Mailbox, ReversePath};
use crate::policy::{backup, is_trusted};
use crate::privileges::name_of;
use crate::relay::LmtpConnections;
use crate::route::next_hop::{Ourselves, Way};
use crate::route::{Destination, End, KeptMailbox, Route, route};
use crate::site::Site;
use crate::smtp::client::{Fate, Reason};
use crate::smtp::reply::Reply;
use crate::store::disk::RealDisk;
use crate::store::entry::Addressee;
use nix::unistd::geteuid;
use std::cell::OnceCell;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// A question to `facteur route`: the client and the sender it is for.
pub struct Asker {
    site: Site,
    /// The site where a client may send anywhere, unless `--client` names one.
    open: Site,
    /// Why the secrets of SRS are missing.
    gap: Option<String>,
    /// Whether this process has the rights of the server.
    is_judge: bool,
    from: Option<ReversePath>,
    client: Option<IpAddr>,
    /// Made when the first address leads to another host, so that local addresses need no DNS.
    abroad: OnceCell<(Ourselves, Greeter)>,
}

/// What is printed about one address.
pub struct AddressSteps {
    pub steps: Vec<String>,
    /// Whether mail for it would be neither refused nor returned.
    pub is_good: bool,
}

/// The address of a client that may send anywhere.
const ANYBODY: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl Asker {
    pub fn new(
        site: Site,
        gap: Option<String>,
        is_judge: bool,
        from: Option<ReversePath>,
        client: Option<IpAddr>,
    ) -> Asker {
        let mut open = site.clone();
        if client.is_none() {
            open.config.relay.networks.push(Network { address: ANYBODY, bits: 32 });
        }
        // Of the message nothing is judged but whether its sender is refused: `verify` is for the rest.
        let spf = &mut open.config.trust.spf;
        if *spf != Spf::Reject {
            *spf = Spf::Off;
        }
        Asker { site, open, gap, is_judge, from, client, abroad: OnceCell::new() }
    }

    pub fn ask(&self, path: &ForwardPath) -> AddressSteps {
        let mut told = AddressSteps { steps: self.who(), is_good: true };
        let end = self.way(path, &mut told.steps);
        if self.client.is_none() && backup::is_one(&self.site, path) {
            told.backup(backup::recipient(&self.site, path).err());
        }
        let letter = TrialMessage {
            client: self.client.unwrap_or(ANYBODY),
            from: self.from.clone().unwrap_or(ReversePath::Null),
            to: path.clone(),
        };
        told.steps.extend((!self.is_judge).then(|| self.untried()));
        match letter.foresee(&self.open, self.is_judge) {
            TrialOutcome::Refused(no) => told.refuse(&no, &end, &self.site.config.spool),
            TrialOutcome::Taken(taken) => self.follow(taken, &end, &mut told),
        }
        told
    }

    /// Says which client and sender this is for.
    fn who(&self) -> Vec<String> {
        let client = self.client.map(|client| match is_trusted(&self.site, client) {
            true => format!("asked for a client at {client}, which relay.networks names"),
            false => format!("asked for a client at {client}, a stranger to relay.networks"),
        });
        let from = self.from.as_ref().map(|from| match from {
            ReversePath::Null => "asked for mail from <>".to_owned(),
            ReversePath::Mailbox(mailbox) => format!("asked for mail from {mailbox}"),
        });
        client.into_iter().chain(from).collect()
    }

    /// The steps of the route; an SRS address of ours goes the way of the sender in it.
    fn way(&self, path: &ForwardPath, steps: &mut Vec<String>) -> End {
        let restored = match path {
            ForwardPath::Mailbox(mailbox) => self.site.restored(mailbox),
            ForwardPath::Postmaster => Ok(None),
        };
        let sender = match restored {
            Ok(sender) => sender,
            Err(why) => {
                steps.push(format!("{path}: {why}"));
                return End::Unknown;
            }
        };
        let bounce = sender.map(ForwardPath::Mailbox);
        if let Some(sender) = &bounce {
            steps.push(format!("{path} is an SRS address of ours, for {sender}"));
        }
        let Route { steps: found, end } =
            route(&self.site, &RealDisk, bounce.as_ref().unwrap_or(path));
        steps.extend(found);
        let is_backup = backup::is_one(&self.site, path);
        if matches!(end, End::Remote(_)) && self.client.is_none() && bounce.is_none() && !is_backup
        {
            steps.push(who_may_send(&self.site));
        }
        end
    }

    /// Why nothing is tried on the disk: another user than the server's cannot know what the server may do.
    fn untried(&self) -> String {
        let (server, us) = (&self.site.config.run_as, name_of(geteuid().as_raw()));
        let server = server.as_deref().unwrap_or("the owner of the spool");
        format!("no delivery is tried: the server is {server}, and this is {us}")
    }

    /// The steps for copies here and for mail that is sent on.
    fn follow(&self, taken: TrialCopies, end: &End, told: &mut AddressSteps) {
        let here: Vec<&Destination> = end.here().collect();
        let is_there = |to: &&Destination| taken.copies.contains(&to.maildir);
        let there: Vec<&Destination> = end.here().filter(is_there).collect();
        if !there.is_empty() {
            let place = |to: &&Destination| format!("{} in {}", to.mailbox, to.maildir.display());
            let places: Vec<String> = there.iter().map(place).collect();
            told.steps.extend(there.iter().map(|to| describe(&to.maildir)));
            told.steps.push(format!("delivered to {}", places.join(" and to ")));
        }
        for to in here.iter().filter(|to| !is_there(to)) {
            let why = obstacle(&to.place()).map(|error| error.to_string()).unwrap_or_default();
            let mailbox = &to.mailbox;
            told.steps.push(format!("taken for {mailbox}, and waits in the queue: {why}"));
        }
        let is_here = |to: &Addressee| here.iter().any(|here| here.mailbox == to.mailbox);
        let onward: Vec<&Addressee> = taken.queued.iter().filter(|to| !is_here(to)).collect();
        let is_bounce = |via: &Mailbox| !matches!(self.site.restored(via), Ok(None));
        let via = onward.iter().find_map(|to| to.via.as_ref()).filter(|via| !is_bounce(via));
        told.steps.extend(via.map(|_| UNPROVED.to_owned()));
        for to in onward {
            let kept = end.kept().find(|kept| kept.mailbox == to.mailbox);
            if let Some(kept) = kept {
                told.is_good &= self.hand_on(kept, &mut told.steps);
                continue;
            }
            let indent = match (end, &to.via) {
                // It was told as the address itself.
                (End::Remote(_), None) => "",
                _ => {
                    told.steps.push(format!("sent on to {}", to.mailbox));
                    "  "
                }
            };
            self.sender(to, indent, &mut told.steps);
            told.is_good &= self.add_next_hop(&to.mailbox.host, indent, &mut told.steps);
        }
    }

    /// Asks the server that keeps a mailbox whether it takes its mail; false when it never does.
    fn hand_on(&self, kept: &KeptMailbox, steps: &mut Vec<String>) -> bool {
        let KeptMailbox { mailbox, server, .. } = kept;
        steps.push(format!("handed on to {server} by LMTP, for {mailbox}"));
        let from = self.from.clone().unwrap_or(ReversePath::Null);
        let question = question(&from, mailbox.clone());
        let (step, is_good) = match LmtpConnections::default().ask(&self.site, server, &question) {
            Ok(()) => ("it takes mail for this recipient".to_owned(), true),
            Err(fate @ Fate::Failed(_)) => (format!("refused: it {}", words(&fate)), false),
            Err(fate) => (format!("not now: it {}: mail waits", words(&fate)), true),
        };
        steps.push(step);
        is_good
    }

    /// Says which sender MAIL would give the next hop.
    fn sender(&self, to: &Addressee, indent: &str, steps: &mut Vec<String>) {
        let (Some(from), Some(via)) = (&self.from, &to.via) else { return };
        let shown = |from: &ReversePath| match from {
            ReversePath::Null => "<>".to_owned(),
            ReversePath::Mailbox(mailbox) => mailbox.to_string(),
        };
        steps.push(match (self.site.rewritten(from, via), &self.gap) {
            (Some(rewritten), _) => format!("{indent}its sender is {rewritten} there (SRS)"),
            (None, None) => format!("{indent}its sender stays {}", shown(from)),
            (None, Some(gap)) => format!("{indent}its sender there (SRS) is not known: {gap}"),
        });
    }

    /// Adds the steps from here to the next hop; false when mail would be returned. A host that is down,
    /// or DNS that fails, only lets mail wait.
    fn add_next_hop(&self, host: &Host, indent: &str, steps: &mut Vec<String>) -> bool {
        let config = &self.site.config;
        let (ourselves, greeter) = self.abroad();
        let (way, found, onward) = onward(&self.site, ourselves, host);
        let own = |step: String| format!("{indent}{step}");
        steps.extend(found.into_iter().chain([onward.step()]).map(own));
        let Onward::Sent(hops) = onward else { return !matches!(onward, Onward::Returned(_)) };
        let greeted = greeter.greet(&hops);
        steps.extend(greeted.steps.into_iter().map(own));
        let needs_proof = matches!(way, Way::Smarthost(_)) && config.relay.smarthost_auth.is_some();
        match greeted.last {
            Some(HostGreeting::Ready { is_verified: false, .. }) if needs_proof => {
                let step = "no password is given without verified TLS: mail waits".to_owned();
                steps.push(own(step));
                true
            }
            // The host never takes mail, so the mail goes back to its sender.
            Some(HostGreeting::Never(_)) => {
                steps.push(own("returned to its sender".to_owned()));
                false
            }
            Some(HostGreeting::Ready { .. } | HostGreeting::NotNow(_)) | None => true,
        }
    }

    fn abroad(&self) -> &(Ourselves, Greeter) {
        let config = &self.site.config;
        self.abroad.get_or_init(|| {
            let greeter = Greeter::new(config, self.site.connector());
            (Ourselves::of(config), greeter)
        })
    }
}

impl AddressSteps {
    /// The step of a domain that this host is a backup MX for.
    fn backup(&mut self, refusal: Option<Reply>) {
        self.steps.push(match &refusal {
            None => "this host is a backup MX for it: anybody may send there".to_owned(),
            Some(reply) => format!("this host is a backup MX for it, and strangers hear {reply}"),
        });
        self.is_good &= refusal.is_none();
    }

    /// The step that refuses: in words for people where the route ends like this, else in those of the
    /// reply.
    fn refuse(&mut self, no: &TrialRefusal, end: &End, spool: &Path) {
        self.is_good = false;
        let TrialRefusal { command, code, text } = no;
        let words = match (*command, end) {
            ("RCPT", End::Loop | End::Crowd | End::Unknown | End::Trouble(_)) => refusal(end),
            ("RCPT", _) => format!("refused with {code} {text}"),
            _ => format!("refused at the end of the message with {code} {text}"),
        };
        // The reply names no paths; these steps do.
        if *command == "." {
            self.explain(end, spool);
        }
        self.steps.push(words);
    }

    /// What on this host keeps a message from being accepted.
    fn explain(&mut self, end: &End, spool: &Path) {
        for to in end.here() {
            if let Some(error) = obstacle(&to.place()) {
                self.steps.push(format!("{}: {error}", to.mailbox));
                self.steps.push(describe(&to.maildir));
            }
        }
        if let Some(error) = queue_obstacle(spool) {
            self.steps.push(format!("nothing can wait in the queue: {error}"));
        }
    }
}

fn words(fate: &Fate) -> String {
    fate.reason().map(Reason::to_string).unwrap_or_default()
}

/// The step that says why there is no mailbox here. The codes are those that
/// [`crate::policy::recipient`] gives; the two stand apart because these words are for people.
pub fn refusal(end: &End) -> String {
    match end {
        End::Loop => "refused with 550 5.4.6: the alias leads back to itself".to_owned(),
        End::Crowd => {
            "refused with 550 5.5.3: the alias leads to more than limit.recipients".to_owned()
        }
        End::Unknown => "refused with 550 5.1.1: no such user".to_owned(),
        End::Trouble(error) => format!("refused with 451 4.3.0 for now: {error}"),
        End::Remote(host) => format!("{host} is not delivered here, so there is no mailbox"),
        End::Local(..) => "delivered here".to_owned(),
    }
}

/// What no way of sending on can help: SPF is about the host that sends, and SRS puts the alias's domain in the
/// place of the sender's.
pub(in crate::tools) const UNPROVED: &str = "mail that is sent on passes DMARC there only by a DKIM signature of its author: SPF speaks for us then";

/// Which clients may send to other hosts, for a question without a client.
fn who_may_send(site: &Site) -> String {
    let networks = &site.config.relay.networks;
    match networks.is_empty() {
        true => "only clients of relay.networks may send there, and it is empty: nobody".to_owned(),
        false => {
            let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
            format!("only clients of relay.networks may send there: {}", networks.join(", "))
        }
    }
}
