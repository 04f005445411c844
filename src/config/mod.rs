//! Settings: read once from the command line and the environment, validated, and passed on as plain values.
//!
//! [`read`] finds the command, [`environment`] picks fanfold's variables, [`reader`] takes each value from the first source
//! that gives it and parses it with one of [`values`], and [`checks`] validates combinations. All faults are collected on the
//! way, so the result is either complete settings or everything that is wrong with them.
//!
//! The environment is an argument. Nothing else reads it, except OpenTelemetry's library, which reads its own variables
//! ([`traces`]). Secrets are not settings: a setting names a file, and the code that needs the secret reads the file.

mod checks;
mod command_line;
mod demo;
mod environment;
mod export;
mod export_flags;
mod faults;
mod flags;
mod reader;
mod serve;
mod serve_flags;
mod settings;
mod simulate;
#[cfg(test)]
mod tests;
mod tier_place;
mod token;
mod traces;
mod values;

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::Command as ClapCommand;

pub use command_line::NothingToRun;
pub use demo::Demo;
pub use export::{Export, ExportOutput, ExportSource, ProgressMode, TerminalKind};
pub use faults::SettingErrors;
pub use settings::{
    BudgetSettings, ConnectionSettings, Keys, ListenSettings, LogSettings, ResponseSettings, Serve,
    ServeMode, StopSettings, TierPlace, TierSettings,
};
pub use simulate::Simulate;
pub use token::TokenNew;

use flags::{Flag, command, command_that_exits};
use reader::SettingsReader;

/// The command to run, with its settings.
#[derive(Clone, Debug)]
pub enum Command {
    /// Run the gateway.
    Serve(Box<Serve>),
    /// Run the simulated upstream.
    Simulate(Simulate),
    /// Run both.
    Demo(Demo),
    /// Write executions to a file.
    Export(Box<Export>),
    /// Create a caller token.
    TokenNew(TokenNew),
    /// Check the tier.
    TierCheck(Box<Serve>),
}

/// Reads a command and its settings.
///
/// `args` begins with the program's name.
///
/// # Errors
/// [`NothingToRun`]: help was requested, or something is wrong.
pub fn read(
    args: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Command, NothingToRun> {
    let mut faults = SettingErrors::default();
    let variables: Vec<_> = variables.into_iter().collect();
    let traces = traces::read(&variables);
    let terminal = export::terminal(&variables);
    let environment = environment::read(variables, &known_variables(), &mut faults);
    let matches = command_line::read(&program(), args, &mut faults)?;
    let reader = |flags, matches, faults| SettingsReader::new(flags, matches, &environment, faults);
    let command = match matches.subcommand() {
        Some(("serve", given)) => serve::read(reader(serve_flags::FLAGS, given, faults), traces)
            .map(|serve| Command::Serve(Box::new(serve))),
        Some(("simulate", given)) => {
            simulate::read(reader(simulate::FLAGS, given, faults)).map(Command::Simulate)
        }
        Some(("demo", given)) => demo::read(reader(demo::FLAGS, given, faults)).map(Command::Demo),
        Some(("export", given)) => export::read(reader(&export_flags::flags(), given, faults), terminal)
            .map(|export| Command::Export(Box::new(export))),
        Some(("token", given)) => match given.subcommand() {
            Some(("new", given)) => token::read(reader(token::FLAGS, given, faults)).map(Command::TokenNew),
            _ => Err(faults),
        },
        Some(("tier", given)) => match given.subcommand() {
            Some(("check", given)) => serve::read_with_tier(reader(serve_flags::FLAGS, given, faults))
                .map(|serve| Command::TierCheck(Box::new(serve))),
            _ => Err(faults),
        },
        _ => Err(faults),
    };
    command.map_err(NothingToRun::SettingErrors)
}

/// The flags of all commands.
const TABLES: [&[Flag]; 5] =
    [serve_flags::FLAGS, simulate::FLAGS, demo::FLAGS, token::FLAGS, export_flags::FLAGS];

/// The variables of all commands. All are known to each command, because a container's environment may serve several.
fn known_variables() -> Vec<String> {
    let flags = TABLES.into_iter().flatten();
    flags.filter_map(Flag::variable).collect::<BTreeSet<_>>().into_iter().collect()
}

fn program() -> ClapCommand {
    let token = ClapCommand::new("token")
        .about("Manages caller tokens")
        .subcommand_required(true)
        .subcommand(command(
            "new",
            "Creates a caller token: prints its line for the tokens file on stdout, and the token on stderr",
            token::FLAGS,
        ));
    let tier = ClapCommand::new("tier")
        .about("Checks the tier, which keeps rows outside the process")
        .subcommand_required(true)
        .subcommand(command_that_exits(
            "check",
            "Reports whether the tier can be used, with the settings of serve",
            serve_flags::FLAGS,
            TIER_CHECK_EXIT_CODES,
        ));
    ClapCommand::new("fanfold")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Every execution of a voice agent from one request")
        .subcommand_required(true)
        .subcommand(command("serve", "Runs the gateway", serve_flags::FLAGS))
        .subcommand(command("simulate", "Runs a simulated upstream", simulate::FLAGS))
        .subcommand(command(
            "demo",
            "Runs the gateway and a simulated upstream in one process, with sample agents",
            demo::FLAGS,
        ))
        .subcommand(command_that_exits(
            "export",
            "Writes executions into a file: through a gateway, or from upstream directly",
            &export_flags::flags(),
            export_flags::EXIT_CODES,
        ))
        .subcommand(token)
        .subcommand(tier)
}

/// The end of the help of `tier check`.
const TIER_CHECK_EXIT_CODES: &str =
    "Exit codes: 0 the tier can be used; 1 it can't; 64 bad settings, all listed on stderr.";
