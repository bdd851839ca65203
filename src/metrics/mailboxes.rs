//! All mailboxes with how much is in them, as far as that can be counted quickly.

use super::html::Html;
use super::page::section;
use crate::limits::{COUNT_TIME, MAILBOXES_PAGE, NAMES_COUNTED};
use crate::route::possible_users;
use crate::site::{Local, Site};
use crate::store::disk::Disk;
use crate::store::mailbox::browse::{self, Count};
use crate::store::maildir;
use std::collections::BTreeSet;
use std::time::Instant;

/// The first segment of the paths of mail.
pub(super) const MAIL: &str = "mail";

/// Some of the mailboxes.
#[derive(Default)]
pub(super) struct Listing {
    /// Mailboxes, by domain in the order of the configuration, then by name.
    pub rows: Vec<MailboxRow>,
    /// Whether there are more behind these.
    pub has_more: bool,
    /// Why the list is not complete, if it is not.
    pub stopped: Option<String>,
}

/// One mailbox.
pub(super) struct MailboxRow {
    pub address: String,
    /// The count, or why there is none; none where counting would take too long.
    pub count: Option<Result<Count, String>>,
}

/// `take` mailboxes behind the first `skip`. Where counting would cost too much, they are only named.
pub(super) fn list(site: &Site, disk: &dyn Disk, skip: usize, take: usize) -> Listing {
    list_within(site, disk, skip, take, Instant::now() + COUNT_TIME, NAMES_COUNTED)
}

/// The same within a deadline. `left`: how many files may be counted, in all mailboxes.
fn list_within(
    site: &Site,
    disk: &dyn Disk,
    skip: usize,
    take: usize,
    deadline: Instant,
    mut left: usize,
) -> Listing {
    let (mut listing, mut index) = (Listing::default(), 0);
    for local in site.domains().filter(|local| local.config.lmtp.is_none()) {
        let names = match users(disk, local) {
            Ok(names) => names,
            Err(words) => {
                listing.stopped = Some(words);
                continue;
            }
        };
        for (name, is_named) in names {
            let (path, is_late) = (local.maildir(&name), Instant::now() >= deadline);
            // Past the deadline a name is listed without a look whether it is a Maildir.
            if !is_named && !is_late && !maildir::exists(disk, &path).unwrap_or(false) {
                continue;
            }
            index += 1;
            if index <= skip {
                continue;
            }
            if listing.rows.len() == take {
                listing.has_more = true;
                return listing;
            }
            let count = (!is_late && left > 0).then(|| browse::count(disk, &path, left));
            if let Some(count) = &count {
                left = left.saturating_sub(count.as_ref().map_or(1, |count| count.all + 1));
            }
            let count = count.map(|count| count.map_err(|error| error.to_string()));
            listing
                .rows
                .push(MailboxRow { address: format!("{name}@{}", local.config.name), count });
        }
    }
    listing
}

/// Users that may have a mailbox: those of the users file, and where others are allowed, names of
/// directories. With each, whether it is in the file.
fn users(disk: &dyn Disk, local: Local<'_>) -> Result<Vec<(String, bool)>, String> {
    let names = local.users.into_iter().flat_map(|users| users.names().map(str::to_owned));
    let named: BTreeSet<String> = names.collect();
    let mut others = Vec::new();
    if local.users.is_none() || local.config.any_user {
        let lower: BTreeSet<String> = named.iter().map(|name| name.to_ascii_lowercase()).collect();
        others = possible_users(disk, local).map_err(|error| error.to_string())?;
        others.retain(|name| !lower.contains(name));
    }
    let others = others.into_iter().map(|name| (name, false));
    Ok(named.into_iter().map(|name| (name, true)).chain(others).collect())
}

/// The page of all mailboxes.
pub(super) fn page(site: &Site, disk: &dyn Disk, page: usize) -> Vec<u8> {
    let listing = list(site, disk, (page - 1).saturating_mul(MAILBOXES_PAGE), MAILBOXES_PAGE);
    let turn = turn(&[MAIL], page, listing.has_more, ["back", "more"]);
    let way = Html::default().raw(" / mail");
    let hostname = site.config.hostname.as_str();
    section("Mailboxes", "", listing.html().add(turn)).page(hostname, "Mailboxes", way)
}

/// Links to the previous and the next page, where these exist.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::store::disk::RealDisk;
    use std::path::Path;

    #[test]
    fn a_full_mailbox_hides_none_behind_it() {
        let dir = std::env::temp_dir().join(format!("facteur-{}", crate::id::message()));
        for name in ["ann", "bob", "cid"] {
            std::fs::create_dir_all(dir.join(name).join("cur")).unwrap();
            for message in 0..4 {
                let file = dir.join(name).join(format!("cur/{message}.M1.mx:2,"));
                std::fs::write(file, "x").unwrap();
            }
        }
        std::fs::create_dir(dir.join("no-mailbox")).unwrap();
        let text = format!(
            "hostname = \"mx.test\"\nspool = \"/s\"\n[domain.\"mx.test\"]\nmaildir = \"{}/{{user}}\"\n",
            dir.display()
        );
        let config = Config::parse(&text, Path::new("/facteur.toml")).unwrap();
        let (site, _) = Site::read_names(config).unwrap();
        let later = Instant::now() + COUNT_TIME * 100;
        let listed = |skip, take, deadline, left| {
            let listing = list_within(&site, &RealDisk, skip, take, deadline, left);
            let row = |row: MailboxRow| {
                let all = row.count.map(|count| count.unwrap().all);
                (row.address.split('@').next().unwrap().to_owned(), all)
            };
            (listing.rows.into_iter().map(row).collect::<Vec<_>>(), listing.has_more)
        };
        let row = |name: &str, all| (name.to_owned(), all);
        let all = [row("ann", Some(4)), row("bob", Some(4)), row("cid", Some(4))];
        assert_eq!(listed(0, 9, later, 99), (all.to_vec(), false));
        let some = [row("ann", Some(3)), row("bob", None)];
        assert_eq!(listed(0, 2, later, 3), (some.to_vec(), true));
        assert_eq!(listed(2, 2, later, 3), (vec![row("cid", Some(3))], false));
        // Past the deadline the names are not even checked.
        let late = [row("cid", None), row("no-mailbox", None)];
        assert_eq!(listed(2, 2, Instant::now(), 99), (late.to_vec(), false));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
