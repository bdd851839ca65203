//! The thread that tests the lists: at the start, after a reload, and daily (RFC 5782 §5). No mail waits for it,
//! and without lists there is none.

use super::Gates;
use super::blocklists::{Ipv6List, TestedList, test};
use crate::event::count::LISTS;
use crate::event::{Event, tell};
use crate::limits::gates::{LIST_TEST, LIST_TEST_SILENT, LIST_TEST_WRONG};
use crate::mail::proof::name::Name;
use crate::net::pool::spawn_vital;
use crate::site::{Current, Site};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Starts the thread; what comes by the channel lets it test all lists at once.
pub(super) fn start(gates: &Arc<Gates>, current: Arc<Current>) -> io::Result<Sender<()>> {
    let (sender, calls) = bounded(1);
    let gates = Arc::downgrade(gates);
    spawn_vital("blocklists", None, move || run(&gates, &current, &calls))?;
    Ok(sender)
}

/// Works as long as there are gates.
fn run(gates: &Weak<Gates>, current: &Current, calls: &Receiver<()>) {
    // When each list is tested next.
    let mut due: HashMap<Name, Instant> = HashMap::new();
    while let Some(gates) = gates.upgrade() {
        test_due(&gates, &current.bare(), &mut due);
        drop(gates);
        let next = due.values().min().map(|when| when.saturating_duration_since(Instant::now()));
        match calls.recv_timeout(next.unwrap_or(LIST_TEST)) {
            Ok(()) => due.clear(),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn test_due(gates: &Gates, site: &Site, due: &mut HashMap<Name, Instant>) {
    let lists = &site.config.trust.blocklists;
    due.retain(|zone, _| lists.iter().any(|list| list.zone == *zone));
    for list in lists {
        if due.get(&list.zone).is_some_and(|when| *when > Instant::now()) {
            continue;
        }
        let tested = test(site.resolver(), &list.zone);
        let before = gates.lists.note_test(&list.zone, &tested);
        let is_on = gates.lists.is_on(&list.zone);
        if before != Some(is_on) {
            tell_list(&list.zone, is_on, &tested);
        }
        due.insert(list.zone.clone(), Instant::now() + wait(&tested));
    }
    let (on, off) = gates.lists.keep(lists);
    LISTS.set("on", on as u64);
    LISTS.set("off", off as u64);
}

fn tell_list(zone: &Name, is_on: bool, tested: &TestedList) {
    let reason = match tested {
        TestedList::Works(ipv6) => ipv6.to_string(),
        TestedList::Wrong(why) => why.clone(),
        TestedList::Silent(why) => format!("it could not be tested: {why}"),
    };
    tell(&Event::Blocklist { list: &zone.to_string(), is_on, reason: &reason });
}

/// How long until a list is tested again.
fn wait(tested: &TestedList) -> Duration {
    match tested {
        TestedList::Works(Ipv6List::Works | Ipv6List::No(_)) => LIST_TEST,
        TestedList::Wrong(_) => LIST_TEST_WRONG,
        TestedList::Works(Ipv6List::Silent(_)) | TestedList::Silent(_) => LIST_TEST_SILENT,
    }
}
