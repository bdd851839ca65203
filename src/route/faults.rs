//! Finds what is wrong with the aliases and the `catch_all` of a site, before mail arrives for them.

use super::{End, Router};
use crate::site::Site;
use crate::store::aliases::Alias;
use crate::store::disk::Disk;
use crate::store::table::BadLine;

/// Aliases that loop or lead to no mailbox, with file and line. An alias of which only some targets exist
/// is named too: its mail is accepted, and the other targets would silently miss it.
pub fn bad_aliases(site: &Site, disk: &dyn Disk) -> Vec<BadLine> {
    let mut bad = Vec::new();
    for local in site.domains() {
        let aliases = local.aliases.into_iter().flat_map(|aliases| aliases.iter());
        let mut aliases: Vec<&Alias> = aliases.collect();
        // In the order of the file, because the table has none.
        aliases.sort_by_key(|alias| alias.line);
        for alias in aliases {
            if alias.targets.is_empty() {
                continue; // its line is bad, and was named when it was read
            }
            let mut router = Router::new(site, disk);
            let way = router.expand(local, alias);
            let name = &alias.name;
            let what = match way.map(|_| router.end(None)) {
                Err(error) | Ok(End::Trouble(error)) => format!("alias {name}: {error}"),
                Ok(End::Loop) if router.looped => {
                    format!("alias {name} loops: it leads back to itself")
                }
                Ok(End::Loop) => format!("alias {name} leads to nobody but a loop"),
                Ok(End::Unknown) => format!("alias {name} leads to nobody"),
                Ok(End::Crowd) => format!("alias {name} {}", crowd(site)),
                Ok(End::Local(..) | End::Remote(_)) if router.dead.is_empty() => continue,
                Ok(End::Local(..) | End::Remote(_)) => {
                    format!("alias {name}: {} leads to nobody", router.dead.join(", "))
                }
            };
            let file = local.config.aliases.clone().unwrap_or_default();
            bad.push(BadLine::new(&file, alias.line, &what));
        }
        let mut router = Router::new(site, disk);
        let what = match router.catch_all(local) {
            Ok(true) if router.is_crowd() => crowd(site),
            Ok(true) => continue,
            Ok(false) if local.config.catch_all.is_none() => continue,
            Ok(false) => "it leads to nobody".to_owned(),
            Err(error) => error.to_string(),
        };
        let key = format!("{}.catch_all", local.config.key);
        let file = site.config.file.clone().unwrap_or_default();
        let line = site.config.lines.get(&key).copied().unwrap_or_default();
        bad.push(BadLine::new(&file, line, &format!("{key}: {what}")));
    }
    bad
}

fn crowd(site: &Site) -> String {
    let most = site.config.limit.recipients;
    format!("leads to more than {most} addresses elsewhere, which limit.recipients does not allow")
}
