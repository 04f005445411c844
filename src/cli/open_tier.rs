//! Opens the tier that the settings name.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::SteadyClock;
use crate::config::{Serve, ServeMode, TierPlace};
use crate::directory::{Directory, DirectorySettings};
use crate::replicas::Replicas;
use crate::sealed::SecretSource;
use crate::shutdown::Shutdown;
use crate::telemetry::TierReadings;
use crate::tier::{RequestTimes, Tier};

/// The tier of a gateway, if it has one.
#[derive(Debug, Default)]
pub(super) struct OpenTier {
    place: Option<OpenPlace>,
    /// What callers' keys are named with.
    pub(super) names: Option<[u8; 32]>,
}

#[derive(Debug)]
enum OpenPlace {
    Directory(Arc<Directory>),
    Server(Arc<Replicas>),
}

impl OpenTier {
    /// Opens the tier. A check of the settings reads its secret and opens nothing.
    ///
    /// # Errors
    /// Everything wrong with its secret, as sentences.
    pub(super) fn open(
        settings: &Serve,
        clock: &SteadyClock,
        shutdown: &Shutdown,
    ) -> Result<Self, Vec<String>> {
        let Some(tier) = &settings.tier else { return Ok(Self::default()) };
        let secret = SecretSource::read(&tier.secret_file)
            .map_err(|fault| vec![format!("--tier-secret-file: {fault}")])?;
        let names = Some(secret.secret().of_callers());
        if matches!(settings.purpose, ServeMode::Check) {
            return Ok(Self { place: None, names });
        }
        let max_age = max_age(settings);
        let place = match &tier.place {
            TierPlace::Directory { path, bytes } => {
                let settings = DirectorySettings { path: path.clone(), bytes: *bytes, max_age };
                let opened = Directory::open(settings, secret, clock.clone());
                OpenPlace::Directory(opened.map_err(|error| vec![error.to_string()])?)
            }
            TierPlace::Server(server) => {
                OpenPlace::Server(Replicas::open(server, secret, max_age, clock, shutdown))
            }
        };
        Ok(Self { place: Some(place), names })
    }

    /// For the engine.
    pub(super) fn tier(&self) -> Option<Arc<dyn Tier>> {
        Some(match self.place.as_ref()? {
            OpenPlace::Directory(directory) => Arc::<Directory>::clone(directory),
            OpenPlace::Server(replicas) => Arc::<Replicas>::clone(replicas),
        })
    }

    /// The times of requests, for upstream.
    pub(super) fn times(&self) -> Option<Arc<dyn RequestTimes>> {
        match self.place.as_ref()? {
            OpenPlace::Directory(directory) => Some(directory.request_times()),
            OpenPlace::Server(_) => None,
        }
    }

    /// For the metrics.
    pub(super) fn readings(&self) -> Option<TierReadings> {
        Some(match self.place.as_ref()? {
            OpenPlace::Directory(directory) => directory.readings(),
            OpenPlace::Server(replicas) => replicas.readings(),
        })
    }
}

/// Nothing older is served. Rows twice as old as they should become are not served while upstream works, and no longer than a
/// while when it fails.
fn max_age(settings: &Serve) -> Duration {
    let reading = &settings.reading;
    reading.settled_ttl.saturating_mul(2).saturating_add(reading.stale_if_error)
}
