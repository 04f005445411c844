//! The public face: paths, parameters, who may ask, what an answer looks like.
//!
//! A request goes through [`access_log`] (its id, its line in the log, and the one place where a [`Problem`] is written
//! down), perhaps CORS, the [`router`], and a handler. A handler finds out who asks about what ([`authorized`]), parses, calls the
//! engine and presents. Where a row came from is not known here but by what the engine says of it.
//!
//! Nothing is spawned: a body is pulled by its reader, holds its place among the questions under way, and whatever it
//! holds goes when it is dropped, be it at its end or because the client left.

pub mod auth;
pub mod problem;

mod access_log;
mod admin;
mod all;
mod authorized;
mod body;
mod cors;
mod docs;
mod fields;
mod forward;
#[cfg(any(test, fuzzing))]
pub mod fuzzed;
mod host;
mod negotiate;
mod page;
mod params;
mod places;
mod prefer;
mod present;
mod projection;
mod question;
mod recheck;
mod router;
mod summary;
mod summary_params;
#[cfg(test)]
mod testing;
mod unread;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use self::auth::Authenticator;
use self::authorized::AuthorizedRequest;
use self::places::{CallerStanding, NoPlace, Places, ResponsePlace};
use self::problem::{Code, Problem};
use crate::encode::CompressionPool;
use crate::engine::{AskError, Engine};
use crate::shutdown::Shutdown;
use crate::telemetry::{Answered, Exposition, HeldBytes, Pulse, Tracer};

pub use forward::{Forwarded, Forwarding};
pub use page::PAGE_PARAMETERS;
pub use question::ALL_PARAMETERS;
pub use router::{admin, public};
pub use summary_params::SUMMARY_PARAMETERS;

/// The description of the public face, as it is served at `/openapi.yaml`.
pub const OPENAPI: &str = include_str!("../../openapi.yaml");

/// What the public face is told at start; see the settings of `serve` for each.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The largest collected answer, in bytes of rows.
    pub max_json_bytes: u64,
    /// The longest wait for a collected answer, and for the next row of a stream.
    pub request_deadline: Duration,
    /// Answers under way at once.
    pub max_questions: usize,
    /// Browser origins that may ask; `*` for any.
    pub cors_origins: Vec<HeaderValue>,
}

/// Who is told of answers.
#[derive(Clone)]
pub struct Observer {
    /// Told of every answer when it is over.
    pub observe: Arc<dyn Fn(&Answered) + Send + Sync>,
    /// Makes the span of every answer.
    pub tracer: Tracer,
}

/// What the handlers of the public listener share.
pub struct App {
    engine: Arc<Engine>,
    authenticator: Authenticator,
    settings: HttpSettings,
    shutdown: Shutdown,
    compression_pool: CompressionPool,
    observer: Observer,
    /// What bodies gave and no socket has taken.
    waiting: HeldBytes,
    /// One place for each answer under way.
    places: Arc<Places>,
    /// How upstream's other paths are passed on; none if they are not.
    forwarded: Option<Arc<Forwarded>>,
}

impl App {
    /// Puts the public face together.
    pub fn new(
        engine: Arc<Engine>,
        authenticator: Authenticator,
        settings: HttpSettings,
        shutdown: Shutdown,
        observer: Observer,
    ) -> Self {
        let cores = std::thread::available_parallelism().unwrap_or(std::num::NonZeroUsize::MIN);
        let places = Arc::new(Places::new(settings.max_questions));
        let compression_pool = CompressionPool::new(cores);
        Self {
            engine,
            authenticator,
            settings,
            shutdown,
            compression_pool,
            observer,
            waiting: HeldBytes::default(),
            places,
            forwarded: None,
        }
    }

    /// The same, which passes on upstream's other paths.
    #[must_use]
    pub fn with_forwarded(mut self, forwarded: Arc<Forwarded>) -> Self {
        self.forwarded = Some(forwarded);
        self
    }

    /// How many answers are under way.
    pub fn questions_under_way(&self) -> usize {
        self.places.taken()
    }

    /// How many bytes wait for slow readers.
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting.held()
    }

    /// Waits for the engine, but not past the end of a drain: who still waits then is told so, while there is somebody to
    /// tell them. What it waits for is best in a box: it is large, and moves on its way here.
    async fn unless_ended<T>(&self, work: impl Future<Output = Result<T, AskError>>) -> Result<T, AskError> {
        tokio::select! {
            biased;
            () = self.shutdown.end_ordered() => Err(AskError::ShuttingDown),
            done = work => done,
        }
    }

    /// A place among the responses under way; it is given back when the response's body is dropped.
    fn take_place(&self, authorized: &AuthorizedRequest) -> Result<ResponsePlace, Problem> {
        let is_known = self.engine.is_known(authorized.credential.id(), authorized.caller);
        let standing = if is_known { CallerStanding::Known } else { CallerStanding::Unproven };
        let most = self.settings.max_questions;
        self.places.take(authorized.caller, standing).map_err(|no_place| match no_place {
            NoPlace::AllTaken => Problem::new(
                Code::Overloaded,
                format!("{most} questions are under way, which is the most there may be"),
            ),
            NoPlace::ShareTaken => Problem::new(
                Code::RateLimited,
                format!("this caller's share of the {most} questions that may be under way is taken"),
            ),
        })
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("doors", &self.authenticator)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// What the handlers of the admin listener share.
pub struct AdminApp {
    /// Whose knowledge is purged.
    pub engine: Arc<Engine>,
    /// Whether the process is ready is whether it does not drain.
    pub shutdown: Shutdown,
    /// Whether the process is alive is whether its engine makes progress.
    pub pulse: Pulse,
    /// What of upstream's other answers is purged with it; none if none are passed on.
    pub forwarded: Option<Arc<Forwarded>>,
    /// Writes the metrics down.
    pub render_metrics: Arc<dyn Fn(Exposition) -> String + Send + Sync>,
}

impl fmt::Debug for AdminApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminApp").finish_non_exhaustive()
    }
}
