use std::convert::Infallible;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::gateway::{GatewayLink, GatewayStatus, GatewayStream, LinkError};
use super::show::DisplayStyle;
use crate::clock::SteadyClock;
use crate::domain::{AgentId, Rounding, Timestamp};
use crate::export::{
    AskedAgents, EndError, Ending, ExportOutcome, ExportQuestion, ExportSink, Meter, SinkError, TargetError,
    number,
};
use crate::shutdown::Shutdown;

/// How many chunks may wait to be written.
const CHUNKS: usize = 4;

/// How long an export waits in total for a gateway that refuses its request for now.
const PATIENCE: Duration = Duration::from_mins(15);

/// How long the gateway must be silent before it is asked for its status, and how often it is then asked.
const STATUS_INTERVAL: Duration = Duration::from_secs(3);

/// How long an export runs before it asks when the agent's history begins. Most exports take less.
const LOOK_UP_AFTER: Duration = Duration::from_secs(2);

/// One export from a gateway.
#[derive(Clone, Copy)]
pub(super) struct Fetch<'a> {
    pub(super) link: &'a GatewayLink,
    pub(super) question: &'a ExportQuestion,
    pub(super) meter: &'a Arc<Meter>,
    pub(super) style: DisplayStyle,
    pub(super) shutdown: &'a Shutdown,
}

/// Why an export is not complete.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportFailure {
    /// The gateway sent no response, or its response broke off.
    #[error("{0}")]
    Link(LinkError),
    /// The gateway could not read everything.
    #[error("the gateway could not finish: {detail} ({code}, request {request_id})", detail = .0.detail, code = .0.code, request_id = .0.request_id)]
    GaveUp(EndError),
    /// The response is not what the gateway sent: a proxy may have changed it.
    #[error("the response announces {said} executions, but {came} arrived", said = number(*said), came = number(*came))]
    Miscounted {
        /// The count in the end record.
        said: u64,
        /// The count of rows that arrived.
        came: u64,
    },
    /// The response ended early.
    #[error("the response was cut off{0}")]
    CutOff(String),
    /// The output can't be written.
    #[error("the output can't be written: {0}")]
    Sink(#[from] SinkError),
    /// The complete file can't get its name.
    #[error("{0}")]
    Target(TargetError),
}

impl ExportFailure {
    /// Whether the gateway no longer knows the cursor.
    pub(super) fn is_cursor_gone(&self) -> bool {
        matches!(self, Self::Link(LinkError::Refused(refusal)) if refusal.has_code("cursor_gone"))
    }

    /// Whether the reader of standard output is gone.
    pub(super) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Sink(SinkError::Io(error)) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

impl Fetch<'_> {
    /// Requests the target and writes the whole response into a file.
    pub(super) async fn run(self, target: &str, file: File) -> Result<ExportOutcome, ExportFailure> {
        let stream = self.begin(target).await?;
        self.look_up_beginning();
        let (chunks, taken) = mpsc::channel(CHUNKS);
        let encoder = self.question.rows.encoder(&self.question.agents);
        let sink = ExportSink::new(file, encoder, Arc::clone(self.meter));
        let writing = tokio::task::spawn_blocking(move || sink.write_all(taken));
        let broken = self.pass_on(stream, chunks).await.err();
        let written = match writing.await {
            Ok(written) => written.map_err(ExportFailure::Sink)?,
            Err(error) => return Err(ExportFailure::CutOff(format!(": {error}"))),
        };
        match written.ending {
            Ending::Complete(_) => Ok(written),
            Ending::Failed(error) => Err(ExportFailure::GaveUp(error)),
            Ending::Miscounted { said, came } => Err(ExportFailure::Miscounted { said, came }),
            Ending::CutOff => {
                Err(ExportFailure::CutOff(broken.map_or_else(String::new, |error| format!(": {error}"))))
            }
        }
    }

    /// Returns the stream once it has begun. Tries again after a refusal that says when.
    async fn begin(&self, target: &str) -> Result<GatewayStream, ExportFailure> {
        let mut left = PATIENCE;
        loop {
            let refusal = match self.with_status(self.link.rows(target)).await {
                Ok(stream) => return Ok(stream),
                Err(LinkError::Refused(refusal)) => refusal,
                Err(error) => return Err(ExportFailure::Link(error)),
            };
            let wait = match refusal.retry_after {
                Some(wait) if wait <= left => wait.max(Duration::from_secs(1)),
                Some(_) | None => return Err(ExportFailure::Link(LinkError::Refused(refusal))),
            };
            left = left.saturating_sub(wait);
            self.meter.waits(Some(format!("{refusal}; trying again in {} s", wait.as_secs())));
            sleep(wait).await;
            self.meter.waits(None);
        }
    }

    /// Passes chunks to the writer until the stream or the writer ends.
    async fn pass_on(&self, mut stream: GatewayStream, chunks: mpsc::Sender<Bytes>) -> Result<(), LinkError> {
        while let Some(chunk) = self.with_status(stream.chunk()).await? {
            if chunks.send(chunk).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Waits for the gateway, and meanwhile shows what the gateway itself waits for.
    async fn with_status<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            done = work => done,
            never = self.poll_status() => match never {},
        }
    }

    /// Shows what the gateway waits for, again and again.
    async fn poll_status(&self) -> Infallible {
        loop {
            sleep(STATUS_INTERVAL).await;
            if self.style != DisplayStyle::Hidden {
                let status = self.link.document::<GatewayStatus>("/status").await;
                self.meter.waits(status.map(|status| reason(&status)));
            }
        }
    }

    /// Looks up when the agent's history begins, if progress can't be estimated otherwise.
    fn look_up_beginning(&self) {
        let AskedAgents::One(agent) = self.question.agents else { return };
        let is_known = ["from", "limit"].iter().any(|name| self.question.parameter(name).is_some());
        if is_known || self.style == DisplayStyle::Hidden {
            return;
        }
        let (link, meter) = (self.link.clone(), Arc::clone(self.meter));
        self.shutdown.spawn(async move {
            sleep(LOOK_UP_AFTER).await;
            if let Some(begins) = beginning(&link, agent).await {
                meter.history_begins(begins);
            }
        });
    }
}

/// When an agent was created.
async fn beginning(link: &GatewayLink, agent: AgentId) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct AgentCreation {
        created_at: String,
    }

    let created: AgentCreation = link.document(&format!("/v2/agent/{agent}")).await?;
    Timestamp::parse(&created.created_at, Rounding::Down)
}

/// What a gateway waits for, in words.
fn reason(status: &GatewayStatus) -> String {
    match status.upstream.as_str() {
        "down" => "upstream is failing; the gateway is retrying".to_owned(),
        "limited" => match status.budget.paused_until.as_deref().and_then(seconds_until) {
            Some(seconds) => format!("waiting {seconds} s for the request budget"),
            None => "waiting for the request budget".to_owned(),
        },
        _ => "waiting for upstream".to_owned(),
    }
}

/// The seconds from now until an instant; `None` if it has passed.
fn seconds_until(text: &str) -> Option<u64> {
    let then = Timestamp::parse(text, Rounding::Up)?;
    let seconds = then.since(SteadyClock::from_wall().now()).as_secs();
    (seconds > 0).then_some(seconds)
}
