//! The commands: what each does with its settings, and what the process ends with.
//!
//! The only place that prints. Stdout is for what a command was run for (help, a token's line, the demo's guide), stderr for
//! faults, secrets that must not land in a file by redirection, and the log.

mod assemble;
mod control;
mod demo;
mod exit;
mod guide;
mod print;
mod process;
mod serve;
mod simulate;
mod token;

use std::ffi::OsString;

pub use assemble::{Gateway, assemble};
pub use demo::demo;
pub use exit::Exit;
pub use serve::serve;
pub use simulate::simulate;
pub use token::token_new;

use crate::config::{self, Command, NothingToRun};

/// Finds out what to do from the arguments, the program's name first, and the environment.
///
/// # Errors
/// How to exit at once: help was asked for and given, or everything wrong with the settings was told.
pub fn command(
    args: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Command, Exit> {
    config::read(args, variables).map_err(|stop| match stop {
        NothingToRun::Asked(text) => {
            print::out(text.trim_end());
            Exit::Done
        }
        NothingToRun::NoCommand(help) => {
            print::err(help.trim_end());
            Exit::BadSettings
        }
        NothingToRun::SettingErrors(faults) => {
            print::err(faults.to_string().trim_end());
            Exit::BadSettings
        }
    })
}
