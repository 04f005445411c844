use std::sync::Arc;

use crate::clock::SteadyClock;
use crate::config::{Serve, ServeMode, TierSettings};
use crate::directory::{Directory, DirectorySettings};
use crate::sealed::SecretSource;
use crate::telemetry::TierReadings;
use crate::tier::{RequestTimes, Tier};

/// The tier of a gateway, if it has one.
#[derive(Debug, Default)]
pub(super) struct OpenTier {
    directory: Option<Arc<Directory>>,
    /// What callers' keys are named with.
    pub(super) names: Option<[u8; 32]>,
}

impl OpenTier {
    /// Opens the tier. A check of the settings reads its secret and opens nothing.
    ///
    /// # Errors
    /// Everything wrong with its secret, as sentences.
    pub(super) fn open(settings: &Serve, clock: &SteadyClock) -> Result<Self, Vec<String>> {
        let Some(tier) = &settings.tier else { return Ok(Self::default()) };
        let secret = SecretSource::read(&tier.secret_file)
            .map_err(|fault| vec![format!("--tier-secret-file: {fault}")])?;
        let names = Some(secret.secret().of_callers());
        let directory = match settings.purpose {
            ServeMode::Check => None,
            ServeMode::Run => {
                let opened = Directory::open(directory_settings(tier, settings), secret, clock.clone());
                Some(opened.map_err(|error| vec![error.to_string()])?)
            }
        };
        Ok(Self { directory, names })
    }

    /// For the engine.
    pub(super) fn tier(&self) -> Option<Arc<dyn Tier>> {
        self.directory.clone().map(|directory| directory as Arc<dyn Tier>)
    }

    /// The times of requests, for upstream.
    pub(super) fn times(&self) -> Option<Arc<dyn RequestTimes>> {
        self.directory.as_ref().map(|directory| directory.request_times())
    }

    /// For the metrics.
    pub(super) fn readings(&self) -> Option<TierReadings> {
        self.directory.as_ref().map(|directory| directory.readings())
    }
}

/// What a directory is opened with. Rows twice as old as they should become are not served while upstream works, and no longer
/// than a while when it fails.
fn directory_settings(tier: &TierSettings, settings: &Serve) -> DirectorySettings {
    let reading = &settings.reading;
    let max_age = reading.settled_ttl.saturating_mul(2).saturating_add(reading.stale_if_error);
    DirectorySettings { path: tier.directory.clone(), bytes: tier.bytes, max_age }
}
