use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::packed::Packed;
use super::part::{BodyPart, plain};

/// What has fewer plain bytes is deflated or inflated at once: that takes less time than handing it over.
const INLINE_BELOW: usize = 16 * 1024;

/// Deflates and inflates off the workers, as much at a time as it has places. Clones share the places.
///
/// What needs neither is done at once.
#[derive(Clone, Debug)]
pub struct CompressionPool {
    places: Arc<Semaphore>,
}

impl CompressionPool {
    /// With this many places; more than there are cores gain nothing.
    pub fn new(places: NonZeroUsize) -> Self {
        Self { places: Arc::new(Semaphore::new(places.get())) }
    }

    /// The plain bytes of some parts. Dropped, it finishes what it began and no more.
    ///
    /// # Errors
    /// If the runtime is going away.
    pub async fn plain(&self, parts: Vec<BodyPart>) -> io::Result<Vec<Bytes>> {
        let is_at_hand = |part: &BodyPart| match part {
            BodyPart::Text(_) => true,
            BodyPart::Rows(rows) => rows.is_plain_at_hand(),
        };
        let work = parts.iter().filter(|part| !is_at_hand(part)).map(BodyPart::len).sum();
        self.run(work, move || plain(&parts)).await
    }

    /// Packs some parts. Dropped, it finishes what it began and no more.
    ///
    /// # Errors
    /// If the runtime is going away.
    pub async fn pack(&self, parts: Vec<BodyPart>) -> io::Result<Vec<Packed>> {
        let work = parts.iter().filter(|part| !Packed::is_ready(part)).map(BodyPart::len).sum();
        self.run(work, move || parts.iter().map(Packed::new).collect()).await
    }

    /// Does work on so many bytes: at once if they are few, else off the workers.
    ///
    /// # Errors
    /// Those of the work, and if the runtime is going away.
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
