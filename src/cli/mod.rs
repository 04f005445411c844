//! The commands: what each does with its settings, and how the process exits.
//!
//! This is the only module that prints. Stdout gets the command's result (help, a token's line, the demo's guide). Stderr gets
//! errors, the log, and secrets, so that redirecting stdout never writes a secret into a file.

mod assemble;
mod control;
mod demo;
mod exit;
mod export;
mod guide;
mod open_tier;
mod print;
mod process;
mod serve;
mod simulate;
mod tier_check;
mod token;

use std::ffi::OsString;

pub use assemble::{Gateway, assemble};
pub use demo::demo;
pub use exit::Exit;
pub use export::export;
pub use serve::serve;
pub use simulate::simulate;
pub use tier_check::tier_check;
pub use token::token_new;

use crate::config::{self, Command, NothingToRun};

/// Reads the command from the arguments, the first of which is the program's name, and from the environment.
///
/// # Errors
/// How to exit at once: the requested help, or everything wrong with the settings, was printed.
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
