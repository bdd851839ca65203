//! What filters of a session were told up to now: it is said again to a new connection.

use crate::mail::address::{ForwardPath, ReversePath};
use crate::smtp::milter::{FilterCommand, FilterMacros, FilterStage};
use crate::smtp::reply::Reply;
use std::net::{IpAddr, SocketAddr};

/// The client of a session.
#[derive(Clone, Debug, Default)]
pub struct FilterClient {
    /// The name of its address, where that is known and leads back to it.
    pub name: Option<String>,
    /// Its address and port; none for a program of this machine.
    pub address: Option<(IpAddr, u16)>,
    /// At which it was accepted.
    pub listener: Option<SocketAddr>,
}

/// How a session is protected, by the names that OpenSSL has for versions and suites.
#[derive(Clone, Debug)]
pub struct FilterTls {
    pub version: String,
    pub cipher: String,
    pub bits: u16,
}

/// A step of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterStep {
    Connect,
    Helo,
    Mail,
    /// By its place among the recipients.
    Rcpt(usize),
    Data,
    Message,
}

impl FilterStep {
    /// The command by which it begins.
    pub fn stage(self) -> FilterStage {
        match self {
            FilterStep::Connect => FilterStage::Connect,
            FilterStep::Helo => FilterStage::Helo,
            FilterStep::Mail => FilterStage::Mail,
            FilterStep::Rcpt(_) => FilterStage::Rcpt,
            FilterStep::Data => FilterStage::Data,
            FilterStep::Message => FilterStage::EndOfMessage,
        }
    }

    /// Whether it belongs to a message.
    pub fn is_of_message(self) -> bool {
        !matches!(self, FilterStep::Connect | FilterStep::Helo)
    }
}

/// What was said, in the order of a session.
#[derive(Debug)]
pub struct Said {
    hostname: String,
    client: Option<(String, FilterClient)>,
    helo: Option<String>,
    tls: Option<FilterTls>,
    mail: Option<SaidMail>,
    rcpts: Vec<SaidRcpt>,
    has_data: bool,
}

#[derive(Debug)]
struct SaidMail {
    id: String,
    from: ReversePath,
    words: Vec<String>,
    login: Option<(String, String)>,
}

#[derive(Debug)]
struct SaidRcpt {
    path: ForwardPath,
    words: Vec<String>,
    /// The enhanced code and the text by which it was refused.
    refused: Option<(String, String)>,
}

impl Said {
    pub fn new(hostname: &str) -> Said {
        Said {
            hostname: hostname.to_owned(),
            client: None,
            helo: None,
            tls: None,
            mail: None,
            rcpts: Vec::new(),
            has_data: false,
        }
    }

    pub fn client(&mut self, client: FilterClient) {
        // As Sendmail says it of a client whose name is not known.
        let name = match (&client.name, client.address) {
            (Some(name), _) => name.clone(),
            (None, Some((address, _))) => format!("[{address}]"),
            (None, None) => "localhost".to_owned(),
        };
        self.client = Some((name, client));
    }

    pub fn helo(&mut self, name: &str, tls: Option<FilterTls>) {
        self.helo = Some(name.to_owned());
        self.tls = tls;
    }

    pub fn mail(
        &mut self,
        id: &str,
        from: &ReversePath,
        parameters: &[String],
        login: Option<(&str, &str)>,
    ) {
        let words = words(&address(from), parameters);
        let login = login.map(|(by, user)| (by.to_owned(), user.to_owned()));
        self.mail = Some(SaidMail { id: id.to_owned(), from: from.clone(), words, login });
    }

    /// Gives its place.
    pub fn rcpt(&mut self, path: &ForwardPath, parameters: &[String]) -> usize {
        let words = words(&path.to_string(), parameters);
        self.rcpts.push(SaidRcpt { path: path.clone(), words, refused: None });
        self.rcpts.len() - 1
    }

    /// A recipient that we refused; gives its place.
    pub fn refused_rcpt(&mut self, path: &ForwardPath, reply: &Reply) -> usize {
        let index = self.rcpt(path, &[]);
        let said = reply.to_string();
        let (code, text) = said.split_once(' ').unwrap_or((&said, ""));
        let (enhanced, text) = match text.split_once(' ') {
            Some((first, rest)) if first.starts_with(&code[..1]) => (first, rest),
            _ => ("", text),
        };
        self.rcpts[index].refused = Some((enhanced.to_owned(), text.to_owned()));
        index
    }

    /// The last recipient was refused.
    pub fn forget_rcpt(&mut self) {
        self.rcpts.pop();
    }

    pub fn data(&mut self) {
        self.has_data = true;
    }

    pub fn end_message(&mut self) {
        self.mail = None;
        self.rcpts.clear();
        self.has_data = false;
    }

    /// The recipients of the message under way.
    pub fn recipients(&self) -> impl Iterator<Item = &ForwardPath> {
        self.rcpts.iter().map(|rcpt| &rcpt.path)
    }

    /// The steps that come before one, all of which were said.
    pub fn before(&self, step: FilterStep) -> Vec<FilterStep> {
        let mut steps = Vec::new();
        steps.extend(self.client.as_ref().map(|_| FilterStep::Connect));
        steps.extend(self.helo.as_ref().map(|_| FilterStep::Helo));
        steps.extend(self.mail.as_ref().map(|_| FilterStep::Mail));
        steps.extend((0..self.rcpts.len()).map(FilterStep::Rcpt));
        steps.extend(self.has_data.then_some(FilterStep::Data));
        let end = steps.iter().position(|said| *said == step).unwrap_or(steps.len());
        steps.truncate(end);
        steps
    }

    /// The command of a step; none for what was not said, and for a whole message.
    pub fn command(&self, step: FilterStep) -> Option<FilterCommand<'_>> {
        Some(match step {
            FilterStep::Connect => {
                let (name, client) = self.client.as_ref()?;
                FilterCommand::Connect { name, address: client.address }
            }
            FilterStep::Helo => FilterCommand::Helo(self.helo.as_ref()?.as_bytes()),
            FilterStep::Mail => FilterCommand::Mail(&self.mail.as_ref()?.words),
            FilterStep::Rcpt(index) => FilterCommand::Rcpt(&self.rcpts.get(index)?.words),
            FilterStep::Data => FilterCommand::Data,
            FilterStep::Message => return None,
        })
    }

    /// What is known at a step.
    pub fn macros(&self, step: FilterStep) -> FilterMacros {
        let mut macros = FilterMacros::default();
        macros.set("j", &*self.hostname);
        macros.set("{daemon_name}", &*self.hostname);
        macros.set("v", "facteur");
        if let Some((name, client)) = &self.client {
            client_macros(&mut macros, name, client);
        }
        if let Some(tls) = &self.tls {
            macros.set("{tls_version}", &*tls.version);
            macros.set("{cipher}", &*tls.cipher);
            macros.set("{cipher_bits}", tls.bits.to_string());
        }
        if let Some(mail) = &self.mail {
            let from = address(&mail.from);
            macros.set("i", &*mail.id);
            macros.set("{mail_host}", host(&from));
            macros.set("{mail_addr}", from);
            macros.set("{mail_mailer}", "esmtp");
            if let Some((by, user)) = &mail.login {
                macros.set("{auth_type}", &**by);
                macros.set("{auth_authen}", &**user);
            }
        }
        let rcpt = match step {
            FilterStep::Rcpt(index) => self.rcpts.get(index),
            FilterStep::Data | FilterStep::Message => self.rcpts.last(),
            FilterStep::Connect | FilterStep::Helo | FilterStep::Mail => None,
        };
        match rcpt {
            None => {}
            Some(SaidRcpt { refused: Some((enhanced, text)), .. }) => {
                // As Postfix says it.
                macros.set("{rcpt_mailer}", "error");
                macros.set("{rcpt_host}", &**enhanced);
                macros.set("{rcpt_addr}", &**text);
            }
            Some(rcpt) => {
                let to = rcpt.path.to_string();
                macros.set("{rcpt_host}", host(&to));
                macros.set("{rcpt_addr}", to);
                macros.set("{rcpt_mailer}", "local");
            }
        }
        macros
    }
}

fn client_macros(macros: &mut FilterMacros, name: &str, client: &FilterClient) {
    let known = client.name.as_deref().unwrap_or("unknown");
    macros.set("{client_name}", known);
    macros.set("{client_ptr}", known);
    macros.set("_", name);
    if let Some((address, port)) = client.address {
        macros.set("{client_addr}", address.to_string());
        macros.set("{client_port}", port.to_string());
        macros.set("_", format!("{known} [{address}]"));
    }
    if let Some(listener) = client.listener {
        macros.set("{daemon_addr}", listener.ip().to_string());
        macros.set("{if_addr}", listener.ip().to_string());
        macros.set("{daemon_port}", listener.port().to_string());
    }
}

/// A sender without brackets; nothing for the null path.
fn address(path: &ReversePath) -> String {
    match path {
        ReversePath::Null => String::new(),
        ReversePath::Mailbox(mailbox) => mailbox.to_string(),
    }
}

fn host(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, host)| host)
}

fn words(address: &str, parameters: &[String]) -> Vec<String> {
    let mut words = vec![format!("<{address}>")];
    words.extend_from_slice(parameters);
    words
}
