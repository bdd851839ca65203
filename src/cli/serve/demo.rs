//! What `serve` prints when it runs the built-in demo: where mail lies, and what to type next.

use crate::config::Config;
use crate::mail::visible::escape;
use std::path::Path;

/// The words, by the demo's configuration. `here`: the directory of relative paths; `program`: how this
/// program was called.
pub fn words(config: &Config, here: &Path, program: &str) -> String {
    let at = |path: &Path| here.join(path.strip_prefix("./").unwrap_or(path)).display().to_string();
    let addresses: Vec<String> = config.listen.smtp.iter().map(ToString::to_string).collect();
    let (addresses, spool) = (addresses.join(", "), at(&config.spool));
    let mail = config.domains.iter().map(|domain| {
        let name = domain.name.as_str();
        let maildir = domain.maildir.replace("{domain}", name).replace("{user}", "you");
        let maildir = at(Path::new(&maildir));
        format!(
            "Mail for you@{name} will lie in {maildir}/new; any other user has a directory beside it.\n"
        )
    });
    let mail: String = mail.collect();
    let (here, program) = (here.display(), escape(program));
    format!(
        "This is the demo, as no facteur.toml was found. It takes mail at {addresses} and relays nothing.\n\
         {mail}\
         The queue, and the story of each message, are in {spool}.\n\
         \n\
         What to type next, in another terminal, in {here}:\n  \
           printf 'Subject: Bonjour\\n\\nThe first one.\\n' | {program} sendmail you@localhost\n  \
           {program} mail list you@localhost\n  \
           {program} trace you@localhost\n\
         Ctrl-C ends it.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_mail_lies_and_what_to_type_next() {
        let words = words(&Config::demo(), Path::new("/home/ann"), "./facteur");
        for part in [
            "takes mail at 127.0.0.1:2525 and relays nothing",
            "lie in /home/ann/facteur-data/mail/localhost/you/new;",
            " in /home/ann/facteur-data/spool.",
            "in /home/ann:\n  printf 'Subject: Bonjour\\n\\nThe first one.\\n' | ./facteur sendmail you@localhost\n",
            "\n  ./facteur mail list you@localhost\n",
        ] {
            assert!(words.contains(part), "no {part:?} in {words}");
        }
    }
}
