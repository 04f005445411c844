//! What to read for a question, given what is known: pure, and made under the scope's lock without waiting.
//!
//! Four things are read, and nothing else: gaps; what is past the age at which it may be given; rows that may have
//! changed; and the head, which is just another gap. Rows that may have changed lie at known places, so they are
//! covered by spans of at most a page of known rows each, and the newest of them ride along with the head. Old rows
//! that never finished lie too far apart for that: they are asked for together, under the filter of their status,
//! and whoever does not answer to it has changed (see [`Probe`]).
//!
//! Settled rows past their time to live are given, and named for renewal behind the answer; their times are spread
//! by place, so that a history read in one go does not become due in one go.

use std::time::Duration;

use super::coverage::{Contents, Part, Segment, Trust};
use super::freshness::{Membership, Policy};
use super::verdict::Freshness;
use crate::domain::{MAX_PAGE_SIZE, Span, Status, Timestamp};

/// The most rows a re-read is planned to bring: a page, less what may have come since.
const ROWS_A_QUESTION: usize = 40;

/// The most requests a question spends on rows that lie far apart.
const MAX_SPARSE: usize = 8;

/// As wide as history: for an upstream that ignores the dates, where every reading walks the whole list.
pub(super) const UNLIMITED: Duration = Duration::from_hours(24 * 366 * 1_000);

/// A group with no more than this many due rows is sparse: a probe may serve it better.
const SPARSE_ROWS: usize = 2;

/// The most spans named for renewal at once.
const MAX_RENEWALS: usize = 8;

/// What to do for a question.
#[derive(Debug)]
pub(super) struct Plan {
    /// The whole question, newest first, without overlap and without a hole.
    pub(super) items: Vec<Item>,
    /// To be asked before anything is given, so that the plan made afterwards has nothing sparse to read.
    pub(super) probes: Vec<Probe>,
    /// Known and given, and to be read again behind the answer; longest unread first.
    pub(super) renewals: Vec<Span>,
    /// How old what is known is, of the part that expires first; none if nothing is known.
    pub(super) known: Option<Freshness>,
    /// Whether there is nothing that was never read.
    pub(super) gaps: Gaps,
}

impl Plan {
    /// Whether everything is known and fresh enough.
    pub(super) fn reads_nothing(&self) -> bool {
        self.probes.is_empty() && !self.items.iter().any(|item| matches!(item, Item::Read(_)))
    }
}

/// A part of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// Known and fresh enough.
    Known(Span),
    /// To be read; no wider than the window.
    Read(Span),
}

/// What of the question was never read, or is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gaps {
    /// Nothing.
    None,
    /// Only its newest part, from this instant on.
    Head(Timestamp),
    /// More than that.
    Some,
}

/// A question about old rows under the filter of their status. Those it does not bring have left the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) status: Status,
    pub(super) span: Span,
    /// When the row of it that was read first was read.
    pub(super) oldest_read_at: Timestamp,
}

/// Makes the plan for a span from what was found there ([`super::coverage::Coverage::look`]).
pub(super) fn plan(parts: &[Part], span: Span, policy: &Policy, now: Timestamp, window: Duration) -> Plan {
    let mut survey = Survey::new(policy, now, window);
    for part in parts {
        match part {
            Part::Gap(gap) => survey.gap(*gap),
            Part::Known(segment) => survey.segment(segment, span),
        }
    }
    survey.finish(span, parts)
}

/// Rows to be covered by one question.
#[derive(Clone, Debug)]
struct Group {
    span: Span,
    /// Rows known within it, due or not.
    rows: usize,
    due: Vec<Due>,
    is_head: bool,
}

impl Group {
    /// Whether nearly all of its rows are due, so that a walk over several pages wastes nothing.
    fn is_dense(&self) -> bool {
        self.due.len() * 5 >= self.rows * 4
    }
}

#[derive(Clone, Debug)]
struct Due {
    created_at: Timestamp,
    read_at: Timestamp,
    status: Option<Status>,
}

struct Survey<'a> {
    policy: &'a Policy,
    now: Timestamp,
    window: Duration,
    reads: Vec<Span>,
    groups: Vec<Group>,
    renewals: Vec<(Timestamp, Span, usize)>,
    expires_first: Option<(Timestamp, Freshness)>,
}

impl<'a> Survey<'a> {
    fn new(policy: &'a Policy, now: Timestamp, window: Duration) -> Self {
        let (reads, groups, renewals) = (Vec::new(), Vec::new(), Vec::new());
        Self { policy, now, window, reads, groups, renewals, expires_first: None }
    }

    fn gap(&mut self, gap: Span) {
        if self.groups.is_empty() && self.reads.is_empty() && gap.width() <= self.window {
            self.groups.push(Group { span: gap, rows: 0, due: Vec::new(), is_head: true });
        } else {
            self.reads.push(gap);
        }
    }

    fn segment(&mut self, segment: &Segment, question: Span) {
        let Some(span) = segment.span.intersection(question) else { return };
        let policy = self.policy;
        if segment.trust == Trust::Provisional {
            if policy.is_past(segment.read_at, policy.live, self.now) {
                self.gap(span);
            } else {
                self.known(segment.read_at, policy.live);
            }
            return;
        }
        if policy.is_past(segment.read_at, policy.hard(policy.settled), self.now) {
            self.reads.push(span);
            return;
        }
        if policy.membership == Membership::Spans {
            self.places(segment, span);
        } else {
            self.rows(segment, question);
        }
    }

    /// Where rows may enter anywhere, the place decides: the part of a segment whose time is up is read as a whole.
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
        let ttl = self.policy.place_ttl(part.to(), self.now);
        if self.policy.is_past(segment.read_at, self.policy.hard(ttl), self.now) {
            self.reads.push(part);
        } else {
            self.known(segment.read_at, ttl);
            self.renew(segment, part);
        }
    }

    /// Where rows stay, each decides for itself.
    fn rows(&mut self, segment: &Segment, question: Span) {
        let policy = self.policy;
        if !self.may_have_due_rows(segment) {
            self.known(segment.read_at, policy.settled);
            if let Contents::Rows { restless: Some(restless), .. } = &segment.contents
                && restless.until.plus(policy.settle_after) >= self.now
            {
                self.known(restless.oldest_read_at, policy.live);
            }
            self.renew(segment, segment.span);
            self.pass(segment.len());
            return;
        }
        let Some((entry, rows)) = segment.rows() else { return };
        for row in &entry.rows()[rows] {
            let is_asked_for = question.contains(row.created_at);
            if is_asked_for && policy.is_due(row, self.now) {
                let (created_at, read_at, status) = (row.created_at, row.read_at, row.status.clone());
                self.due(Due { created_at, read_at, status });
            } else {
                if is_asked_for {
                    self.known(row.read_at, policy.row_ttl(row, self.now));
                }
                self.pass(1);
            }
        }
    }

    fn may_have_due_rows(&self, segment: &Segment) -> bool {
        let policy = self.policy;
        let Contents::Rows { restless, .. } = &segment.contents else { return false };
        if policy.membership != Membership::Fixed && segment.span.to() >= policy.calm_before(self.now) {
            return true;
        }
        restless.is_some_and(|restless| {
            restless.until.plus(policy.settle_after) >= self.now
                && policy.is_past(restless.oldest_read_at, policy.live.min(policy.settling), self.now)
        })
    }

    /// Rows that are not due lie below the group that is open.
    fn pass(&mut self, rows: usize) {
        if let Some(group) = self.groups.last_mut() {
            group.rows += rows;
        }
    }

    fn due(&mut self, due: Due) {
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
        self.groups.push(Group { span: Span::at(due.created_at), rows: 1, due: vec![due], is_head: false });
    }

    fn known(&mut self, read_at: Timestamp, ttl: Duration) {
        let expires = read_at.plus(ttl);
        if self.expires_first.is_none_or(|(first, _)| expires < first) {
            self.expires_first = Some((expires, Freshness { age: self.now.since(read_at), lifetime: ttl }));
        }
    }

    /// Names a settled part for renewal once its own share of the time is past, between three quarters and five
    /// quarters of it.
    fn renew(&mut self, segment: &Segment, part: Span) {
        let spread = spread(part.from());
        let aim = self.policy.settled.mul_f64(0.75 + spread / 2.0);
        if !self.policy.settled.is_zero() && self.policy.is_past(segment.read_at, aim, self.now) {
            self.renewals.push((segment.read_at, part, segment.len()));
        }
    }

    fn finish(mut self, span: Span, parts: &[Part]) -> Plan {
        let probes = self.probes();
        self.reads.extend(self.groups.iter().map(|group| group.span));
        let items = items(span, merged(self.reads), self.window);
        let renewals = joined(self.renewals, self.window);
        let known = self.expires_first.map(|(_, freshness)| freshness);
        Plan { items, probes, renewals, known, gaps: gaps(span, parts) }
    }

    /// Takes the groups that probes serve better out of the groups, and gives the probes; of both, no more than
    /// allowed, longest unread first.
    fn probes(&mut self) -> Vec<Probe> {
        let is_sparse = |group: &Group| !group.is_head && group.due.len() <= SPARSE_ROWS;
        let (mut sparse, dense): (Vec<Group>, Vec<Group>) =
            std::mem::take(&mut self.groups).into_iter().partition(is_sparse);
        self.groups = dense;
        // A row that left its status was found by a probe, and would not be found by another.
        let is_probed = |due: &Due| {
            due.read_at > Timestamp::MIN && due.status.as_ref().is_some_and(|status| !status.is_terminal())
        };
        let mut probes: Vec<Probe> = Vec::new();
        for due in sparse.iter().flat_map(|group| &group.due).filter(|due| is_probed(due)) {
            self.probe(&mut probes, due);
        }
        let unprobed = sparse.iter().filter(|group| !group.due.iter().all(is_probed)).count();
        if probes.len() + unprobed < sparse.len() {
            sparse.retain(|group| !group.due.iter().all(is_probed));
        } else {
            probes.clear();
        }
        probes.sort_by_key(|probe| probe.oldest_read_at);
        probes.truncate(MAX_SPARSE);
        sparse.sort_by_key(|group| group.due.iter().map(|due| due.read_at).min());
        sparse.truncate(MAX_SPARSE - probes.len());
        self.groups.extend(sparse);
        probes
    }

    fn probe(&self, probes: &mut Vec<Probe>, due: &Due) {
        let Some(status) = &due.status else { return };
        let at = Span::at(due.created_at);
        let open = probes.iter_mut().rev().find(|probe| probe.status == *status);
        match open {
            Some(probe) if probe.span.union(at).outward().width() <= self.window => {
                probe.span = probe.span.union(at);
                probe.oldest_read_at = probe.oldest_read_at.min(due.read_at);
            }
            _ => probes.push(Probe { status: status.clone(), span: at, oldest_read_at: due.read_at }),
        }
    }
}

/// A share between 0 and 1 that depends on a place alone.
#[expect(clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "any bits do")]
fn spread(place: Timestamp) -> f64 {
    // The finalizer of SplitMix64.
    let mut bits = place.as_micros() as u64;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Spans sorted newest first, with those that overlap or touch made one.
fn merged(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_by_key(|span| std::cmp::Reverse(span.to()));
    let mut merged: Vec<Span> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(above) if above.from() <= span.to().next() => *above = above.union(span),
            _ => merged.push(span),
        }
    }
    merged
}

fn items(span: Span, reads: Vec<Span>, window: Duration) -> Vec<Item> {
    let mut items = Vec::new();
    let mut rest = Some(span);
    for read in reads.into_iter().filter_map(|read| read.intersection(span)) {
        let Some(left) = rest else { break };
        items.extend(left.after(read.to()).map(Item::Known));
        items.extend(read.split(window).into_iter().map(Item::Read));
        rest = left.before(read.from());
    }
    items.extend(rest.map(Item::Known));
    items
}

/// Parts to renew, longest unread first, neighbors together as far as one page holds them.
fn joined(mut parts: Vec<(Timestamp, Span, usize)>, window: Duration) -> Vec<Span> {
    parts.sort_by_key(|(_, span, _)| std::cmp::Reverse(span.to()));
    let mut joined: Vec<(Timestamp, Span, usize)> = Vec::new();
    for (read_at, span, rows) in parts {
        match joined.last_mut() {
            Some((oldest, above, held))
                if above.from() == span.to().next()
                    && *held + rows <= ROWS_A_QUESTION
                    && above.union(span).outward().width() <= window =>
            {
                (*oldest, *above, *held) = (read_at.min(*oldest), above.union(span), *held + rows);
            }
            _ => joined.push((read_at, span, rows)),
        }
    }
    joined.sort_by_key(|(read_at, _, _)| *read_at);
    joined.truncate(MAX_RENEWALS);
    joined.into_iter().flat_map(|(_, span, _)| span.split(window)).collect()
}

fn gaps(span: Span, parts: &[Part]) -> Gaps {
    let is_gap = |part: &Part| matches!(part, Part::Gap(_));
    match parts.split_first() {
        Some((head, rest)) if !rest.iter().any(is_gap) => match head {
            Part::Known(_) => Gaps::None,
            Part::Gap(gap) if !rest.is_empty() || gap.from() > span.from() => Gaps::Head(gap.from()),
            Part::Gap(_) => Gaps::Some,
        },
        _ => Gaps::Some,
    }
}

/// Whether everything known of a span may still be given when that is `allowance` past its freshness.
pub(super) fn may_be_stale(parts: &[Part], policy: &Policy, now: Timestamp, allowance: Duration) -> bool {
    let is_past = |read_at, ttl: Duration| policy.is_past(read_at, ttl.saturating_add(allowance), now);
    parts.iter().all(|part| match part {
        Part::Gap(_) => false,
        Part::Known(segment) if segment.trust == Trust::Provisional => !is_past(segment.read_at, policy.live),
        Part::Known(segment) => {
            let rows_allow = match (&segment.contents, segment.rows()) {
                (Contents::Rows { restless: Some(_), .. }, Some((entry, rows))) => entry.rows()[rows]
                    .iter()
                    .all(|row| !is_past(row.read_at, policy.hard(policy.row_ttl(row, now)))),
                _ => true,
            };
            rows_allow && !is_past(segment.read_at, policy.hard(policy.settled))
        }
    })
}

/// Whether a question about one status costs no more when all rows are kept up to date here than when upstream is
/// asked under the filter.
///
/// Both are reckoned in requests per settling time to live: the head once per live time to live, with the rows that
/// a filter makes due there, and the rows of the last days once. What was never read speaks for the filter, which may
/// be much smaller; but for the head, which has to be read either way.
pub(super) fn is_cheaper_here(parts: &[Part], status: &Status, policy: &Policy, now: Timestamp) -> bool {
    let [recent, older] = policy.boundaries(now);
    let mut here = [0usize; 2];
    let mut filtered = [0usize; 2];
    for (index, part) in parts.iter().enumerate() {
        match part {
            Part::Gap(_) if index == 0 && parts.len() > 1 => {}
            Part::Gap(_) => return false,
            Part::Known(segment) => {
                let zone = if segment.span.to() > recent {
                    0
                } else if segment.span.to() > older {
                    1
                } else {
                    continue;
                };
                here[zone] += segment.len();
                if let Some((entry, rows)) = segment.rows() {
                    let matching =
                        entry.rows()[rows].iter().filter(|row| row.status.as_ref() == Some(status));
                    filtered[zone] += matching.count();
                }
            }
        }
    }
    let rounds = (policy.settling.as_millis() / policy.live.as_millis().max(1)).clamp(1, 1_000) as usize;
    let cost = |rows: [usize; 2]| {
        rows[0].div_ceil(MAX_PAGE_SIZE).max(1) * rounds + (rows[0] + rows[1]).div_ceil(MAX_PAGE_SIZE)
    };
    // The head is read for the questions without a filter in any case; under the filter it comes on top.
    cost(here) <= cost(filtered) + rounds
}

#[cfg(test)]
mod tests;
