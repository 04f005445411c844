//! The command line's part of the settings, parsed repeatedly until all faults are found.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Command};

use super::faults::SettingErrors;

/// Why there is no command to run.
#[derive(Debug)]
pub enum NothingToRun {
    /// Help or the version was requested. Holds its text.
    Asked(String),
    /// No command was given, but nothing else is wrong. Holds the help that lists the commands.
    NoCommand(String),
    /// The settings have faults.
    SettingErrors(SettingErrors),
}

/// Reads the arguments, the program's name first.
///
/// Clap stops at the first argument that it does not understand. That argument is recorded and removed, and the others are
/// parsed again.
///
/// # Errors
/// [`NothingToRun::Asked`] for `--help` and `--version`, [`NothingToRun::NoCommand`] without a command,
/// [`NothingToRun::SettingErrors`] if an argument is wrong.
pub(super) fn read(
    command: &Command,
    args: impl IntoIterator<Item = OsString>,
    faults: &mut SettingErrors,
) -> Result<ArgMatches, NothingToRun> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    loop {
        let error = match command.clone().try_get_matches_from(&args) {
            Ok(matches) => return Ok(matches),
            Err(error) => error,
        };
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            return Err(NothingToRun::Asked(error.to_string()));
        }
        if is_no_command(&error) && faults.is_empty() {
            return Err(NothingToRun::NoCommand(help(command, &args)));
        }
        let (subject, problem) = describe(&error);
        faults.push(&subject, problem);
        if !remove_argument(&mut args, &subject, error.kind()) {
            return Err(NothingToRun::SettingErrors(std::mem::take(faults)));
        }
    }
}

fn is_no_command(error: &clap::Error) -> bool {
    matches!(error.kind(), ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand)
}

/// The help of the innermost command that the arguments name.
fn help(command: &Command, args: &[OsString]) -> String {
    let mut innermost = command.clone();
    innermost.build();
    for arg in args.iter().skip(1) {
        if let Some(named) = innermost.find_subcommand(arg) {
            innermost = named.clone();
        }
    }
    innermost.render_help().to_string()
}

/// The argument that an error is about, and what is wrong with it.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "clap's list is open, and its own message covers the rest"
)]
fn describe(error: &clap::Error) -> (String, String) {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    // An argument that lacks its value is named as in the help, `--listen <ADDRESS>`.
    let subject = text(ContextKind::InvalidArg).or_else(|| text(ContextKind::InvalidSubcommand));
    let subject = subject.map(|name| match name.split_once([' ', '=']) {
        Some((flag, _)) if flag.starts_with('-') => flag.to_owned(),
        _ => name,
    });
    let near = text(ContextKind::SuggestedArg).or_else(|| text(ContextKind::SuggestedSubcommand));
    let problem = match error.kind() {
        ErrorKind::UnknownArgument => match near {
            Some(near) => format!("no such flag; did you mean {near}?"),
            None => "no such flag".to_owned(),
        },
        ErrorKind::InvalidSubcommand => match near {
            Some(near) => format!("no such command; did you mean {near}?"),
            None => "no such command; see --help".to_owned(),
        },
        ErrorKind::InvalidValue | ErrorKind::NoEquals => "needs a value".to_owned(),
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".to_owned(),
        _ if is_no_command(error) => "no command given; see --help".to_owned(),
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            line.trim_start_matches("error: ").to_owned()
        }
    };
    (subject.unwrap_or_else(|| "command line".to_owned()), problem)
}

/// Removes the argument that a fault is about. Returns false if it can't be found, or if nothing after it can be parsed.
fn remove_argument(args: &mut Vec<OsString>, subject: &str, kind: ErrorKind) -> bool {
    if kind == ErrorKind::InvalidSubcommand {
        return false;
    }
    let is_subject = |arg: &OsString| {
        let text = arg.to_string_lossy();
        text == subject || text.split_once('=').is_some_and(|(name, _)| name == subject)
    };
    let Some(position) = args.iter().skip(1).position(is_subject).map(|p| p + 1) else { return false };
    let taken = args.remove(position);
    let is_flag = |arg: &OsString| arg.to_string_lossy().starts_with('-');
    // The argument after an unknown flag is most likely its value, not another mistake.
    let has_separate_value = kind == ErrorKind::UnknownArgument
        && is_flag(&taken)
        && !taken.to_string_lossy().contains('=')
        && args.get(position).is_some_and(|next| !is_flag(next));
    if has_separate_value {
        args.remove(position);
    }
    true
}
