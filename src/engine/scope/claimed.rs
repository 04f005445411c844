use std::time::Duration;

use tokio::time::Instant;

use crate::domain::Span;
use crate::tier::turn_of;

/// The most turns that wait to be ended. Others end by themselves.
const MOST_OVER: usize = 64;

/// How long a turn that was taken for a question is left to its readings. It ends by itself after three times as long.
const GRANTED_FOR: Duration = Duration::from_secs(1);

/// The spans of a scope that this process reads while other processes wait.
#[derive(Debug, Default)]
pub(super) struct ClaimedSpans {
    /// What is being read.
    reading: Vec<Span>,
    /// What was read: other processes may read it once what it brought is saved.
    over: Vec<Span>,
    /// What may be read without asking again, and since when.
    granted: Option<(Span, Instant)>,
}

impl ClaimedSpans {
    /// A question took a turn for what it is about to read.
    pub(super) fn grant(&mut self, span: Span) {
        self.granted = Some((span, Instant::now()));
    }

    /// Whether a question took a turn for a span a moment ago.
    pub(super) fn is_granted(&self, span: Span) -> bool {
        self.granted.is_some_and(|(granted, since)| granted.covers(span) && since.elapsed() < GRANTED_FOR)
    }

    /// A reading begins.
    pub(super) fn begin(&mut self, span: Span) {
        self.reading.push(span);
    }

    /// A reading ended.
    pub(super) fn end(&mut self, span: Span) {
        self.granted = None;
        if let Some(place) = self.reading.iter().position(|reading| *reading == span) {
            self.reading.swap_remove(place);
        }
        if self.over.len() < MOST_OVER {
            self.over.push(span);
        }
    }

    /// What was read, except where another reading goes on in the same turn.
    pub(super) fn take_over(&mut self) -> Vec<Span> {
        let mut over = std::mem::take(&mut self.over);
        over.retain(|span| self.reading.iter().all(|reading| turn_of(*reading) != turn_of(*span)));
        over
    }
}
