//! An answer under way: takes rows from what is known and from what is being read, newest first.
//!
//! It goes through its plan from the newest part to the oldest and holds on to nothing but tickets for its readings.
//! A part that was known when the plan was made and is gone when its turn comes is planned again, with the same end
//! and by the same time, so that nothing read for this question counts as due. A part that can't be read is given
//! from what is known, if that may be stale; left out, if the question is lenient; or ends the answer.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::AskError;
use super::ask::{drop_refused, is_lenient, urgency};
use super::freshness::Policy;
use super::inner::Inner;
use super::plan::{self, Item, Plan, Probe};
use super::question::{Tolerance, Wish};
use super::reading::{Appetite, Ended, Found, Keep, Purpose, Reading, Ticket};
use super::scope::{Known, Scope};
use super::verdict::{CacheReport, Collected, Freshness, Missing, StaleReason, Verdict};
use crate::domain::{Digest, EntrySlice, RowId, Span, Status, Timestamp};
use crate::source::{SourceError, Turn, Urgency};

/// How long an answer that may be stale waits for room in the budget.
const STALE_BUDGET_WAIT: Duration = Duration::from_secs(2);

/// How often an answer plans again without having come further.
const MAX_REPLANS: u32 = 24;

/// How often probes are followed by other probes before the answer goes on.
const MAX_PROBE_ROUNDS: usize = 2;

/// What an answer is made by, fixed when the question came.
pub(super) struct Frame {
    pub(super) inner: Arc<Inner>,
    pub(super) scope: Arc<Scope>,
    /// What is asked about, its end pinned.
    pub(super) span: Span,
    /// The present, by upstream's clock: nothing later is looked at.
    pub(super) present: Timestamp,
    /// The question's own `to`.
    pub(super) asked_to: Option<Timestamp>,
    pub(super) policy: Policy,
    /// The status that rows are filtered by here.
    pub(super) status: Option<Status>,
    pub(super) asked_at: Timestamp,
    pub(super) turn: Turn,
    pub(super) keep: Keep,
    pub(super) appetite: Appetite,
    pub(super) in_flight: Arc<Semaphore>,
    pub(super) tolerance: Tolerance,
    pub(super) wish: Wish,
    pub(super) deadline: Option<Instant>,
}

/// An answer under way.
///
/// Dropping it ends its own reads at their next page; those that others wait for go on.
pub struct Answer {
    frame: Option<Frame>,
    steps: VecDeque<Step>,
    ready: VecDeque<EntrySlice>,
    foregone: Option<Verdict>,
    tally: Tally,
    /// What may be given, at worst, if upstream fails.
    fallback: Option<Span>,
    replans: u32,
    /// How often everything given so far was taken back; only ever for an answer that is collected.
    restarts: u32,
    /// Ids of rows without a date of their own: only those can turn up in two places.
    undated: HashSet<RowId>,
}

enum Step {
    Known(Span),
    Read(Span, Ticket, Origin),
}

/// Who began a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Own,
    Joined,
}

/// What is known of the answer so far.
#[derive(Clone, Debug)]
struct Tally {
    as_of: Timestamp,
    count: u64,
    digest: Digest,
    missing: Vec<Missing>,
    freshness: Freshness,
    report: CacheReport,
    stale: Option<StaleReason>,
}

impl Answer {
    /// The answer to a question about a time without executions.
    pub(super) fn empty(as_of: Timestamp) -> Self {
        let tally = Tally::new(as_of);
        let foregone = Some(tally.verdict());
        Self::of(None, tally, foregone)
    }

    fn of(frame: Option<Frame>, tally: Tally, foregone: Option<Verdict>) -> Self {
        let (steps, ready, undated) = (VecDeque::new(), VecDeque::new(), HashSet::new());
        Self { frame, steps, ready, foregone, tally, fallback: None, replans: 0, restarts: 0, undated }
    }

    /// Plans, asks what must be asked before anything can be given, and begins to read.
    pub(super) async fn begin(mut frame: Frame) -> Result<Self, AskError> {
        let tally = Tally::new(frame.as_of());
        let mut fallback = None;
        for round in 0..=MAX_PROBE_ROUNDS {
            let plan = frame.plan(frame.span);
            frame.turn.urgency = urgency(plan.gaps);
            if plan.reads_nothing() {
                frame.renew(&plan.renewals);
                return Ok(Self::foregone_from(frame, tally, plan.known.unwrap_or_default()));
            }
            if round == 0 {
                let allowed =
                    frame.inner.settings.stale_while_revalidate.max(frame.wish.max_stale.unwrap_or_default());
                if let Some(span) = frame.stale_span(allowed) {
                    return Ok(Self::stale(frame, tally, span, &plan));
                }
                if frame.wish.only_if_cached {
                    return Err(AskError::NotCached);
                }
                fallback = frame.stale_span(frame.inner.settings.stale_if_error);
                if fallback.is_some() {
                    (frame.turn.retry_for, frame.turn.budget_wait) =
                        (Duration::ZERO, Some(STALE_BUDGET_WAIT));
                }
            }
            if plan.probes.is_empty() || round == MAX_PROBE_ROUNDS {
                let mut answer = Self::of(Some(frame), tally, None);
                answer.fallback = fallback;
                answer.read(&plan);
                return Ok(answer);
            }
            if let Err(error) = frame.probe(&plan.probes).await {
                let mut answer = Self::of(Some(frame), tally, None);
                answer.fallback = fallback;
                let whole = answer.frame.as_ref().map_or(Span::at(Timestamp::MIN), |frame| frame.span);
                answer.failed(whole, Ended::Failed(error), Origin::Own).await?;
                return Ok(answer);
            }
        }
        Err(AskError::NotCached)
    }

    /// An answer out of nothing but what is known. All of it is taken at once, so that what was said of it before
    /// the first row holds to the last.
    fn foregone_from(frame: Frame, mut tally: Tally, freshness: Freshness) -> Self {
        tally.freshness = freshness;
        let span = frame.span;
        let mut answer = Self::of(Some(frame), tally, None);
        answer.steps.push_back(Step::Known(span));
        while let Some(Step::Known(span)) = answer.steps.pop_front() {
            let Some(slice) = answer.take(span) else {
                // Evicted between the plan and now: it goes the ordinary way.
                answer.replan(span);
                return answer;
            };
            answer.give(slice, How::Hit);
        }
        answer.foregone = Some(answer.tally.verdict());
        answer
    }

    fn stale(frame: Frame, mut tally: Tally, span: Span, plan: &Plan) -> Self {
        if !frame.wish.only_if_cached {
            frame.revalidate(plan);
        }
        tally.stale = Some(StaleReason::Revalidating);
        let mut frame = frame;
        frame.narrow(span);
        tally.as_of = frame.as_of();
        Self::foregone_from(frame, tally, plan.known.unwrap_or_default())
    }

    fn read(&mut self, plan: &Plan) {
        let Some(frame) = &self.frame else { return };
        self.tally.freshness =
            plan.known.unwrap_or(Freshness { age: Duration::ZERO, lifetime: frame.policy.settled });
        if plan.gaps != plan::Gaps::None || plan.items.iter().any(|item| matches!(item, Item::Read(_))) {
            let is_old = frame.span.to() < frame.asked_at.minus(frame.policy.settle_after);
            let lifetime = if is_old { frame.policy.settling } else { frame.policy.live };
            self.tally.freshness = self.tally.freshness.sooner(Freshness { age: Duration::ZERO, lifetime });
        }
        frame.renew(&plan.renewals);
        self.steps = frame.steps(&plan.items, plan.gaps);
        self.look_ahead();
    }

    /// Waits until the first rows are there.
    pub(super) async fn prime(&mut self) -> Result<(), AskError> {
        while self.ready.is_empty() && !self.steps.is_empty() {
            self.step().await?;
        }
        Ok(())
    }

    /// The verdict, if it is certain before any row is taken: everything was known when the question came.
    pub const fn foregone(&self) -> Option<&Verdict> {
        self.foregone.as_ref()
    }

    /// The next rows, newest first; none at the end.
    ///
    /// # Errors
    /// As [`Engine::ask`](super::Engine::ask). After an error nothing more comes.
    pub async fn next(&mut self) -> Result<Option<EntrySlice>, AskError> {
        loop {
            if let Some(slice) = self.ready.pop_front() {
                return Ok(Some(slice));
            }
            if self.steps.is_empty() {
                return Ok(None);
            }
            if let Err(error) = self.step().await {
                self.steps.clear();
                return Err(error);
            }
        }
    }

    /// What the answer says of itself. Of the whole answer once [`next`](Self::next) gave none, of what was given
    /// so far before.
    pub fn verdict(&self) -> Verdict {
        self.tally.verdict()
    }

    /// Takes all rows.
    ///
    /// # Errors
    /// As [`Engine::ask`](super::Engine::ask), and [`AskError::TooLarge`] as soon as the rows exceed `max_bytes`.
    pub async fn collect(mut self, max_bytes: u64) -> Result<Collected, AskError> {
        let deadline = self.frame.as_ref().and_then(|frame| frame.deadline);
        let (mut slices, mut bytes) = (Vec::new(), 0u64);
        let mut restarts = self.restarts;
        loop {
            let next = match deadline {
                None => self.next().await,
                Some(deadline) => match tokio::time::timeout_at(deadline, self.next()).await {
                    Ok(next) => next,
                    Err(_) => Err(self.not_ready()),
                },
            };
            let next = next?;
            if restarts != self.restarts {
                (restarts, bytes) = (self.restarts, 0);
                slices.clear();
            }
            let Some(slice) = next else { break };
            bytes += slice.byte_len() as u64;
            if bytes > max_bytes {
                return Err(AskError::TooLarge { limit: max_bytes });
            }
            slices.push(slice);
        }
        Ok(Collected { slices, verdict: self.verdict() })
    }

    fn not_ready(&self) -> AskError {
        let readings = self.steps.iter().filter_map(|step| match step {
            Step::Read(_, ticket, _) => Some(ticket.reading().progress()),
            Step::Known(_) => None,
        });
        let (read, planned) = readings.fold((0, 0), |(r, p), (read, planned)| (r + read, p + planned));
        let read = read + self.tally.report.upstream_requests;
        AskError::NotReady {
            pages_read: read,
            pages_planned: planned.max(read),
            retry_after: Duration::from_secs(2),
        }
    }

    /// Goes one step further: takes a piece from where the plan says, or deals with its not being there.
    async fn step(&mut self) -> Result<(), AskError> {
        match self.steps.front() {
            None => Ok(()),
            Some(Step::Known(span)) => {
                let span = *span;
                self.steps.pop_front();
                match self.take(span) {
                    Some(slice) => self.give(slice, How::Hit),
                    None => self.replan(span),
                }
                self.look_ahead();
                Ok(())
            }
            Some(Step::Read(span, ticket, origin)) => {
                let (span, origin) = (*span, *origin);
                ticket.attend();
                let found = ticket.piece_at(span.to()).await;
                match found {
                    Ok(Found::Piece { span: piece, slices }) => {
                        self.took(span, piece, slices, origin);
                        Ok(())
                    }
                    Ok(Found::Gone) => {
                        self.leave_reading();
                        self.replan(span);
                        Ok(())
                    }
                    Err(ended) => {
                        self.leave_reading();
                        self.failed(span, ended, origin).await
                    }
                }
            }
        }
    }

    /// Takes what lies at the top of a known span, and puts the rest of the span back; none if nothing is kept there.
    fn take(&mut self, span: Span) -> Option<Option<EntrySlice>> {
        let frame = self.frame.as_ref()?;
        let (part, slice) = frame.scope.take(&*frame.inner.store, span)?;
        if let Some(rest) = span.before(part.from()) {
            self.steps.push_front(Step::Known(rest));
        }
        Some(slice.and_then(|slice| frame.filtered(slice, part)))
    }

    fn took(&mut self, span: Span, piece: Span, slices: Vec<EntrySlice>, origin: Origin) {
        self.replans = 0;
        let Some(frame) = &self.frame else { return };
        let Some(part) = piece.intersection(span) else { return };
        let how = if origin == Origin::Own { How::Miss } else { How::Joined };
        let kept: Vec<EntrySlice> =
            slices.into_iter().filter_map(|slice| frame.filtered(slice, part)).collect();
        match (span.before(part.from()), self.steps.front_mut()) {
            (Some(rest), Some(Step::Read(span, ..))) => *span = rest,
            _ => {
                self.leave_reading();
            }
        }
        kept.into_iter().for_each(|slice| self.give(Some(slice), how));
        self.look_ahead();
    }

    fn leave_reading(&mut self) {
        if let Some(Step::Read(_, ticket, Origin::Own)) = self.steps.pop_front() {
            self.tally.report.upstream_requests += ticket.reading().progress().0;
        }
    }

    fn give(&mut self, slice: Option<EntrySlice>, how: How) {
        let Some(slice) = slice else { return };
        let undated = &mut self.undated;
        let slice = slice.filtered(|row| row.is_dated || undated.insert(row.id.clone()));
        if let Some(slice) = slice {
            self.tally.add(&slice, how);
            self.ready.push_back(slice);
        }
    }

    /// Plans a part again: it is not where it was.
    fn replan(&mut self, span: Span) {
        self.replans += 1;
        let Some(frame) = &self.frame else { return };
        let plan = frame.plan(span);
        let mut steps = frame.steps(&plan.items, plan.gaps);
        steps.append(&mut self.steps);
        self.steps = steps;
        self.look_ahead();
    }

    /// Starts the readings that come next: all of them for an answer that is collected, and for a stream as many as
    /// have a fan-out of pages between them.
    fn look_ahead(&self) {
        let Some(frame) = &self.frame else { return };
        let mut pages = 0;
        for step in &self.steps {
            if let Step::Read(_, ticket, _) = step {
                if frame.appetite != Appetite::Whole && pages >= frame.inner.settings.fan_out {
                    return;
                }
                frame.inner.start(&frame.scope, ticket.reading());
                pages += ticket.reading().outstanding();
            }
        }
    }

    /// Deals with a part that could not be read.
    async fn failed(&mut self, span: Span, ended: Ended, origin: Origin) -> Result<(), AskError> {
        let is_patient = self.replans < MAX_REPLANS;
        let error = match ended {
            Ended::Unwanted if is_patient => {
                self.replan(span);
                return Ok(());
            }
            Ended::DatesIgnored if is_patient => {
                // All that is left comes from one walk of everything.
                self.steps.clear();
                let from = self.frame.as_ref().map_or(span.from(), |frame| frame.span.from());
                self.replan(Span::new(from, span.to()).unwrap_or(span));
                return Ok(());
            }
            Ended::Disordered if is_patient && self.can_restart() => {
                self.restart();
                return Ok(());
            }
            Ended::Unwanted | Ended::DatesIgnored | Ended::Disordered => AskError::Inconsistent {
                span,
                detail: "the list is in another order than it seemed; asking again helps".to_owned(),
            },
            Ended::Failed(error) => error,
        };
        let error = match error {
            AskError::Source(error @ (SourceError::Denied(_) | SourceError::AgentNotFound(_))) => {
                match self.confirmed(error).await {
                    Ok(()) if is_patient => {
                        self.replans += MAX_REPLANS / 3;
                        self.replan(span);
                        return Ok(());
                    }
                    Ok(()) => AskError::Source(SourceError::Unavailable {
                        detail: "upstream refuses pages to a credential that it accepts".to_owned(),
                        retry_after: None,
                        upstream: None,
                    }),
                    Err(error) => return Err(error),
                }
            }
            AskError::Source(_)
            | AskError::NoHistoryStart
            | AskError::Inconsistent { .. }
            | AskError::NotReady { .. }
            | AskError::TooLarge { .. }
            | AskError::NotCached
            | AskError::ShuttingDown => error,
        };
        if matches!(error, AskError::ShuttingDown) {
            return Err(error);
        }
        if self.fall_back(span, &error) {
            return Ok(());
        }
        if origin == Origin::Joined && self.replans == 0 {
            // Whoever began the reading may have had less patience.
            self.replan(span);
            return Ok(());
        }
        let is_lenient = self.frame.as_ref().is_some_and(|frame| is_lenient(frame.tolerance));
        if is_lenient {
            self.tally.missing.push(Missing { span, error });
            return Ok(());
        }
        Err(error)
    }

    /// Whether nothing has left the answer yet that could not be taken back.
    fn can_restart(&self) -> bool {
        self.tally.count == 0 || self.frame.as_ref().is_some_and(|frame| frame.appetite == Appetite::Whole)
    }

    /// Takes everything back and begins anew.
    fn restart(&mut self) {
        let Some(frame) = &self.frame else { return };
        let span = frame.span;
        self.tally = Tally { stale: self.tally.stale, ..Tally::new(frame.as_of()) };
        self.restarts += 1;
        self.undated.clear();
        self.ready.clear();
        self.steps.clear();
        self.replan(span);
    }

    /// Asks upstream once more whether it refuses the credential; a single refusal may be stray.
    async fn confirmed(&self, error: SourceError) -> Result<(), AskError> {
        let Some(frame) = &self.frame else { return Err(error.into()) };
        let subject = &frame.scope.subject;
        match frame.inner.access.check(&subject.credential, subject.agent, &frame.turn).await {
            Ok(_) => Ok(()),
            Err(error) => {
                drop_refused(&frame.inner, subject, &error);
                Err(error.into())
            }
        }
    }

    /// Gives a part from what is known, past its freshness, if that is allowed; whether it was.
    fn fall_back(&mut self, span: Span, error: &AskError) -> bool {
        let reason = match error {
            AskError::Source(SourceError::RateLimited { .. }) => StaleReason::RateLimited,
            AskError::Source(
                SourceError::Unavailable { .. } | SourceError::TimedOut | SourceError::Malformed { .. },
            )
            | AskError::Inconsistent { .. } => StaleReason::UpstreamFailed,
            AskError::Source(
                SourceError::Denied(_) | SourceError::AgentNotFound(_) | SourceError::Refused(_),
            )
            | AskError::NoHistoryStart
            | AskError::NotReady { .. }
            | AskError::TooLarge { .. }
            | AskError::NotCached
            | AskError::ShuttingDown => return false,
        };
        let (Some(frame), Some(fallback)) = (&mut self.frame, self.fallback) else { return false };
        if self.tally.stale.is_none() {
            self.tally.stale = Some(reason);
            let plan = frame.plan(fallback);
            self.tally.freshness = plan.known.unwrap_or(self.tally.freshness);
        }
        if fallback.to() < span.to() {
            frame.narrow(fallback);
            self.tally.as_of = frame.as_of();
        }
        if let Some(part) = span.intersection(fallback) {
            self.steps.push_front(Step::Known(part));
        }
        true
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("tally", &self.tally).finish_non_exhaustive()
    }
}

/// How a slice was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Hit,
    Miss,
    Joined,
}

impl Tally {
    fn new(as_of: Timestamp) -> Self {
        let (digest, freshness, report) = (Digest::default(), Freshness::default(), CacheReport::default());
        Self { as_of, count: 0, digest, missing: Vec::new(), freshness, report, stale: None }
    }

    fn add(&mut self, slice: &EntrySlice, how: How) {
        let rows = slice.len() as u64;
        self.count += rows;
        self.digest.add(slice.digest());
        let report = &mut self.report;
        *match how {
            How::Hit if self.stale.is_some() => &mut report.stale_rows,
            How::Hit => &mut report.hit_rows,
            How::Miss => &mut report.miss_rows,
            How::Joined => &mut report.joined_rows,
        } += rows;
    }

    fn verdict(&self) -> Verdict {
        Verdict {
            as_of: self.as_of,
            count: self.count,
            digest: self.digest,
            missing: self.missing.clone(),
            freshness: self.freshness,
            report: CacheReport { stale: self.stale, ..self.report },
        }
    }
}

impl Frame {
    /// Every execution created up to this instant is in the answer.
    fn as_of(&self) -> Timestamp {
        let proven = self.present.minus(self.inner.settings.commit_lag);
        self.asked_to.map_or(proven, |to| to.min(proven))
    }

    /// Ends the question at an earlier present.
    fn narrow(&mut self, span: Span) {
        self.present = self.present.min(span.to());
        self.span = span;
    }

    fn window(&self) -> Duration {
        self.inner.span_width(&self.scope)
    }

    fn plan(&self, span: Span) -> Plan {
        let parts = self.scope.lock().look(span);
        plan::plan(&parts, span, &self.policy, self.asked_at, self.window())
    }

    fn filtered(&self, slice: EntrySlice, within: Span) -> Option<EntrySlice> {
        let keeps = |row: &crate::domain::EntryRow| {
            within.contains(row.created_at)
                && self.status.as_ref().is_none_or(|status| row.status.as_ref() == Some(status))
        };
        slice.filtered(keeps)
    }

    /// What of the question may be given that long past its freshness: all of it, or all up to the latest reading
    /// that went up to the present.
    fn stale_span(&self, allowance: Duration) -> Option<Span> {
        if allowance.is_zero() {
            return None;
        }
        let known = self.scope.lock();
        let head = known.head.map(|head| head.to).filter(|to| *to < self.span.to());
        let span = head.map_or(Some(self.span), |to| Span::new(self.span.from(), to))?;
        plan::may_be_stale(&known.look(span), &self.policy, self.asked_at, allowance).then_some(span)
    }

    /// Turns a plan into steps: joins what is being read already, and registers readings for the rest.
    fn steps(&self, items: &[Item], gaps: plan::Gaps) -> VecDeque<Step> {
        let mut known = self.scope.lock();
        known.readings.retain(|reading| reading.is_open());
        let mut steps = VecDeque::with_capacity(items.len());
        for item in items {
            match item {
                Item::Known(span) => steps.push_back(Step::Known(*span)),
                Item::Read(span) => steps.extend(self.reads(&mut known, *span, gaps)),
            }
        }
        steps
    }

    fn reads(&self, known: &mut Known, span: Span, gaps: plan::Gaps) -> Vec<Step> {
        let mut left = vec![span];
        let mut steps = Vec::new();
        for reading in known.readings.iter().filter(|reading| self.may_join(reading)) {
            for part in std::mem::take(&mut left) {
                let Some(common) = part.intersection(reading.span) else {
                    left.push(part);
                    continue;
                };
                left.extend(part.without(reading.span));
                let ticket = reading.join(self.appetite);
                if let Some(deadline) = &self.turn.deadline {
                    reading.turn.deadline.iter().for_each(|theirs| theirs.extend_to(deadline.instant()));
                }
                steps.push(Step::Read(common, ticket, Origin::Joined));
            }
        }
        for part in left {
            let reading = self.reading(part, Purpose::Know, urgency(gaps));
            steps.push(Step::Read(part, reading.join(self.appetite), Origin::Own));
            known.readings.push(reading);
        }
        steps.sort_by_key(|step| match step {
            Step::Known(span) | Step::Read(span, ..) => std::cmp::Reverse(span.to()),
        });
        steps
    }

    fn may_join(&self, reading: &Reading) -> bool {
        let is_old = reading.span.to() < self.asked_at.minus(self.policy.settle_after);
        let ttl = if is_old { self.policy.settling } else { self.policy.live };
        reading.purpose == Purpose::Know
            && reading.is_open()
            && !self.policy.is_past(reading.begun_at, ttl, self.asked_at)
    }

    fn reading(&self, span: Span, purpose: Purpose, urgency: Urgency) -> Arc<Reading> {
        let is_head = purpose == Purpose::Know && span.to() == self.present;
        let turn = Turn { urgency, ..self.turn.clone() };
        let (in_flight, fan_out) = (Arc::clone(&self.in_flight), self.inner.settings.fan_out);
        let begun_at = self.inner.clock.now();
        Reading::new(span, purpose, begun_at, is_head, self.keep, turn, in_flight, fan_out)
    }

    /// Asks which of the old rows are still in their status.
    async fn probe(&self, probes: &[Probe]) -> Result<(), AskError> {
        let mut tickets = Vec::with_capacity(probes.len());
        {
            let mut known = self.scope.lock();
            known.readings.retain(|reading| reading.is_open());
            for probe in probes {
                let purpose = Purpose::Probe(probe.status.clone());
                let same = known.readings.iter().find(|reading| {
                    reading.purpose == purpose
                        && reading.span.covers(probe.span)
                        && reading.begun_at > probe.oldest_read_at.plus(self.policy.live)
                });
                let ticket = if let Some(reading) = same {
                    reading.join(Appetite::Whole)
                } else {
                    let reading = self.reading(probe.span, purpose, Urgency::Refresh);
                    let ticket = reading.join(Appetite::Whole);
                    known.readings.push(reading);
                    ticket
                };
                tickets.push(ticket);
            }
        }
        tickets.iter().for_each(|ticket| self.inner.start(&self.scope, ticket.reading()));
        for ticket in &tickets {
            let over = ticket.over();
            let end = match self.deadline {
                None => over.await,
                Some(deadline) => {
                    tokio::time::timeout_at(deadline, over).await.unwrap_or(Err(Ended::Unwanted))
                }
            };
            match end {
                Ok(()) | Err(Ended::Unwanted | Ended::DatesIgnored | Ended::Disordered) => {}
                Err(Ended::Failed(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what a stale answer left unread, behind it.
    fn revalidate(&self, plan: &Plan) {
        let frame = self.behind();
        let spans = plan.items.clone();
        let (probes, gaps) = (plan.probes.clone(), plan.gaps);
        self.inner.shutdown.spawn(async move {
            if frame.probe(&probes).await.is_ok() {
                let steps = frame.steps(&spans, gaps);
                frame.finish(steps).await;
            }
        });
    }

    /// Reads settled parts again behind the answer, from what the budget has to spare; one caller at a time.
    fn renew(&self, spans: &[Span]) {
        if spans.is_empty() || self.keep == Keep::No || self.wish.only_if_cached {
            return;
        }
        if std::mem::replace(&mut self.scope.lock().is_renewing, true) {
            return;
        }
        let mut frame = self.behind();
        frame.turn.budget_wait = Some(STALE_BUDGET_WAIT);
        let spans = spans.to_vec();
        self.inner.shutdown.spawn(async move {
            let _done = Renewing(&frame.scope);
            for span in spans {
                if frame.inner.shutdown.is_draining() {
                    return;
                }
                let reading = frame.reading(span, Purpose::Know, Urgency::Renewal);
                let ticket = reading.join(Appetite::Whole);
                frame.scope.lock().readings.push(Arc::clone(&reading));
                frame.inner.start(&frame.scope, &reading);
                if ticket.over().await.is_err() {
                    return;
                }
            }
        });
    }

    /// The same question, asked by nobody who waits.
    fn behind(&self) -> Self {
        let turn = Turn { retry_for: Duration::ZERO, ..self.turn.clone() };
        Self {
            inner: Arc::clone(&self.inner),
            scope: Arc::clone(&self.scope),
            in_flight: Arc::new(Semaphore::new(self.inner.settings.fan_out)),
            asked_at: self.asked_at,
            status: self.status.clone(),
            turn,
            appetite: Appetite::Whole,
            deadline: None,
            ..*self
        }
    }

    async fn finish(&self, steps: VecDeque<Step>) {
        for step in &steps {
            if let Step::Read(_, ticket, _) = step {
                self.inner.start(&self.scope, ticket.reading());
            }
        }
        for step in &steps {
            if let Step::Read(_, ticket, _) = step {
                // What can't be renewed is stale for longer; the next question sees to it.
                let _ended = ticket.over().await;
            }
        }
    }
}

/// That somebody renews a scope; dropping it lets the next one.
struct Renewing<'a>(&'a Scope);

impl Drop for Renewing<'_> {
    fn drop(&mut self) {
        self.0.lock().is_renewing = false;
    }
}
