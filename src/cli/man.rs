//! `twintier man`: manual pages of the program and its commands.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Command};
use clap_mangen::Man;

use super::args::OutputFormat;
use super::error::CliError;
use super::output::Output;

/// Arguments of `man`.
#[derive(Args, Debug)]
#[command(after_help = "To read a page: twintier man get | man -l -")]
pub struct ManArgs {
    /// Command whose page to print, for example: batch set; default the page of the program
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Vec<String>,
    /// Write the pages of the program and of all its commands to this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

// === impl ManArgs ===

impl ManArgs {
    /// Prints a page of `program`, or writes all.
    pub fn run(&self, program: Command) -> ExitCode {
        let done = match &self.dir {
            Some(dir) => {
                let name = dir.display().to_string();
                let folder = std::fs::create_dir_all(dir);
                let written = folder.and_then(|()| clap_mangen::generate_to(program, dir));
                written.map(|()| Output::default()).map_err(CliError::io(name))
            }
            None => self.page(program),
        };
        match done {
            Ok(output) => output.print_or_report(),
            Err(failure) => failure.report(OutputFormat::Text),
        }
    }

    fn page(&self, program: Command) -> Result<Output, CliError> {
        // The names of commands are full only then.
        let mut program = program.disable_help_subcommand(true);
        program.build();
        let mut command = &program;
        for name in &self.command {
            let unknown = || CliError::Usage(format!("COMMAND must be a command of twintier; was {name:?}"));
            command = command.find_subcommand(name).ok_or_else(unknown)?;
        }
        let mut out = Vec::new();
        Man::new(command.clone()).render(&mut out).map_err(CliError::io("the page"))?;
        Ok(Output { out, ..Output::default() })
    }
}
