//! The options of sendmail(1), as Postfix takes them: values attached or apart, options before, between and
//! behind recipients. Options without a meaning here are ignored, unknown ones refused.

use super::status::NotSent;
use crate::limits::ENVID_MAX;
use crate::mail::envelope::{BodyType, Notify, Ret};
use crate::mail::xtext;
use crate::tools::complain;
use lexopt::Arg::{Long, Short, Value};
use std::ffi::OsString;
use std::path::PathBuf;

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Read a message and send it (`-bm`).
    #[default]
    Send,
    /// Speak SMTP (`-bs`).
    Smtp,
    /// Show the queue (`-bp`, `mailq`).
    List,
    /// Check the aliases (`-bi`, `-I`, `newaliases`).
    Aliases,
    /// Say where mail would go (`-bv`).
    Verify,
    /// Attempt at once: all, one message, or what is for a domain (`-q`, `-qI`, `-qR`).
    Flush,
    FlushOne(String),
    FlushFor(String),
    /// `-bh`, `-bH`, `-q1h`: there is nothing to do here.
    Nothing,
    Help,
    Version,
}

#[derive(Debug, Default)]
pub struct Options {
    pub mode: Mode,
    /// `-C`: the file of the configuration.
    pub config: Option<PathBuf>,
    /// `-t`: the recipients stand in the header.
    pub by_header: bool,
    /// `-i`: a line with only a dot does not end the message.
    pub ignores_dots: bool,
    /// `-f` or `-r`: the sender of the envelope.
    pub sender: Option<String>,
    /// `-F`: the full name of the author.
    pub name: Option<String>,
    /// `-B`: the type of the body.
    pub body: Option<BodyType>,
    pub notify: Option<Notify>,
    pub ret: Option<Ret>,
    /// `-V`: the envelope id, in xtext.
    pub envid: Option<String>,
    pub verbose: bool,
    pub recipients: Vec<String>,
}

/// Reads the arguments into `options`, whose mode was set by the name of the program. Options before a
/// wrong one are kept.
pub fn parse(arguments: Vec<OsString>, options: &mut Options) -> Result<(), NotSent> {
    let mut parser = lexopt::Parser::from_args(arguments);
    // As getopt(3): `-f=x` is the sender `=x`.
    parser.set_short_equals(false);
    while let Some(argument) = parser.next().map_err(usage)? {
        let argument = match argument {
            Short(letter) => letter,
            Long("help") => {
                options.mode = Mode::Help;
                return Ok(());
            }
            Long("version") => {
                options.mode = Mode::Version;
                return Ok(());
            }
            Value(word) => {
                options.recipients.push(text(word)?);
                continue;
            }
            other => return Err(usage(other.unexpected())),
        };
        option(options, argument, &mut parser)?;
    }
    check(options)
}

fn option(options: &mut Options, letter: char, parser: &mut lexopt::Parser) -> Result<(), NotSent> {
    let mut value = || parser.value().map_err(usage).and_then(text);
    match letter {
        't' => options.by_header = true,
        'i' => options.ignores_dots = true,
        'v' => options.verbose = true,
        'I' => options.mode = Mode::Aliases,
        'f' | 'r' => options.sender = Some(value()?),
        'F' => options.name = Some(value()?),
        'C' => options.config = Some(parser.value().map_err(usage)?.into()),
        'B' => options.body = Some(body(&value()?)?),
        // Wrong values of these three are ignored, as by Postfix.
        'N' => options.notify = notify(&value()?).or_else(|| ignored("-N")),
        'R' => options.ret = ret(&value()?).or_else(|| ignored("-R")),
        'V' => options.envid = envid(&value()?).or_else(|| ignored("-V")),
        'b' => options.mode = mode(&value()?)?,
        'o' => match value()?.as_str() {
            "i" => options.ignores_dots = true,
            "A" => return Err(NotSent::usage("-oA takes a file")),
            _ => {}
        },
        'q' => options.mode = flush(parser.optional_value().map(text).transpose()?)?,
        // A submission configuration, a label, a hop count, an option, a protocol, what to do with errors.
        // The file of a log.
        'A' | 'L' | 'h' | 'O' | 'p' | 'e' | 'X' => drop(value()?),
        'G' | 'U' | 'c' | 'm' | 'n' | 'x' => {}
        other => return Err(NotSent::usage(format!("-{other}: no such option"))),
    }
    Ok(())
}

/// Refuses options that do not go together.
fn check(options: &Options) -> Result<(), NotSent> {
    let takes_names = matches!(options.mode, Mode::Send | Mode::Verify | Mode::Nothing);
    if !takes_names && !options.recipients.is_empty() {
        return Err(NotSent::usage("recipients are for sending"));
    }
    if options.by_header && options.mode != Mode::Send {
        return Err(NotSent::usage("-t is for sending"));
    }
    Ok(())
}

fn mode(value: &str) -> Result<Mode, NotSent> {
    Ok(match value {
        "m" => Mode::Send,
        "s" => Mode::Smtp,
        "p" => Mode::List,
        "i" => Mode::Aliases,
        "v" => Mode::Verify,
        "h" | "H" => Mode::Nothing,
        "d" | "l" => return Err(NotSent::usage("-bd: the server is started by facteur serve")),
        other => return Err(NotSent::usage(format!("-b{other}: no such mode"))),
    })
}

fn flush(value: Option<String>) -> Result<Mode, NotSent> {
    let Some(value) = value else { return Ok(Mode::Flush) };
    let rest: String = value.chars().skip(1).collect();
    match value.chars().next() {
        Some('0'..='9') => Ok(Mode::Nothing),
        Some('I') if !rest.is_empty() => Ok(Mode::FlushOne(rest)),
        Some('R') if !rest.is_empty() => Ok(Mode::FlushFor(rest)),
        _ => Err(NotSent::usage("-q takes nothing, Iid or Rdomain")),
    }
}

fn body(value: &str) -> Result<BodyType, NotSent> {
    match value.to_ascii_uppercase().as_str() {
        "7BIT" => Ok(BodyType::SevenBit),
        "8BITMIME" => Ok(BodyType::EightBitMime),
        _ => Err(NotSent::usage("-B takes 7BIT or 8BITMIME")),
    }
}

fn notify(value: &str) -> Option<Notify> {
    let mut notify = Notify::default();
    let value = value.to_ascii_lowercase();
    if value == "never" {
        return Some(notify);
    }
    for word in value.split(',').map(str::trim) {
        match word {
            "success" => notify.success = true,
            "failure" => notify.failure = true,
            "delay" => notify.delay = true,
            _ => return None,
        }
    }
    Some(notify)
}

fn ret(value: &str) -> Option<Ret> {
    match value.to_ascii_lowercase().as_str() {
        "full" => Some(Ret::Full),
        "hdrs" => Some(Ret::Headers),
        _ => None,
    }
}

fn envid(value: &str) -> Option<String> {
    let envid = xtext::encode(value.as_bytes());
    (value.len() <= ENVID_MAX && xtext::is_envid(envid.as_bytes())).then_some(envid)
}

fn ignored<T>(option: &str) -> Option<T> {
    complain(&format!("{option}: its value is none, and passed over"));
    None
}

fn text(value: OsString) -> Result<String, NotSent> {
    let bad = |value: OsString| NotSent::usage(format!("{}: is not UTF-8", value.display()));
    value.into_string().map_err(bad)
}

fn usage(error: lexopt::Error) -> NotSent {
    NotSent::usage(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, NotSent> {
        let mut options = Options::default();
        let words = line.split_ascii_whitespace().map(OsString::from);
        parse(words.collect(), &mut options).map(|()| options)
    }

    #[test]
    fn how_programs_call_it() {
        let cron = read("-i -FCronDaemon -B8BITMIME -oem ann").unwrap();
        assert!(cron.ignores_dots && cron.recipients == ["ann"]);
        assert_eq!(cron.name.as_deref(), Some("CronDaemon"));
        assert_eq!(cron.body, Some(BodyType::EightBitMime));
        let mutt = read("-oem -oi -f ann@mx.test -N delay,failure -R full -- a@x -b@x").unwrap();
        assert!(mutt.ignores_dots && mutt.recipients == ["a@x", "-b@x"]);
        assert_eq!(mutt.notify, Some(Notify { success: false, failure: true, delay: true }));
        assert_eq!((mutt.ret, mutt.sender.as_deref()), (Some(Ret::Full), Some("ann@mx.test")));
        let php = read("-ti -fann@mx.test").unwrap();
        assert!(php.by_header && php.ignores_dots && php.sender.is_some());
        let old = read(
            "-odi -or0s -Ac -O DeliveryMode=b -h 3 -L tag -p smtp:x -G -U -em -mcx -n -X log -XV+= a",
        );
        assert_eq!(old.unwrap().recipients, ["a"]);
        let behind = read("a@x -f ann b@x -v").unwrap();
        assert!(behind.verbose && behind.recipients == ["a@x", "b@x"]);
        assert_eq!(read("-f=ann").unwrap().sender.as_deref(), Some("=ann"));
        assert_eq!(read("-V a=+b").unwrap().envid.as_deref(), Some("a+3D+2Bb"));
    }

    #[test]
    fn modes() {
        for (line, mode) in [
            ("-bm", Mode::Send),
            ("-bs", Mode::Smtp),
            ("-bp", Mode::List),
            ("-b p", Mode::List),
            ("-bi", Mode::Aliases),
            ("-I", Mode::Aliases),
            ("-bv ann", Mode::Verify),
            ("-bH", Mode::Nothing),
            ("-q", Mode::Flush),
            ("-q30m", Mode::Nothing),
            ("-qIm1", Mode::FlushOne("m1".to_owned())),
            ("-qRfar.test", Mode::FlushFor("far.test".to_owned())),
            ("--help", Mode::Help),
            ("--version -Z", Mode::Version),
        ] {
            assert_eq!(read(line).unwrap().mode, mode, "{line}");
        }
    }

    #[test]
    fn what_is_refused() {
        for line in [
            "-Z",
            "--nonsense",
            "-f",
            "-b",
            "-bx",
            "-bd",
            "-q=",
            "-qX",
            "-qI",
            "-X",
            "-oA",
            "-B9BIT",
            "-t -bs",
            "-bp ann",
            "-D",
            "-d0.4",
        ] {
            let refusal = read(line).map(drop).unwrap_err();
            assert_eq!(refusal.status as u8, 64, "{line}");
        }
    }
}
