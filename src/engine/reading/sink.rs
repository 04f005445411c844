use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::engine::coverage::Piece;
use crate::engine::terms::AskError;
use crate::source::{SentAt, SourceError};

/// Why a reading ended early.
#[derive(Clone, Debug)]
pub(in crate::engine) enum Ended {
    /// Nobody waits for it any more, or the gateway stops.
    Unwanted,
    /// The list turned out not to be newest first, or its numbered pages to leave rows out, after part of it was given out.
    Disordered,
    /// It can't be read, or not proven.
    Failed(AskError),
}

impl From<SourceError> for Ended {
    fn from(error: SourceError) -> Self {
        Self::Failed(error.into())
    }
}

/// Who takes what a reader proves.
pub(in crate::engine) trait Sink: Sync {
    /// Returns when there is room for another page beside those that were asked for, or says that none is wanted.
    fn room(&self, pages: PagesAsked) -> BoxFuture<'_, Result<(), Ended>>;

    /// Says whether any page is wanted still: asked just before one goes upstream, which may be long after there was
    /// room for it.
    fn wanted(&self) -> Result<(), Ended>;

    /// Takes a proven piece. Pieces come newest first and touch each other.
    fn give(&self, piece: Piece);

    /// Told before a piece that is given only because the list looks newest first.
    fn trusts_order(&self) {}

    /// Told of every page that is about to be asked for, and waits for its turn.
    fn asks(&self, sent: &SentAt);

    /// Told of every page that is planned, and of every one that arrived.
    fn count(&self, _pages: Pages) {}
}

/// Pages of a walk that were asked for and do not count yet.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::engine) struct PagesAsked {
    /// On their way.
    pub(in crate::engine) sent: usize,
    /// On their way, or arrived and waiting for the pages before them.
    pub(in crate::engine) open: usize,
}

/// Progress of a reading, in pages.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) enum Pages {
    /// The walk is known to have this many.
    Planned(u32),
    /// One arrived, whose request was sent then.
    Read { sent_at: Instant },
}
