//! The settings of `token new`. None has an environment variable, because each applies to a single run.

use super::faults::SettingErrors;
use super::flags::Flag;
use super::reader::{SettingsReader, read_all};
use super::values::{self, Parsed};
use crate::clock::SteadyClock;
use crate::domain::Timestamp;
use crate::http::auth::Agents;

/// The flags of `token new`.
pub(super) const FLAGS: &[Flag] = &[
    Flag::optional("name", "NAME", "Name of the caller: letters, digits and . _ -").on_command_line_only(),
    Flag::optional(
        "agents",
        "UUIDS",
        "Agents that the token allows: UUIDs separated by commas, or * for all",
    )
    .on_command_line_only(),
    Flag::optional("expires", "INSTANT", "When the token expires (RFC 3339); never if absent")
        .on_command_line_only(),
];

/// The settings of `token new`.
#[derive(Clone, Debug)]
pub struct TokenNew {
    /// The name of the caller.
    pub name: String,
    /// The agents that the token allows.
    pub agents: Agents,
    /// When the token expires; `None` for never.
    pub expires: Option<Timestamp>,
}

/// Reads all settings.
///
/// # Errors
/// Every fault.
pub(super) fn read(mut reader: SettingsReader) -> Result<TokenNew, SettingErrors> {
    let token = read_all!(
        reader,
        TokenNew {
            name: one("name", name),
            agents: one("agents", agents),
            expires: optional("expires", expires),
        }
    );
    reader.finish(token)
}

/// Checks only that the name is not empty; creating the token validates the rest.
fn name(text: &str) -> Parsed<String> {
    if text.is_empty() { Err("a name".to_owned()) } else { Ok(text.to_owned()) }
}

/// A token that has expired already is of no use.
fn expires(text: &str) -> Parsed<Timestamp> {
    values::instant(text).and_then(|at| match at > SteadyClock::from_wall().now() {
        true => Ok(at),
        false => Err("an instant in the future".to_owned()),
    })
}

fn agents(text: &str) -> Parsed<Agents> {
    Agents::parse(text).ok_or_else(|| "UUIDs separated by commas, or *".to_owned())
}
