//! One execution as upstream writes it, from some 2 KB for an unanswered call to 40 KB for a long
//! conversation.
//!
//! A row is a pure function of its draft: the same draft gives the same bytes. It is written by hand into a
//! string, because what matters is what upstream really sends and serializers avoid: numbers such as `1e-7`,
//! integers past 2^53, `\/`, `\u` escapes next to the letters they stand for, strings where numbers are
//! meant.

mod call;
mod talk;
mod usage;

use super::dice::Dice;
use super::facts::Facts;
use super::life::Standing;
use super::record::Edit;
use super::status::CallStatus;
use crate::domain::{AgentId, Timestamp};

/// Everything that a row depends on.
#[derive(Debug)]
pub(super) struct RowDraft<'a> {
    pub(super) agent: AgentId,
    pub(super) agent_seed: u64,
    pub(super) serial: u32,
    pub(super) id: &'a str,
    pub(super) created_at: i64,
    pub(super) facts: Facts,
    /// Changes by hand, which override the facts.
    pub(super) edit: Option<&'a Edit>,
    /// The word that the row carries; may be one that the simulator does not know.
    pub(super) status: &'a str,
    pub(super) standing: Standing,
    pub(super) most_turns: u64,
}

/// Writes a row at the end of `out`.
pub(super) fn write(draft: &RowDraft<'_>, out: &mut String) {
    let mut dice = Dice::of(&[draft.agent_seed, u64::from(draft.serial), 7]);
    let call = Call::of(draft, &mut dice);
    call::head(draft, &call, out);
    call::costs(draft, &call, &mut dice.clone(), out);
    call::telephony(draft, &call, out);
    talk::extraction(draft, &mut dice.clone(), out);
    talk::transcript_of(draft, &call, &mut dice.clone(), out);
    usage::usage(draft, &call, &mut dice.clone(), out);
    usage::latency(draft, &call, &mut dice, out);
    out.push('}');
}

/// The values on which several parts of a row must agree.
struct Call {
    turns: u64,
    seconds: i64,
    person: u64,
    line: u64,
    is_priced: bool,
}

impl Call {
    fn of(draft: &RowDraft<'_>, dice: &mut Dice) -> Self {
        let standing = &draft.standing;
        let talked = standing.status.has_conversation();
        // A status that was set by hand may imply a conversation that was never drawn.
        let undrawn = dice.between(8, 240);
        let seconds = match (talked, standing.started_at, standing.ended_at) {
            (false, _, _) => 0,
            (true, Some(start), Some(end)) => (end - start) / 1_000_000,
            (true, Some(_), None) => 0,
            (true, None, _) => undrawn,
        };
        // A turn takes some nine seconds; a call in progress already has a few.
        let all_turns = if draft.facts.voice_mail { 1 } else { 1 + seconds as u64 / 9 };
        let turns = match (standing.status, talked) {
            (CallStatus::InProgress, _) => 2,
            (_, true) => all_turns,
            (_, false) => 0,
        };
        Self {
            turns: turns.min(draft.most_turns),
            seconds,
            person: 7_000_000_000 + dice.below(2_999_999_999),
            line: 8_000_000_000 + dice.below(20),
            is_priced: standing.status == CallStatus::Completed,
        }
    }
}

/// Writes a text that needs no escaping, or has been escaped.
fn quoted(text: &str, out: &mut String) {
    out.push('"');
    out.push_str(text);
    out.push('"');
}

fn stamp(name: &str, at: Option<i64>, out: &mut String) {
    out.push_str(name);
    match at {
        Some(at) => quoted(&stamped(at), out),
        None => out.push_str("null"),
    }
}

/// An instant, in microseconds since 1970, as upstream writes it: in UTC without saying so
/// (`2026-01-28T13:17:50.116924`).
pub(super) fn stamped(at: i64) -> String {
    let mut text = Timestamp::from_micros(at).to_string();
    text.pop();
    text
}
