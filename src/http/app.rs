//! State shared by the handlers of either listener.

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

/// Settings of the public listener; see the flags of `serve`.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The maximum size of a collected response, in bytes of rows.
    pub max_json_bytes: u64,
    /// The longest wait for a collected response, and for the next row of a stream.
    pub request_deadline: Duration,
    /// The maximum number of responses in progress.
    pub max_questions: usize,
    /// Allowed browser origins; `*` for any.
    pub cors_origins: Vec<HeaderValue>,
}

/// Where responses are reported.
#[derive(Clone)]
pub struct Observer {
    /// Called with every response when it is over.
    pub observe: Arc<dyn Fn(&Answered) + Send + Sync>,
    /// Creates the span of every response.
    pub tracer: Tracer,
}

/// State shared by the handlers of the public listener.
pub struct App {
    pub(super) engine: Arc<Engine>,
    pub(super) authenticator: Authenticator,
    pub(super) settings: HttpSettings,
    pub(super) shutdown: Shutdown,
    pub(super) compression_pool: CompressionPool,
    pub(super) observer: Observer,
    /// Bytes that bodies have produced and no socket has accepted.
    pub(super) waiting: HeldBytes,
    /// One place for each response in progress.
    pub(super) places: Arc<Places>,
    /// Forwards upstream's other paths; `None` if forwarding is off.
    pub(super) forwarded: Option<Arc<Forwarded>>,
    pub(super) started_at: Timestamp,
    /// Whether the console is served.
    pub(super) has_console: bool,
}

impl App {
    /// Creates the state of the public listener.
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

    /// Enables forwarding of upstream's other paths.
    #[must_use]
    pub fn with_forwarded(mut self, forwarded: Arc<Forwarded>) -> Self {
        self.forwarded = Some(forwarded);
        self
    }

    /// The number of responses in progress.
    pub fn questions_under_way(&self) -> usize {
        self.places.taken()
    }

    /// The number of bytes that wait for slow readers.
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting.held()
    }

    /// Waits for the engine, at most until the drain ends. A caller that still waits then gets
    /// `shutting_down`, while its connection still exists. Pass a boxed future: it is large, and moved
    /// several times on its way here.
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

    /// Takes a place for a response in progress. Dropping the response's body releases it.
    pub(super) fn take_place(
        &self,
        caller: Caller,
        credential: CredentialId,
    ) -> Result<ResponsePlace, Problem> {
        self.take_place_in(&self.places, "responses", caller, credential)
    }

    /// Takes one of these places, which are for `what`.
    pub(super) fn take_place_in(
        &self,
        places: &Arc<Places>,
        what: &str,
        caller: Caller,
        credential: CredentialId,
    ) -> Result<ResponsePlace, Problem> {
        let is_known = self.engine.is_known(credential, caller);
        let standing = if is_known { CallerStanding::Known } else { CallerStanding::Unproven };
        let most = places.most();
        places.take(caller, standing).map_err(|no_place| match no_place {
            NoPlace::AllTaken => {
                Problem::new(Code::Overloaded, format!("{most} {what} are in progress, which is the limit"))
            }
            NoPlace::ShareTaken => Problem::new(
                Code::RateLimited,
                format!("this caller already has its share of the {most} {what} that may be in progress"),
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
            .field("authenticator", &self.authenticator)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// State shared by the handlers of the admin listener.
pub struct AdminApp {
    /// The engine whose data is purged.
    pub engine: Arc<Engine>,
    /// The process is ready until it drains.
    pub shutdown: Shutdown,
    /// The process is alive while its engine makes progress.
    pub pulse: Pulse,
    /// Forwarded responses, which are purged as well; `None` if forwarding is off.
    pub forwarded: Option<Arc<Forwarded>>,
    /// Renders the metrics.
    pub render_metrics: Arc<dyn Fn(Exposition) -> String + Send + Sync>,
}

impl fmt::Debug for AdminApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminApp").finish_non_exhaustive()
    }
}
