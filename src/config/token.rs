//! The settings of `token new`. None of them has an environment variable: they say what to do once.

use super::faults::Faults;
use super::flags::Flag;
use super::reader::{Reader, read_all};
use super::values::{self, Parsed};
use crate::domain::{AgentId, Timestamp};

/// The flags of `token new`.
pub(super) const FLAGS: &[Flag] = &[
    Flag::optional("name", "NAME", "Whose token it is: letters, digits and . _ - @").on_command_line_only(),
    Flag::optional("agents", "UUIDS", "Which agents it reaches: UUIDs with commas, or * for all")
        .on_command_line_only(),
    Flag::optional("expires", "INSTANT", "Until when it is good (RFC 3339); without it, for ever")
        .on_command_line_only(),
];

/// The longest name of a token: it stands in every log line of its requests.
const LONGEST_NAME: usize = 64;

/// What `token new` is told.
#[derive(Clone, Debug)]
pub struct TokenNew {
    /// Whose token it is: letters, digits and `. _ - @`.
    pub name: String,
    /// Which agents it reaches; none means all.
    pub agents: Option<Vec<AgentId>>,
    /// Until when it is good; none means for ever.
    pub expires: Option<Timestamp>,
}

/// Reads all settings.
///
/// # Errors
/// Every fault.
pub(super) fn read(mut reader: Reader) -> Result<TokenNew, Faults> {
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

fn name(text: &str) -> Parsed<String> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-@".contains(&b);
    if (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err(format!("1 to {LONGEST_NAME} letters, digits or . _ - @"))
    }
}

fn agents(text: &str) -> Parsed<Option<Vec<AgentId>>> {
    if text == "*" {
        return Ok(None);
    }
    let agents: Result<Vec<AgentId>, _> = text.split(',').map(str::parse).collect();
    agents.map(Some).map_err(|_| "UUIDs with commas, or *".to_owned())
}
