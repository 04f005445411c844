use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::sink::{Ended, Pages, PagesAsked, Sink};
use crate::engine::coverage::Piece;
use crate::source::SentAt;

/// Holds the pieces of one part of a repair until the parts above it are done.
pub(super) struct Buffer<'a> {
    sink: &'a dyn Sink,
    pieces: Mutex<Vec<Piece>>,
}

impl<'a> Buffer<'a> {
    pub(super) fn of(sink: &'a dyn Sink) -> Self {
        Self { sink, pieces: Mutex::default() }
    }

    /// The pieces, newest first.
    pub(super) fn into_pieces(self) -> Vec<Piece> {
        self.pieces.into_inner()
    }
}

impl Sink for Buffer<'_> {
    fn room(&self, pages: PagesAsked) -> BoxFuture<'_, Result<(), Ended>> {
        self.sink.room(pages)
    }

    fn wanted(&self) -> Result<(), Ended> {
        self.sink.wanted()
    }

    fn give(&self, piece: Piece) {
        self.pieces.lock().push(piece);
    }

    fn trusts_order(&self) {
        self.sink.trusts_order();
    }

    fn asks(&self, sent: &SentAt) {
        self.sink.asks(sent);
    }

    fn count(&self, pages: Pages) {
        self.sink.count(pages);
    }
}
