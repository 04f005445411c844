//! The settings of `token new`. None of them has an environment variable: they say what to do once.

use super::faults::SettingErrors;
use super::flags::Flag;
use super::reader::{SettingsReader, read_all};
use super::values::{self, Parsed};
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

/// What `token new` is told.
#[derive(Clone, Debug)]
pub struct TokenNew {
    /// Whose token it is.
    pub name: String,
    /// Which agents it reaches.
    pub agents: Agents,
    /// Until when it is good; none means for ever.
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
            expires: optional("expires", values::instant),
        }
    );
    reader.finish(token)
}

/// What a name is the maker of tokens knows, and says.
fn name(text: &str) -> Parsed<String> {
    if text.is_empty() { Err("a name".to_owned()) } else { Ok(text.to_owned()) }
}

fn agents(text: &str) -> Parsed<Agents> {
    Agents::parse(text).ok_or_else(|| "UUIDs with commas, or *".to_owned())
}
