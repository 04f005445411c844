use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::engine::coverage::Piece;
use crate::engine::terms::AskError;
use crate::source::{SentAt, SourceError};

/// Why a reading ended early.
#[derive(Clone, Debug)]
pub(in crate::engine) enum Ended {
    /// No caller waits for it any more, or the gateway stops.
    Unwanted,
    /// After part of it was emitted, the list turned out not to be newest first, or its numbered pages to
    /// omit rows.
    Disordered,
    /// It can't be read, or not be proven.
    Failed(AskError),
}

impl From<SourceError> for Ended {
    fn from(error: SourceError) -> Self {
        Self::Failed(error.into())
    }
}

/// Receives what a reader proves.
pub(in crate::engine) trait Sink: Sync {
    /// Returns when there is room for another page in addition to those requested, or fails if no page is
    /// wanted.
    fn room(&self, pages: PagesAsked) -> BoxFuture<'_, Result<(), Ended>>;

    /// Fails if no further page is wanted. Called just before a request is sent, which may be long after
    /// there was room for it.
    fn wanted(&self) -> Result<(), Ended>;

    /// Takes a proven piece. Pieces are adjacent, newest first.
    fn give(&self, piece: Piece);

    /// Called before a piece that is emitted only because the list looks newest first.
    fn trusts_order(&self) {}

    /// Called for every page that is about to be requested and waits for its turn.
    fn asks(&self, sent: &SentAt);

    /// Called for every page that is planned, and for every page that arrived.
    fn count(&self, _pages: Pages) {}
}

/// Requested pages of a walk that do not count yet.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::engine) struct PagesAsked {
    /// In flight.
    pub(in crate::engine) sent: usize,
    /// In flight, or arrived and waiting for the pages before them.
    pub(in crate::engine) open: usize,
}

/// The progress of a reading, in pages.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) enum Pages {
    /// The walk is known to have this many.
    Planned(u32),
    /// A page arrived, whose request was sent at this time.
    Read { sent_at: Instant },
}
