//! Flags, and how a table of them becomes a command line.
//!
//! A table holds a flag's name, default and meaning in one place. The help text, the environment variable, the list of known
//! variables and the default all come from it. The reader receives every value as text, so that it can report all faults at
//! once; a struct that clap derives would stop at the first.

use clap::builder::ArgAction;
use clap::{Arg, Command};

/// A setting, as given on the command line or in the environment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    /// Its name, without the dashes.
    pub(crate) name: &'static str,
    /// The placeholder of its value in the help text.
    value: &'static str,
    /// The value if it is not given.
    pub(crate) default: Option<&'static str>,
    /// Its help text, with units.
    help: &'static str,
    /// How often it may be given, and whether it takes a value.
    pub(crate) arity: Arity,
    /// Where it may be given.
    place: FlagSource,
}

/// How often a flag may be given, and whether it takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arity {
    /// Once, with a value.
    One,
    /// Any number of times, each with a value; in the environment once, with commas.
    Many,
    /// Once, with `=true`, `=false`, or alone for true.
    Switch,
}

/// Where a flag may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FlagSource {
    /// On the command line or in the environment.
    Both,
    /// On the command line only, because it applies to a single run and not to a service.
    CommandLine,
}

impl Flag {
    /// A flag with a value and without a default.
    pub(crate) const fn optional(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Self { name, value, default: None, help, arity: Arity::One, place: FlagSource::Both }
    }

    /// A flag with a value that has a default.
    pub(crate) const fn new(
        name: &'static str,
        value: &'static str,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self::optional(name, value, help).with_default(default)
    }

    /// A flag that may be given any number of times.
    pub(crate) const fn many(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Self { arity: Arity::Many, ..Self::optional(name, value, help) }
    }

    /// A flag that is on or off.
    pub(crate) const fn switch(name: &'static str, default: &'static str, help: &'static str) -> Self {
        Self { arity: Arity::Switch, ..Self::new(name, "true|false", default, help) }
    }

    /// The same flag, without an environment variable.
    pub(crate) const fn on_command_line_only(self) -> Self {
        Self { place: FlagSource::CommandLine, ..self }
    }

    /// The same flag with another default.
    pub(crate) const fn with_default(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    /// The environment variable of the flag: `FANFOLD_` and its name in capitals.
    pub(crate) fn variable(&self) -> Option<String> {
        match self.place {
            FlagSource::Both => Some(format!("FANFOLD_{}", self.name.to_ascii_uppercase().replace('-', "_"))),
            FlagSource::CommandLine => None,
        }
    }

    fn arg(&self) -> Arg {
        let variable = self.variable().map(|variable| format!(" [env: {variable}]"));
        let default = self.default.map(|default| format!(" [default: {default}]"));
        let help: String = [Some(self.help.to_owned()), variable, default].into_iter().flatten().collect();
        // The reader reports a flag that is given twice; clap would stop there.
        let arg = Arg::new(self.name).long(self.name).value_name(self.value).action(ArgAction::Append);
        match self.arity {
            Arity::One | Arity::Many => arg.help(help),
            Arity::Switch => {
                arg.help(help).num_args(0..=1).require_equals(true).default_missing_value("true")
            }
        }
    }
}

/// A command with these flags.
pub(crate) fn command(name: &'static str, about: &'static str, flags: &[Flag]) -> Command {
    command_that_exits(name, about, flags, EXIT_CODES)
}

/// A command with these flags and its own exit codes.
pub(crate) fn command_that_exits(
    name: &'static str,
    about: &'static str,
    flags: &[Flag],
    exit_codes: &str,
) -> Command {
    let after_help = format!("{SOURCES}\n\n{exit_codes}");
    Command::new(name).about(about).args(flags.iter().map(Flag::arg)).after_help(after_help)
}

/// The end of every command's help. Each paragraph is one line; clap wraps it to the terminal's width.
const SOURCES: &str = "\
Settings are flags or environment variables. A flag overrides its variable; an empty variable counts as unset.

Lengths: an integer with ms, s, m, h or d. Bytes: an integer, alone or with KiB, MiB or GiB. \
Rates: N/s, N/min, or 0 for none. Shares: N%.";

/// The exit codes of most commands.
const EXIT_CODES: &str = "\
Exit codes: 0 success; 1 failure while starting or running; 64 bad settings, all listed on stderr; \
130 or 143 ended at once by a second SIGINT or SIGTERM.";
