use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::packed::Packed;
use super::part::{BodyPart, plain};

/// Work on fewer plain bytes runs inline, which takes less time than moving it to another thread.
const INLINE_BELOW: usize = 16 * 1024;

/// Deflates and inflates on threads other than the workers. Its places bound the concurrency; clones share them.
///
/// Parts that need neither are handled inline.
#[derive(Clone, Debug)]
pub struct CompressionPool {
    places: Arc<Semaphore>,
}

impl CompressionPool {
    /// Creates a pool with this many places. More places than cores gain nothing.
    pub fn new(places: NonZeroUsize) -> Self {
        Self { places: Arc::new(Semaphore::new(places.get())) }
    }

    /// Returns the plain bytes of some parts. Work that has begun is finished even if the future is dropped.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub async fn plain(&self, parts: Vec<BodyPart>) -> io::Result<Vec<Bytes>> {
        let is_at_hand = |part: &BodyPart| match part {
            BodyPart::Text(_) => true,
            BodyPart::Rows(rows) => rows.is_plain_at_hand(),
        };
        let work = parts.iter().filter(|part| !is_at_hand(part)).map(BodyPart::len).sum();
        self.run(work, move || plain(&parts)).await
    }

    /// Packs some parts. Work that has begun is finished even if the future is dropped.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub async fn pack(&self, parts: Vec<BodyPart>) -> io::Result<Vec<Packed>> {
        let work = parts.iter().filter(|part| !Packed::is_ready(part)).map(BodyPart::len).sum();
        self.run(work, move || parts.iter().map(Packed::new).collect()).await
    }

    /// Runs work on this many bytes: inline if they are few, otherwise on another thread.
    ///
    /// # Errors
    /// Those of the work, or the runtime is shutting down.
    pub async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        if bytes < INLINE_BELOW {
            return work();
        }
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)?;
        tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        })
        .await
        .map_err(io::Error::other)?
    }
}
