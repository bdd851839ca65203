//! The program: calls [`facteur::cli`], turns its result into an exit status.

use std::process::ExitCode;

fn main() -> ExitCode {
    facteur::cli::run(std::env::args_os())
}
