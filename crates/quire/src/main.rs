//! `quire`: see `quire --help`.

use std::process::ExitCode;

use clap::Parser;
use quire::cli::{Cli, Command};

fn main() -> ExitCode {
    quire_serve::install_tls_provider();
    match Cli::parse().command.unwrap_or(Command::Serve) {
        // Children of this very program: no runtime, no logs, only standard input and output.
        Command::Typeset => {
            ExitCode::from(quire_typeset::run_child(std::io::stdin().lock(), std::io::stdout().lock()))
        }
        Command::ReadSource => {
            quire_document::reader::run_child(std::io::stdin().lock(), std::io::stdout().lock())
        }
        command => match quire::cli::run(command) {
            Ok(code) => code,
            Err(error) => {
                #[expect(clippy::print_stderr, reason = "the last word of a command that failed")]
                {
                    eprintln!("quire: {error:#}");
                }
                ExitCode::FAILURE
            }
        },
    }
}
