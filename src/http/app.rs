//! What the handlers of either listener share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::auth::Authenticator;
use super::forward::Forwarded;
use super::places::{CallerStanding, NoPlace, Places, ResponsePlace};
use super::problem::{Code, Problem};
use crate::domain::{Caller, CredentialId, Timestamp};
use crate::encode::CompressionPool;
use crate::engine::{AskError, Engine};
use crate::shutdown::Shutdown;
use crate::telemetry::{Answered, Exposition, HeldBytes, Pulse, Tracer};

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
    pub(super) engine: Arc<Engine>,
    pub(super) authenticator: Authenticator,
    pub(super) settings: HttpSettings,
    pub(super) shutdown: Shutdown,
    pub(super) compression_pool: CompressionPool,
    pub(super) observer: Observer,
    /// What bodies gave and no socket has taken.
    pub(super) waiting: HeldBytes,
    /// One place for each answer under way.
    pub(super) places: Arc<Places>,
    /// How upstream's other paths are passed on; none if they are not.
    pub(super) forwarded: Option<Arc<Forwarded>>,
    pub(super) started_at: Timestamp,
    /// Whether the console is served.
    pub(super) has_console: bool,
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
            started_at: engine.now(),
            engine,
            authenticator,
            settings,
            shutdown,
            compression_pool,
            observer,
            waiting: HeldBytes::default(),
            places,
            forwarded: None,
            has_console: false,
        }
    }

    /// The same, which serves the console.
    #[must_use]
    pub fn with_console(mut self) -> Self {
        self.has_console = true;
        self
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
    pub(super) async fn unless_ended<T>(
        &self,
        work: impl Future<Output = Result<T, AskError>>,
    ) -> Result<T, AskError> {
        tokio::select! {
            biased;
            () = self.shutdown.end_ordered() => Err(AskError::ShuttingDown),
            done = work => done,
        }
    }

    /// A place among the responses under way; it is given back when the response's body is dropped.
    pub(super) fn take_place(
        &self,
        caller: Caller,
        credential: CredentialId,
    ) -> Result<ResponsePlace, Problem> {
        let is_known = self.engine.is_known(credential, caller);
        let standing = if is_known { CallerStanding::Known } else { CallerStanding::Unproven };
        let most = self.settings.max_questions;
        self.places.take(caller, standing).map_err(|no_place| match no_place {
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
