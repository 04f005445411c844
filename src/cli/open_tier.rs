//! Opens the tier that the settings name.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::SteadyClock;
use crate::config::{BudgetSettings, Serve, ServeMode, TierPlace};
use crate::directory::{Directory, DirectorySettings};
use crate::replicas::{BudgetTerms, Replicas, SharedBudget};
use crate::sealed::SecretSource;
use crate::shutdown::Shutdown;
use crate::telemetry::TierReadings;
use crate::tier::{RequestTimes, Tier};
use crate::upstream::RateScope;

/// The tier of a gateway, if it has one.
#[derive(Debug, Default)]
pub(super) struct OpenTier {
    place: Option<OpenPlace>,
    /// The secret with which callers' keys are named.
    pub(super) names: Option<[u8; 32]>,
}

#[derive(Debug)]
enum OpenPlace {
    Directory(Arc<Directory>),
    /// A server, and the budget that is shared through it, if there is one.
    Server(Arc<Replicas>, Option<Arc<SharedBudget>>),
}

impl OpenTier {
    /// Opens the tier. With `--check`, reads its secret and opens nothing.
    ///
    /// # Errors
    /// Why the secret or the tier can't be used, as sentences.
    pub(super) fn open(
        settings: &Serve,
        clock: &SteadyClock,
        shutdown: &Shutdown,
    ) -> Result<Self, Vec<String>> {
        let Some(tier) = &settings.tier else { return Ok(Self::default()) };
        let secret = SecretSource::read(&tier.secret_file)
            .map_err(|fault| vec![format!("--tier-secret-file: {fault}")])?;
        let names = Some(secret.secret().last().names.of_callers());
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
                let replicas = Replicas::open(server, secret, max_age, clock, shutdown);
                let is_for_each = settings.budget.scope == RateScope::Credential;
                let terms = budget_terms(&settings.budget, server.timeout);
                let budget = terms.map(|terms| replicas.share_budget(terms, is_for_each));
                OpenPlace::Server(replicas, budget)
            }
        };
        Ok(Self { place: Some(place), names })
    }

    /// The tier, for the engine.
    pub(super) fn tier(&self) -> Option<Arc<dyn Tier>> {
        Some(match self.place.as_ref()? {
            OpenPlace::Directory(directory) => Arc::<Directory>::clone(directory),
            OpenPlace::Server(replicas, _) => Arc::<Replicas>::clone(replicas),
        })
    }

    /// The times of requests, for upstream.
    pub(super) fn times(&self) -> Option<Arc<dyn RequestTimes>> {
        match self.place.as_ref()? {
            OpenPlace::Directory(directory) => Some(directory.request_times()),
            OpenPlace::Server(_, budget) => budget.as_ref().map(SharedBudget::times),
        }
    }

    /// The state of the tier, for the metrics.
    pub(super) fn readings(&self) -> Option<TierReadings> {
        Some(match self.place.as_ref()? {
            OpenPlace::Directory(directory) => directory.readings(),
            OpenPlace::Server(replicas, budget) => {
                let mut readings = replicas.readings();
                readings.server.budget = budget.as_ref().map(|budget| budget.readings()).unwrap_or_default();
                readings
            }
        })
    }
}

/// The age from which rows in the tier are of no use: while upstream works, no row is served at twice its longest time to live;
/// while upstream fails, only `stale-if-error` longer.
fn max_age(settings: &Serve) -> Duration {
    let reading = &settings.reading;
    reading.settled_ttl.saturating_mul(2).saturating_add(reading.stale_if_error)
}

/// What all processes that share a budget must agree on; `None` without a limit.
fn budget_terms(settings: &BudgetSettings, timeout: Duration) -> Option<BudgetTerms> {
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let rate = settings.rate?;
    Some(BudgetTerms {
        rate: rate.count.get(),
        period: millis(rate.per),
        replicas: u32::try_from(settings.replicas).unwrap_or(u32::MAX),
        timeout: millis(timeout),
    })
}
