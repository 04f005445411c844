//! Goes through the known parts of a span, newest first, and finds what is due.

use std::time::Duration;

use super::cover::{DueGroup, DueRow, cover};
use super::join::joined_gaps;
use super::parts::{OtherCallers, Plan, PlanContext, Probe, gaps, items, merged};
use super::renewals::{Renewals, Ripeness};
use crate::domain::{EntryRow, MAX_PAGE_SIZE, Span, Status, Timestamp};
use crate::engine::coverage::{Contents, CoveragePart, LatestChange, Segment, Trust};
use crate::engine::freshness::{Class, Due, Membership, Policy};
use crate::engine::terms::Freshness;

/// The most rows that a re-read is planned to return: a page, less the rows that may have been added since.
pub(super) const ROWS_A_QUESTION: usize = 40;

/// The most groups that are considered together. The search takes time by the square of their number, and a probe reaches only
/// those near by.
const MOST_COVERED: usize = 256;

/// A group with at most this many due rows is sparse: a probe may serve it better.
const SPARSE_ROWS: usize = 2;

pub(super) struct Survey<'a> {
    policy: &'a Policy,
    context: PlanContext<'a>,
    now: Timestamp,
    window: Duration,
    reads: Vec<Span>,
    groups: Vec<DueGroup>,
    renewals: Renewals,
    /// Segments of at most a page that are soon due for renewal, newest first: if a part of one is read, all
    /// of it is.
    aging: Vec<Span>,
    expires_first: Option<(Timestamp, Freshness)>,
    /// The same for all known parts, including due ones.
    worst: Option<(Timestamp, Freshness)>,
}

impl<'a> Survey<'a> {
    pub(super) fn new(
        policy: &'a Policy,
        context: PlanContext<'a>,
        now: Timestamp,
        window: Duration,
    ) -> Self {
        Self {
            policy,
            context,
            now,
            window,
            reads: Vec::new(),
            groups: Vec::new(),
            renewals: Renewals::new(window),
            aging: Vec::new(),
            expires_first: None,
            worst: None,
        }
    }

    pub(super) fn gap(&mut self, gap: Span) {
        if self.groups.is_empty() && self.reads.is_empty() && gap.width() <= self.window {
            self.groups.push(DueGroup { span: gap, rows: 0, due: Vec::new(), is_head: true });
        } else {
            self.reads.push(gap);
        }
    }

    pub(super) fn segment(&mut self, segment: &Segment, question: Span) {
        let Some(span) = segment.span.intersection(question) else { return };
        let policy = self.policy;
        if segment.trust != Trust::Proven {
            let due = policy.due_of(Class::Live, segment.read_at);
            if due.latest < self.now {
                self.aged(segment.read_at, due.ttl);
                self.gap(span);
            } else {
                self.known(segment.read_at, due.ttl);
            }
            return;
        }
        let due = policy.due_of(Class::Settled, segment.read_at);
        if due.latest < self.now {
            self.aged(segment.read_at, due.ttl);
            self.reads.push(span);
            return;
        }
        if policy.membership == Membership::Spans {
            self.places(segment, span);
        } else {
            self.renew(segment, segment.span);
        }
        self.rows(segment, question);
    }

    /// If rows may enter the result anywhere, the place also decides: the part of a segment whose time is up
    /// is read as a whole.
    fn places(&mut self, segment: &Segment, span: Span) {
        let policy = self.policy;
        let mut rest = Some(span);
        for boundary in policy.boundaries(self.now) {
            let Some(left) = rest else { return };
            if let Some(part) = left.after(boundary) {
                self.place(segment, part);
            }
            rest = left.before(boundary.next());
        }
        if let Some(part) = rest {
            self.place(segment, part);
        }
    }

    fn place(&mut self, segment: &Segment, part: Span) {
        let due = self.policy.place_due(part.to(), segment.read_at, self.now);
        // Staggered per scope: whatever leaves the newest places bit by bit is then read together, rather
        // than bit by bit again.
        if due.at < self.now {
            self.aged(segment.read_at, due.ttl);
            self.reads.push(part);
        } else {
            self.known(segment.read_at, due.ttl);
            self.renew(segment, part);
        }
    }

    /// Each row decides for itself.
    fn rows(&mut self, segment: &Segment, question: Span) {
        let policy = self.policy;
        if !self.may_have_due_rows(segment) {
            self.known(segment.read_at, policy.ttl(Class::Settled));
            if let Contents::Rows { times, .. } = &segment.contents
                && times.latest >= LatestChange::At(policy.settles_before(self.now))
            {
                self.known(times.oldest_read_at, policy.ttl(Class::Live));
            }
            self.pass(segment.len());
            return;
        }
        for row in segment.facts().iter().flat_map(|rows| rows.iter()) {
            let is_asked_for = question.contains(row.created_at);
            let due = self.due_of(&row);
            if is_asked_for && due.at < self.now {
                self.aged(row.read_at, due.ttl);
                let EntryRow { created_at, read_at, is_doubted, .. } = row;
                self.due(DueRow { created_at, read_at, is_doubted, status: row.status.cloned() });
            } else {
                if is_asked_for {
                    self.known(row.read_at, due.ttl);
                }
                self.pass_row(row.created_at);
            }
        }
    }

    /// How long a row is fresh for this question. For a row in another status than the requested ones, only
    /// its place decides, because all that matters is whether it has entered a requested status.
    fn due_of(&self, row: &EntryRow<'_>) -> Due {
        let is_other = self.context.status.is_some_and(|statuses| !statuses.has(row.status));
        if is_other && !row.is_doubted {
            self.policy.place_due(row.created_at, row.read_at, self.now)
        } else {
            self.policy.due(row, self.now)
        }
    }

    fn may_have_due_rows(&self, segment: &Segment) -> bool {
        let policy = self.policy;
        let Contents::Rows { times, .. } = &segment.contents else { return false };
        if times.has_doubted {
            return true;
        }
        if policy.membership != Membership::Fixed && segment.span.to() >= policy.calm_before(self.now) {
            return true;
        }
        if self.context.others == OtherCallers::ByStatus
            && segment.span.to() >= policy.settles_before(self.now)
        {
            return true;
        }
        let shortest = policy.ttl(Class::Live).min(policy.ttl(Class::Settling));
        times.latest >= LatestChange::At(policy.settles_before(self.now))
            && policy.is_past(times.oldest_read_at, shortest, self.now)
    }

    /// Skips rows that are not due, below the open group.
    fn pass(&mut self, rows: usize) {
        if let Some(group) = self.groups.last_mut() {
            group.rows += rows;
        }
    }

    /// Skips a row that is not due; it is still read with the head if other callers need it then.
    fn pass_row(&mut self, created_at: Timestamp) {
        let is_needed = self.context.others == OtherCallers::ByStatus
            && created_at >= self.policy.settles_before(self.now);
        if let [head] = &mut self.groups[..]
            && head.is_head
            && is_needed
            && head.rows < ROWS_A_QUESTION
        {
            head.span = head.span.union(Span::at(created_at));
        }
        self.pass(1);
    }

    fn due(&mut self, due: DueRow) {
        if let Some(group) = self.groups.last_mut() {
            let wider = group.span.union(Span::at(due.created_at));
            let fits = group.rows < ROWS_A_QUESTION || group.is_dense();
            if fits && wider.outward().width() <= self.window {
                group.span = wider;
                group.rows += 1;
                group.due.push(due);
                return;
            }
        }
        self.groups.push(DueGroup {
            span: Span::at(due.created_at),
            rows: 1,
            due: vec![due],
            is_head: false,
        });
    }

    fn known(&mut self, read_at: Timestamp, ttl: Duration) {
        self.aged(read_at, ttl);
        let expires = read_at.plus(ttl);
        if self.expires_first.is_none_or(|(first, _)| expires < first) {
            self.expires_first = Some((expires, Freshness { age: self.now.since(read_at), lifetime: ttl }));
        }
    }

    /// Records the age of a known part, fresh or not.
    fn aged(&mut self, read_at: Timestamp, ttl: Duration) {
        let expires = read_at.plus(ttl);
        if self.worst.is_none_or(|(first, _)| expires < first) {
            self.worst = Some((expires, Freshness { age: self.now.since(read_at), lifetime: ttl }));
        }
    }

    /// Marks a settled part for renewal once it is due, staggered by its week, so that neighbors come due
    /// together and weeks do not.
    fn renew(&mut self, segment: &Segment, part: Span) {
        let policy = self.policy;
        let renewed_at = policy.renewed_at(part.from(), segment.read_at);
        let ripeness =
            if policy.ttl(Class::Settled).is_zero() || renewed_at >= self.now.plus(policy.renewed_early()) {
                Ripeness::Young
            } else if renewed_at >= self.now {
                Ripeness::Ripe
            } else {
                Ripeness::Due
            };
        self.renewals.meet(segment, part, ripeness);
        if policy.is_past(segment.read_at, policy.ttl(Class::Settled) / 2, self.now)
            && segment.len() <= MAX_PAGE_SIZE
        {
            self.aging.push(part);
        }
    }

    pub(super) fn finish(mut self, span: Span, parts: &[CoveragePart<'_>]) -> Plan {
        let probes = self.probes();
        self.widen();
        self.reads.extend(self.groups.iter().map(|group| group.span));
        self.reads.extend(joined_gaps(parts, self.window));
        let renewals = self.renewals.finish(&self.reads);
        let items = items(span, merged(self.reads), self.window);
        let known = self.expires_first.map(|(_, freshness)| freshness);
        let worst = self.worst.map(|(_, freshness)| freshness);
        Plan { items, rest: None, probes, renewals, known, worst, gaps: gaps(span, parts) }
    }

    /// Extends the reads of single rows to their whole segment if that saves its renewal: it is one request
    /// either way.
    fn widen(&mut self) {
        let mut groups = std::mem::take(&mut self.groups);
        for group in groups.iter_mut().filter(|group| !group.is_head) {
            let segment = self.aging_at(group.span.to());
            let is_fitting =
                |segment: &Span| segment.covers(group.span) && segment.outward().width() <= self.window;
            if let Some(segment) = segment.filter(is_fitting) {
                group.span = segment;
            }
        }
        self.groups = groups;
    }

    /// The segment at an instant, if it is soon due for renewal.
    fn aging_at(&self, instant: Timestamp) -> Option<Span> {
        let position = self.aging.partition_point(|segment| segment.from() > instant);
        self.aging.get(position).copied().filter(|segment| segment.contains(instant))
    }

    /// Removes the groups that probes serve better and returns the probes.
    fn probes(&mut self) -> Vec<Probe> {
        let is_sparse = |group: &DueGroup| !group.is_head && group.due.len() <= SPARSE_ROWS;
        let (sparse, dense): (Vec<DueGroup>, Vec<DueGroup>) =
            std::mem::take(&mut self.groups).into_iter().partition(is_sparse);
        self.groups = dense;
        let mut probes = Vec::new();
        // Another probe would not return a row that has left its status.
        let may_be_asked = |status: &&Status| !status.is_terminal() && self.context.probing.allows(status);
        for near in sparse.chunks(MOST_COVERED) {
            let (read, found) = cover(
                near,
                |due| due.status.as_ref().filter(|_| !due.is_doubted).filter(may_be_asked),
                self.window,
            );
            self.groups.extend(read);
            probes.extend(found);
        }
        probes
    }
}
