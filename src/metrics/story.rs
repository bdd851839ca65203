//! The page of a story: what `facteur trace` shows about a message or a session, and why it waits if it
//! does.

use super::html::{Html, text};
use super::page::{TRACE, class, section, story as link, time};
use super::waiting;
use crate::id::is_id;
use crate::limits::STORY_SHOWN;
use crate::site::Site;
use crate::store::disk::Disk;
use crate::store::queue::Queue;
use crate::trace::digest::{Digest, digests};
use crate::trace::files::dir;
use crate::trace::search::{Handle, Search, find};
use crate::trace::telling::Telling;
use jiff::Timestamp;
use std::io::ErrorKind;

/// The page for a handle; none where nothing is found.
pub(super) fn page(site: &Site, disk: &dyn Disk, queue: &Queue, handle: &str) -> Option<Vec<u8>> {
    let (now, own) = (Timestamp::now(), [Handle::new(handle)]);
    let question = Search { handles: &own, since: None, now };
    let found = match find(disk, &dir(&site.config.spool), &question) {
        Err(error) if error.source.kind() == ErrorKind::NotFound => Ok(Default::default()),
        found => found.map_err(|error| error.to_string()),
    };
    let mut html = Html::default();
    let (mut left, mut is_cut, mut ids) = (STORY_SHOWN, false, Vec::new());
    match &found {
        Ok(found) => {
            is_cut = found.is_cut;
            let short = digests(found.stories.iter().filter(|story| !story.is_whole), &own);
            if !short.is_empty() {
                let rows = short.iter().map(|digest| {
                    let Digest { when, id, fate, from, to, reason } = digest;
                    let what = Html::default().element("b", class(fate), fate).text(" ");
                    let what = what.element("span", "dim", reason);
                    [time(*when, now), link(id), what, text(from), text(to)]
                });
                let table = Html::default().table(["when", "story", "what", "from", "to"], rows);
                html = html.add(section("Messages", short.len(), table));
            }
            for story in found.stories.iter().filter(|story| story.is_whole) {
                ids.extend(story.ids.iter().cloned());
                let told = Telling::new(story).tell(story.lines.iter());
                let (head, told) = told.split_once('\n').unwrap_or((&told, ""));
                let shown = &told[..told.floor_char_boundary(left)];
                is_cut |= shown.len() < told.len();
                left -= shown.len();
                html = html.element("h1", "", head).add(lines(shown));
            }
        }
        Err(words) => html = section("Story", "", Html::default().element("p", "bad", words)),
    }
    if is_cut {
        html =
            html.element("p", "wait", "There is more than is shown; facteur trace has all of it.");
    }
    // A message that was put into the queue just now may have no story yet.
    if ids.is_empty() && is_id(handle) {
        ids.push(handle.to_owned());
    }
    let waiting = waiting::rows_of(site, queue, &ids);
    if found.is_ok_and(|found| found.stories.is_empty()) && waiting.is_empty() {
        return None;
    }
    if !waiting.is_empty() {
        let rows = waiting
            .into_iter()
            .map(|row| [text(row.id), text(row.to), text(row.reason), text(row.release)]);
        let table = Html::default().table(["message", "for", "why it waits", "released by"], rows);
        html = html.add(section("Waits in the queue", "", table));
    }
    let way = Html::default().raw(" / ").text(TRACE).text(format!(" / {handle}"));
    Some(html.page(site.config.hostname.as_str(), handle, way))
}

/// The lines of a story: the time beside each where there is room, and above it on a phone. A day is named
/// where it begins.
fn lines(told: &str) -> Html {
    let (mut html, mut day) = (Html::default().raw("<section class=\"story\">\n"), "");
    for line in told.lines() {
        let time = line.get(..TIME).filter(|time| time.parse::<Timestamp>().is_ok());
        let said = line.get(TIME..).unwrap_or(line);
        let (date, clock) = time.and_then(|time| time.split_once('T')).unwrap_or((day, ""));
        if date != day {
            html = html.element("h2", "dim", date);
            day = date;
        }
        // Lines of an attempt are indented.
        let class = if said.starts_with("    ") { "in" } else { "" };
        html = html.raw("<div><time>").text(clock.trim_end_matches('Z')).raw("</time>");
        html = html.element("span", class, said.trim_start()).raw("</div>\n");
    }
    html.raw("</section>\n")
}

/// Length of a time in a story, to the millisecond.
const TIME: usize = "2026-11-23T14:00:00.123Z".len();
