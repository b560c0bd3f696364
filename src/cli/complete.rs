//! `hooks-backend completions` and `man`: generated from the definition of the command line.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use super::Cli;

/// The arguments of `completions`.
#[derive(clap::Args, Debug)]
pub struct CompletionsArgs {
    /// Shell that the script is for
    #[arg(value_enum)]
    shell: Shell,
}

/// The arguments of `man`.
#[derive(clap::Args, Debug)]
pub struct ManArgs {
    /// Command that the page is about; not given: hooks-backend itself
    #[arg(value_name = "COMMAND")]
    name: Option<String>,

    /// Write the pages of all commands to this directory instead
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "name")]
    output_dir: Option<PathBuf>,
}

/// Prints a completion script.
pub(super) fn completions(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "hooks-backend", &mut script);
    print(&script)
}

/// Prints a man page, or writes all of them to a directory.
pub(super) fn man(args: &ManArgs) -> anyhow::Result<()> {
    // Without 'help', which would only repeat the pages of the other commands.
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    if let Some(directory) = &args.output_dir {
        return clap_mangen::generate_to(program, directory)
            .with_context(|| directory.display().to_string());
    }
    let command = match &args.name {
        None => Some(&program),
        Some(name) => program.find_subcommand(name),
    };
    let command = command.with_context(|| {
        format!("hooks-backend has no command {:?}", args.name.as_deref().unwrap_or_default())
    })?;
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    print(&page)
}

/// Writes to standard output. A reader that has gone away (`| head`) is no error.
fn print(text: &[u8]) -> anyhow::Result<()> {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
