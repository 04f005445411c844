use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::readings_writer::ReadingsWriter;
use super::tier_readings::TierReadings;

/// Values that are read at each scrape.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// Responses in progress.
    pub questions: usize,
    /// Bytes of response bodies that no socket has accepted yet.
    pub waiting_bytes: u64,
    /// Bytes held by collected responses in progress; each entry counts once.
    pub response_bytes: u64,
    /// Tasks that a drain would wait for.
    pub tasks: usize,
    /// Scopes whose coverage is known.
    pub scopes: usize,
    /// Walks that were read again in pieces, since the start.
    pub repairs: u64,
    /// The factor by which times to live are stretched because the budget is short; 1 if they are not.
    pub stretch: f64,
    /// The change logs behind cursors.
    pub changes: ChangeLogReadings,
    /// What the cache holds.
    pub cache: CacheReadings,
    /// The requests to upstream, and the gate in front of it.
    pub upstream: UpstreamReadings,
    /// The tier; `None` without one.
    pub tier: Option<TierReadings>,
}

/// The requests to upstream since the start.
#[derive(Clone, Debug, Default)]
pub struct UpstreamReadings {
    /// Finished attempts by outcome.
    pub requests: Vec<(&'static str, u64)>,
    /// Attempts after a failed one.
    pub retries: u64,
    /// Bytes of pages that were read and not yet stored.
    pub page_bytes: u64,
    /// Requests that were never sent: no room, or the breaker is open.
    pub rejected: u64,
    /// Responses that violated the contract.
    pub malformed: u64,
    /// Bytes of bodies, decoded.
    pub body_bytes: u64,
    /// The state of the gate.
    pub gate: GateReadings,
}

/// The change logs behind cursors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeLogReadings {
    /// Logs that are kept.
    pub logs: usize,
    /// Their bytes in memory.
    pub bytes: u64,
    /// Logs that were dropped to make room, since the start.
    pub dropped: u64,
}

/// What the cache holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheReadings {
    /// Bytes it may hold.
    pub capacity: u64,
    /// Bytes it holds, including bookkeeping, indexes and plain forms.
    pub bytes: u64,
    /// Those of them that hold what is known of rows apart from their bytes.
    pub indexes: u64,
    /// Those of them that hold rows a second time: uncompressed, or in the form that is sent.
    pub plain: u64,
    /// Bytes of rows that are not deflated yet; they don't count in `bytes`.
    pub fresh: u64,
    /// Entries it holds.
    pub entries: u64,
    /// Entries evicted since the start.
    pub evictions: u64,
    /// Entries too large to be kept, since the start.
    pub refusals: u64,
}

/// What the gate in front of upstream does.
#[derive(Clone, Copy, Debug, Default)]
pub struct GateReadings {
    /// Requests in flight.
    pub in_flight: usize,
    /// Requests waiting for their turn.
    pub waiting: usize,
    /// Those of them whose keys upstream has not accepted yet.
    pub waiting_unproven: usize,
    /// Agents that are slowed down because upstream refuses their requests or lets them time out.
    pub slowed_agents: usize,
    /// The requests of the last period by caller, in the budget in which a single caller holds most.
    pub held: BudgetHoldings,
    /// The requests left in the tightest budget; `None` without a limit.
    pub budget_left: Option<usize>,
    /// The lowest fraction of its rate or connections that a lane has left after 429s or timeouts; 1 if there were none.
    pub rate_share: f64,
    /// How much of the longest pause is left.
    pub paused_for: Duration,
    /// The state of the breaker.
    pub breaker: BreakerState,
}

/// The requests of the last period, by caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetHoldings {
    /// Those of the caller with the most.
    pub largest: usize,
    /// Those of all other callers.
    pub others: usize,
    /// Those of keys that upstream had not accepted.
    pub unproven: usize,
}

/// The state of the breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests are sent.
    #[default]
    Closed,
    /// One request is sent to find out whether upstream has recovered.
    Probing,
    /// Requests are refused.
    Open,
}

/// Encodes readings as metrics.
pub(super) struct ReadingsCollector {
    /// Returns the current values.
    pub(super) read: Arc<dyn Fn() -> Readings + Send + Sync>,
}

impl fmt::Debug for ReadingsCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadingsCollector")
    }
}

impl Collector for ReadingsCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let readings = (self.read)();
        let mut writer = ReadingsWriter(encoder);
        readings.write(&mut writer)?;
        readings.changes.write(&mut writer)?;
        readings.cache.write(&mut writer)?;
        readings.upstream.gate.write(&mut writer)?;
        readings.upstream.write(&mut writer)?;
        readings.tier.map_or(Ok(()), |tier| tier.write(&mut writer))
    }
}

impl Readings {
    fn write(&self, writer: &mut ReadingsWriter<'_>) -> fmt::Result {
        writer.gauge("fanfold_questions", "Responses in progress", self.questions)?;
        writer.gauge(
            "fanfold_waiting_bytes",
            "Bytes of bodies that no socket has accepted yet",
            self.waiting_bytes,
        )?;
        writer.gauge(
            "fanfold_response_bytes",
            "Memory held by responses that are completed before they are sent",
            self.response_bytes,
        )?;
        writer.gauge("fanfold_tasks", "Tasks that a drain waits for", self.tasks)?;
        writer.gauge("fanfold_scopes", "Scopes whose coverage is known", self.scopes)?;
        writer.gauge(
            "fanfold_ttl_stretch",
            "The factor by which times to live are stretched because more is due than the budget allows",
            self.stretch,
        )?;
        writer.counter("fanfold_walk_repairs", "Walks that were read again in pieces", self.repairs)
    }
}

impl ChangeLogReadings {
    fn write(&self, writer: &mut ReadingsWriter<'_>) -> fmt::Result {
        writer.gauge("fanfold_change_logs", "Change logs that are kept for cursors", self.logs)?;
        writer.gauge("fanfold_change_log_bytes", "Memory of the change logs", self.bytes)?;
        writer.counter("fanfold_change_logs_dropped", "Change logs dropped to make room", self.dropped)
    }
}

impl CacheReadings {
    fn write(&self, writer: &mut ReadingsWriter<'_>) -> fmt::Result {
        writer.gauge("fanfold_cache_capacity_bytes", "Bytes the cache may hold", self.capacity)?;
        writer.gauge("fanfold_cache_bytes", "Bytes the cache holds, bookkeeping included", self.bytes)?;
        writer.gauge(
            "fanfold_cache_index_bytes",
            "Bytes of the cache that hold what is known of rows apart from their bytes",
            self.indexes,
        )?;
        writer.gauge(
            "fanfold_cache_plain_bytes",
            "Bytes of the cache that hold rows a second time, uncompressed or in the form that is sent",
            self.plain,
        )?;
        writer.gauge(
            "fanfold_cache_uncompressed_bytes",
            "Bytes of rows that are not compressed yet",
            self.fresh,
        )?;
        writer.gauge("fanfold_cache_entries", "Entries the cache holds", self.entries)?;
        writer.counter("fanfold_cache_evictions", "Entries dropped to make room", self.evictions)?;
        writer.counter("fanfold_cache_refusals", "Entries too large to be kept", self.refusals)
    }
}

impl GateReadings {
    fn write(&self, writer: &mut ReadingsWriter<'_>) -> fmt::Result {
        writer.gauge("fanfold_upstream_in_flight", "Requests to upstream in flight", self.in_flight)?;
        writer.gauge(
            "fanfold_upstream_waiting",
            "Requests to upstream that wait for their turn",
            self.waiting,
        )?;
        if let Some(left) = self.budget_left {
            writer.gauge("fanfold_budget_left", "Requests left in the tightest budget", left)?;
        }
        writer.gauge(
            "fanfold_gate_rate",
            "The fraction of the rate that 429s and timeouts have left; 1 is all of it",
            self.rate_share,
        )?;
        writer.gauge(
            "fanfold_gate_paused_seconds",
            "How long nothing is sent to upstream",
            self.paused_for.as_secs_f64(),
        )?;
        writer.gauge(
            "fanfold_gate_slowed_agents",
            "Agents that are slowed down because upstream refuses their requests or lets them time out",
            self.slowed_agents,
        )?;
        let breaker: u32 = match self.breaker {
            BreakerState::Closed => 0,
            BreakerState::Probing => 1,
            BreakerState::Open => 2,
        };
        writer.gauge("fanfold_breaker_state", "0 closed, 1 probing, 2 open", breaker)?;
        let unproven = self.waiting_unproven;
        writer.classes(
            "fanfold_gate_waiting",
            "Requests to upstream that wait for their turn, by whether upstream has accepted their key",
            &[("known", self.waiting.saturating_sub(unproven)), ("unproven", unproven)],
        )?;
        let BudgetHoldings { largest, others, unproven } = self.held;
        writer.classes(
            "fanfold_budget_held",
            "Requests of the last period by caller: the one with the most, all others, unproven keys",
            &[("largest", largest), ("others", others), ("unproven", unproven)],
        )
    }
}

impl UpstreamReadings {
    fn write(&self, writer: &mut ReadingsWriter<'_>) -> fmt::Result {
        writer.gauge(
            "fanfold_page_bytes",
            "Bytes of pages that were read and not yet stored",
            self.page_bytes,
        )?;
        writer.counter("fanfold_upstream_retries", "Attempts after a failed one", self.retries)?;
        writer.counter(
            "fanfold_upstream_rejected",
            "Requests that were never sent upstream",
            self.rejected,
        )?;
        writer.counter(
            "fanfold_upstream_malformed",
            "Responses that violate the contract",
            self.malformed,
        )?;
        writer.counter(
            "fanfold_upstream_body_bytes",
            "Bytes of upstream's bodies, decoded",
            self.body_bytes,
        )?;
        writer.counters(
            "fanfold_upstream_requests",
            "Finished attempts by outcome",
            "outcome",
            &self.requests,
        )
    }
}
