//! All mailboxes with what is in them, as far as that can be counted in a moment.

use super::html::Html;
use super::page::section;
use crate::limits::{COUNT_TIME, MAILBOXES_PAGE, NAMES_COUNTED};
use crate::route::existing_users;
use crate::site::{Local, Site};
use crate::store::disk::Disk;
use crate::store::mailbox::browse::{self, Count};
use std::collections::BTreeSet;
use std::time::Instant;

/// The first segment of the paths of mail.
pub(super) const MAIL: &str = "mail";

/// Some of the mailboxes.
#[derive(Default)]
pub(super) struct Listing {
    /// By domain as it stands in the configuration, then by name.
    pub rows: Vec<Row>,
    /// There are others behind these.
    pub has_more: bool,
    /// Why it ends early, if it does.
    pub stopped: Option<String>,
}

/// One mailbox.
pub(super) struct Row {
    pub address: String,
    /// Or why it cannot be counted.
    pub count: Result<Count, String>,
}

/// `take` mailboxes behind the first `skip`. Stops where it costs too much, and says so.
pub(super) fn list(site: &Site, disk: &dyn Disk, skip: usize, take: usize) -> Listing {
    let deadline = Instant::now() + COUNT_TIME;
    let (mut listing, mut index, mut left) = (Listing::default(), 0, NAMES_COUNTED);
    for local in site.domains() {
        let names = match users(disk, local) {
            Ok(names) => names,
            Err(words) => {
                listing.stopped = Some(words);
                continue;
            }
        };
        for name in names {
            if Instant::now() >= deadline || left == 0 {
                listing.stopped =
                    Some("The rest is not counted: that would take too long.".to_owned());
                return listing;
            }
            index += 1;
            if index <= skip {
                continue;
            }
            if listing.rows.len() == take {
                listing.has_more = true;
                return listing;
            }
            let count = browse::count(disk, &local.maildir(&name), left);
            left = left.saturating_sub(count.as_ref().map_or(1, |count| count.all + 1));
            let address = format!("{name}@{}", local.config.name);
            listing.rows.push(Row { address, count: count.map_err(|error| error.to_string()) });
        }
    }
    listing
}

/// Who has a mailbox: all of the users file, and where others may have one, who has one already.
fn users<'a>(
    disk: &'a dyn Disk,
    local: Local<'a>,
) -> Result<Box<dyn Iterator<Item = String> + 'a>, String> {
    let named: Option<BTreeSet<String>> =
        local.users.map(|users| users.names().map(str::to_owned).collect());
    if local.users.is_some() && !local.config.any_user {
        return Ok(Box::new(named.unwrap_or_default().into_iter()));
    }
    let named = named.unwrap_or_default();
    let found = existing_users(disk, local).map_err(|error| error.to_string())?;
    let lower: BTreeSet<String> = named.iter().map(|name| name.to_ascii_lowercase()).collect();
    let others = found.filter(move |name| !lower.contains(name));
    Ok(Box::new(named.into_iter().chain(others)))
}

/// The page of all.
pub(super) fn page(site: &Site, disk: &dyn Disk, page: usize) -> Vec<u8> {
    let listing = list(site, disk, (page - 1).saturating_mul(MAILBOXES_PAGE), MAILBOXES_PAGE);
    let turn = turn(&[MAIL], page, listing.has_more, ["back", "more"]);
    let way = Html::default().raw(" / mail");
    let hostname = site.config.hostname.as_str();
    section("Mailboxes", "", listing.html().add(turn)).page(hostname, "Mailboxes", way)
}

/// Links to the page before and the page behind, where there are such.
pub(super) fn turn(path: &[&str], page: usize, has_more: bool, words: [&'static str; 2]) -> Html {
    let [before, behind] = words;
    let mut html = Html::default().raw("<p class=\"turn\">");
    if page > 1 {
        html = html.link_page(path, page - 1, format!("← {before}"));
    }
    if has_more {
        html = html.link_page(path, page + 1, format!("{behind} →"));
    }
    html.raw("</p>\n")
}
