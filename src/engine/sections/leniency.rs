//! What happens to a section that can't be read.

use super::opener::{Opener, SectionError};
use crate::domain::{AgentId, Digest, Span};
use crate::engine::ask::EARLIEST;
use crate::engine::terms::{AskError, CacheReport, Freshness, Missing, Tolerance, Verdict};

/// Whether sections may be left out, and whether all were.
pub(super) struct Leniency {
    tolerance: Tolerance,
    /// Whether any section could be read.
    pub(super) has_any: bool,
    first: Option<SectionError>,
}

impl Leniency {
    pub(super) fn of(opener: &Opener) -> Self {
        Self { tolerance: opener.question.tolerance, has_any: false, first: None }
    }

    /// Leaves a section out.
    ///
    /// # Errors
    /// The section may not be left out: the response is strict, or the reason is not specific to the section.
    pub(super) fn leave_out(&mut self, agent: AgentId, error: &AskError) -> Result<(), SectionError> {
        let error = SectionError { agent, error: error.clone() };
        let is_own = !matches!(
            error.error,
            AskError::ShuttingDown | AskError::NoMemory(_) | AskError::TooLarge { .. }
        );
        if is_own && self.tolerance.is_lenient() {
            self.first.get_or_insert(error);
            return Ok(());
        }
        Err(error)
    }

    /// Fails if every section was left out, because such a response is a refusal.
    ///
    /// # Errors
    /// The reason why the first section was left out.
    pub(super) fn end(&self) -> Result<(), SectionError> {
        match &self.first {
            Some(error) if !self.has_any => Err(error.clone()),
            _ => Ok(()),
        }
    }
}

impl Opener {
    /// The verdict of a section that was left out: all of it is missing.
    pub(super) fn left_out(&self, error: AskError) -> Verdict {
        let as_of = self.as_of();
        let from = self.question.from.map_or(EARLIEST, |from| from.min(as_of));
        let span = Span::new(from, as_of).unwrap_or(Span::at(as_of));
        Verdict {
            as_of,
            count: 0,
            total: Some(0),
            digest: Digest::default(),
            missing: vec![Missing { span, error }],
            freshness: Freshness::default(),
            report: CacheReport::default(),
        }
    }
}
