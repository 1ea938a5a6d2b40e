//! `twintier completions`: the script that completes commands and flags in a shell.

use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use super::output::Output;

/// Name of the program, which the scripts complete.
const PROGRAM: &str = "twintier";

/// Arguments of `completions`.
#[derive(Args, Debug)]
#[command(after_help = "For the running shell: source <(twintier completions bash)")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

// === impl CompletionsArgs ===

impl CompletionsArgs {
    /// Prints the script for `program`.
    pub fn run(&self, mut program: Command) -> ExitCode {
        let mut out = Vec::new();
        generate(self.shell, &mut program, PROGRAM, &mut out);
        Output { out, ..Output::default() }.print_or_report()
    }
}
