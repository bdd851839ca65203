//! Where mailboxes lie: a template of ours, `.../{domain}/{user}`, that names as many of the paths as one can. Pure.

/// Mailboxes whose paths are tried as a template: more than a few kinds of paths no template names anyway.
const TRIED: usize = 50;

/// One mailbox of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxPath {
    pub user: String,
    /// As Postfix or Dovecot names it: with a slash behind it, or without.
    pub path: String,
}

/// The template that names the most of these Maildirs of a domain, and the mailboxes that it does not name. None where
/// no path has the user's name as one of its parts.
pub fn template(domain: &str, all: &[MailboxPath]) -> Option<(String, Vec<MailboxPath>)> {
    let candidate = |mailbox: &MailboxPath| {
        let parts: Vec<String> = trimmed(&mailbox.path)
            .split('/')
            .map(|part| part_of(part, domain, &mailbox.user))
            .collect();
        let template = parts.join("/");
        // A brace of the path itself would be read as a part of a placeholder.
        let rest = template.replace("{domain}", "").replace("{user}", "");
        (template.contains("{user}") && !rest.contains(['{', '}'])).then_some(template)
    };
    let names = |template: &str, mailbox: &MailboxPath| {
        template.replace("{domain}", domain).replace("{user}", &mailbox.user)
            == trimmed(&mailbox.path)
    };
    let mut candidates: Vec<String> = all.iter().take(TRIED).filter_map(candidate).collect();
    candidates.dedup();
    let mut best: Option<(String, usize)> = None;
    for template in candidates {
        let count = all.iter().filter(|mailbox| names(&template, mailbox)).count();
        if best.as_ref().is_none_or(|(_, most)| count > *most) {
            best = Some((template, count));
        }
        if count == all.len() {
            break;
        }
    }
    let (template, _) = best?;
    let others = all.iter().filter(|mailbox| !names(&template, mailbox)).cloned().collect();
    Some((template, others))
}

fn part_of(part: &str, domain: &str, user: &str) -> String {
    if part == user {
        return "{user}".to_owned();
    }
    if part == domain {
        return "{domain}".to_owned();
    }
    match part.split_once('@') {
        Some((name, host)) if name == user && host == domain => "{user}@{domain}".to_owned(),
        _ => part.to_owned(),
    }
}

fn trimmed(path: &str) -> &str {
    path.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        let all = |paths: &[(&str, &str)]| -> Vec<MailboxPath> {
            let path = |(user, path): &(&str, &str)| MailboxPath {
                user: (*user).to_owned(),
                path: (*path).to_owned(),
            };
            paths.iter().map(path).collect()
        };
        for (paths, expected, others) in [
            (
                &[("ann", "/v/a.test/ann/"), ("bob", "/v/a.test/bob/")][..],
                Some("/v/{domain}/{user}"),
                0,
            ),
            (&[("ann", "/v/ann@a.test/Maildir/")], Some("/v/{user}@{domain}/Maildir"), 0),
            (
                &[("x", "/v/other/x1/"), ("ann", "/v/a/ann/"), ("bob", "/v/a/bob/")],
                Some("/v/a/{user}"),
                1,
            ),
            (&[("ann", "/v/1/"), ("bob", "/v/2/")], None, 0),
            (&[("ann", "/v/{x}/ann/")], None, 0),
            (&[], None, 0),
        ] {
            let found = template("a.test", &all(paths));
            let count = found.as_ref().map_or(0, |(_, others)| others.len());
            assert_eq!(
                (found.as_ref().map(|(text, _)| text.as_str()), count),
                (expected, others),
                "{paths:?}"
            );
        }
    }
}
