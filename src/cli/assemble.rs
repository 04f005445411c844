//! Assembles a gateway: the one place where the layers meet.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, OnceLock};

use axum::Router;
use http::HeaderValue;

use super::open_tier::OpenTier;
use crate::cache::MemoryStore;
use crate::clock::SteadyClock;
use crate::config::{Keys, ResponseSettings, Serve, TierPlace};
use crate::engine::{Clock, Engine, MemoryBounds};
use crate::http::auth::Authenticator;
use crate::http::{self as api, AdminApp, App, Forwarded, HttpSettings, Observer};
use crate::shutdown::Shutdown;
use crate::telemetry::{Answered, Metrics, Readings, RequestWatch, Tracer, Vitals};
use crate::upstream::forward::Forwarder;
use crate::upstream::{BaseUrl, DateParams, PlainHttp, Rate, Upstream, UpstreamSettings};

/// The divisor for the part of the cache that holds pages of upstream's own path and shared forwarded responses.
const RELAY_SHARE: u64 = 16;

/// The divisor for the part of that which holds shared forwarded responses. Agents and single executions are small.
const FORWARDED_SHARE: u64 = 4;

/// A gateway's routers for its two listeners.
#[derive(Debug)]
pub struct Gateway {
    /// For callers.
    pub public: Router,
    /// For probes, metrics and purge.
    pub admin: Router,
    /// The state of the process. The owner of the gateway beats its pulse and counts its connections.
    pub vitals: Vitals,
}

/// Assembles a gateway that traces with this tracer. Sends nothing upstream yet.
///
/// # Errors
/// Everything wrong with the files that the settings name, as sentences.
pub fn assemble(settings: &Serve, tracer: &Tracer, shutdown: &Shutdown) -> Result<Gateway, Vec<String>> {
    let watch = RequestWatch::new(tracer.clone());
    // One clock for all, because the difference from upstream's clock is valid only on the clock that measured it.
    let clock = SteadyClock::from_wall();
    let tier = OpenTier::open(settings, &clock, shutdown)?;
    let (upstream, authenticator) = match (upstream_settings(settings), authenticator(settings, tier.names)) {
        (Ok(upstream), Ok(authenticator)) => (upstream, authenticator),
        (upstream, authenticator) => {
            return Err(upstream.err().into_iter().chain(authenticator.err()).flatten().collect());
        }
    };
    let (upstream, forwarder) = upstream_clients(upstream, &watch, &clock, &tier)?;
    let cache = CacheShares::of(settings.cache_bytes);
    let store = Arc::new(MemoryStore::new(cache.rows));
    let engine = Arc::new(Engine::new(
        settings.reading.clone(),
        memory_bounds(&settings.answers, cache.relayed),
        Arc::<Upstream>::clone(&upstream),
        Arc::<MemoryStore>::clone(&store),
        tier.tier(),
        Clock::of(clock),
        shutdown.clone(),
    ));

    // The metrics read from the app, and the app counts in the metrics, so the app is added once it exists.
    let app_cell: Arc<OnceLock<Arc<App>>> = Arc::default();
    let read = {
        let (engine, shutdown, app) = (Arc::clone(&engine), shutdown.clone(), Arc::clone(&app_cell));
        move || Readings {
            questions: app.get().map_or(0, |app| app.questions_under_way()),
            waiting_bytes: app.get().map_or(0, |app| app.waiting_bytes()),
            response_bytes: engine.response_bytes(),
            tasks: shutdown.running(),
            scopes: engine.scopes(),
            repairs: engine.repairs(),
            stretch: engine.stretch(),
            changes: engine.change_logs(),
            cache: store.readings(),
            upstream: upstream.readings(),
            tier: tier.readings(),
        }
    };
    let vitals = Vitals::default();
    let metrics = Arc::new(Metrics::new(Arc::new(read), &watch, vitals.clone()));
    let observe = {
        let metrics = Arc::clone(&metrics);
        Arc::new(move |answered: &Answered| metrics.answered(answered))
    };
    let observer = Observer { observe, tracer: tracer.clone() };
    let http_settings = http_settings(settings)?;
    let forwarded = Forwarded::new(settings.upstream.forwarding, Arc::new(forwarder), cache.forwarded);
    let forwarded = Arc::new(forwarded);
    let app = App::new(Arc::clone(&engine), authenticator, http_settings, shutdown.clone(), observer);
    let app = if settings.answers.has_console { app.with_console() } else { app };
    let app = Arc::new(app.with_forwarded(Arc::clone(&forwarded)));
    let _ = app_cell.set(Arc::clone(&app));
    let admin = AdminApp {
        engine,
        shutdown: shutdown.clone(),
        pulse: vitals.pulse.clone(),
        forwarded: Some(forwarded),
        render_metrics: Arc::new(move |exposition| metrics.render(exposition)),
    };
    Ok(Gateway { public: api::public(app), admin: api::admin(Arc::new(admin)), vitals })
}

/// How `--cache-bytes` is divided between rows, upstream's own pages and shared forwarded responses.
struct CacheShares {
    rows: u64,
    relayed: u64,
    forwarded: u64,
}

impl CacheShares {
    const fn of(cache_bytes: u64) -> Self {
        let others = cache_bytes / RELAY_SHARE;
        let forwarded = others / FORWARDED_SHARE;
        Self { rows: cache_bytes - others, relayed: others - forwarded, forwarded }
    }
}

fn upstream_settings(settings: &Serve) -> Result<UpstreamSettings, Vec<String>> {
    let say = |error: &dyn std::fmt::Display| vec![error.to_string()];
    let plain_http =
        if settings.upstream.is_insecure { PlainHttp::Anywhere } else { PlainHttp::LoopbackOnly };
    let base_url = BaseUrl::parse(settings.upstream.url.as_str(), plain_http).map_err(|error| say(&error))?;
    let ca_pem = match &settings.upstream.ca_file {
        Some(file) => Some(std::fs::read(file).map_err(|error| say(&error))?),
        None => None,
    };
    let budget = &settings.budget;
    let upstream = UpstreamSettings {
        base_url,
        ca_pem,
        attempt_timeout: settings.upstream.timeout,
        rate: budget
            .rate
            .map(|rate| if shares_budget(settings) { rate } else { share(rate, budget.replicas) }),
        rate_scope: budget.scope,
        concurrency: NonZeroUsize::new(budget.concurrency).unwrap_or(NonZeroUsize::MIN),
        refresh_reserve: budget.refresh_reserve,
        dates: if settings.reading.window.is_some() { DateParams::Sent } else { DateParams::LeftOut },
    };
    Ok(upstream)
}

/// Whether a server keeps one budget for all processes.
fn shares_budget(settings: &Serve) -> bool {
    settings.tier.as_ref().is_some_and(|tier| matches!(tier.place, TierPlace::Server(_)))
}

/// The part of a rate that one of several processes may use, so that all together stay within the rate.
fn share(rate: Rate, replicas: usize) -> Rate {
    let count = rate.count.get() / u32::try_from(replicas).unwrap_or(u32::MAX).max(1);
    Rate { count: NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN), ..rate }
}

/// Creates the two clients that send requests upstream: the gateway's own, and forwarded ones.
fn upstream_clients(
    settings: UpstreamSettings,
    watch: &RequestWatch,
    clock: &SteadyClock,
    tier: &OpenTier,
) -> Result<(Arc<Upstream>, Forwarder), Vec<String>> {
    let say = |error: &dyn std::fmt::Display| vec![error.to_string()];
    let forwarder = Forwarder::new(&settings).map_err(|error| say(&error))?;
    let upstream = Upstream::new(settings, watch.clone(), clock.clone(), tier.times());
    Ok((upstream.map_err(|error| say(&error))?, forwarder))
}

fn authenticator(settings: &Serve, names: Option<[u8; 32]>) -> Result<Authenticator, Vec<String>> {
    match &settings.upstream.keys {
        Keys::PassedThrough => {
            Ok(names.map_or_else(Authenticator::pass_through, Authenticator::pass_through_with))
        }
        Keys::Held { key_file, tokens_file } => Authenticator::held(key_file, tokens_file),
    }
}

/// What the engine may hold in memory outside the store.
///
/// All collected responses in progress together may take a quarter more than the largest single one, because metadata about
/// rows counts too. The bound is at least 64 MiB, so that a low limit for one response does not restrict the gateway to one
/// response at a time.
fn memory_bounds(answers: &ResponseSettings, relayed_pages: u64) -> MemoryBounds {
    const LEAST: u64 = 64 << 20;
    let responses = answers.max_json_bytes.saturating_add(answers.max_json_bytes / 4).max(LEAST);
    MemoryBounds { responses, change_logs: answers.cursor_bytes, relayed_pages }
}

fn http_settings(settings: &Serve) -> Result<HttpSettings, Vec<String>> {
    let answers = &settings.answers;
    let origins: Result<_, _> = answers.cors_origins.iter().map(HeaderValue::try_from).collect();
    Ok(HttpSettings {
        max_json_bytes: answers.max_json_bytes,
        request_deadline: answers.request_deadline,
        max_questions: answers.max_questions,
        cors_origins: origins.map_err(|error| vec![error.to_string()])?,
    })
}
