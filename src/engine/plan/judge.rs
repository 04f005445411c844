//! Judgments about known data, apart from the plan itself.

use std::time::Duration;

use crate::domain::{MAX_PAGE_SIZE, Span, Status, Timestamp};
use crate::engine::coverage::{CoveragePart, Trust};
use crate::engine::freshness::{Class, Membership, Policy};

/// Whether all known data of a span may still be served until it is `allowance` past its freshness.
pub(in crate::engine) fn may_be_stale(
    parts: &[CoveragePart<'_>],
    policy: &Policy,
    now: Timestamp,
    allowance: Duration,
) -> bool {
    let is_past = |read_at, ttl: Duration| policy.is_past(read_at, ttl.saturating_add(allowance), now);
    parts.iter().all(|part| match part {
        CoveragePart::Gap(_) => false,
        CoveragePart::Known(segment) if segment.trust != Trust::Proven => {
            !is_past(segment.read_at, policy.ttl(Class::Live))
        }
        CoveragePart::Known(segment) => {
            let rows_allow = segment.facts().into_iter().flat_map(|rows| rows.iter()).all(|row| {
                // A row that left its status is marked as never read; what is known of it is as old as the
                // rest.
                let read_at = row.read_at.max(segment.read_at);
                !is_past(read_at, policy.due(&row, now).latest.since(row.read_at))
            });
            let place = match policy.membership {
                Membership::Fixed | Membership::Rows => policy.due_of(Class::Settled, segment.read_at),
                Membership::Spans => policy.place_due(segment.span.to(), segment.read_at, now),
            };
            rows_allow && place.latest.plus(allowance) >= now
        }
    })
}

/// The likely number of rows in a span, by the density of its known parts; `None` if too little is known.
pub(in crate::engine) fn expected_rows(parts: &[CoveragePart<'_>], span: Span) -> Option<usize> {
    let (mut rows, mut width) = (0usize, Duration::ZERO);
    for part in parts {
        if let CoveragePart::Known(segment) = part {
            rows += segment.len();
            width += segment.span.width();
        }
    }
    let share = width.as_secs_f64() / span.width().as_secs_f64().max(1.0);
    (width >= TELLING).then(|| (rows as f64 / share.clamp(1e-6, 1.0)) as usize)
}

/// How much of a history must be known to estimate the rest.
const TELLING: Duration = Duration::from_hours(24);

/// Whether refreshing all rows here costs at most as much as asking upstream with a filter, for a question
/// about one status.
///
/// Both are counted in requests per settling time to live: the head once per live time to live, together with
/// the rows that a filter makes due there, and the rows of the last days once. Unread parts count in favor of
/// the filter, whose result may be much smaller. The head does not, because it has to be read either way.
pub(in crate::engine) fn is_cheaper_here(
    parts: &[CoveragePart<'_>],
    status: &Status,
    policy: &Policy,
    now: Timestamp,
) -> bool {
    let [recent, older] = policy.boundaries(now);
    let mut here = [0usize; 2];
    let mut filtered = [0usize; 2];
    for (index, part) in parts.iter().enumerate() {
        match part {
            CoveragePart::Gap(_) if index == 0 && parts.len() > 1 => {}
            CoveragePart::Gap(_) => return false,
            CoveragePart::Known(segment) => {
                let zone = if segment.span.to() > recent {
                    0
                } else if segment.span.to() > older {
                    1
                } else {
                    continue;
                };
                here[zone] += segment.len();
                if let Some(rows) = segment.facts() {
                    let matching = rows.iter().filter(|row| row.status == Some(status));
                    filtered[zone] += matching.count();
                }
            }
        }
    }
    let rounds = (policy.ttl(Class::Settling).as_millis() / policy.ttl(Class::Live).as_millis().max(1))
        .clamp(1, 1_000) as usize;
    let cost = |rows: [usize; 2]| {
        rows[0].div_ceil(MAX_PAGE_SIZE).max(1) * rounds + (rows[0] + rows[1]).div_ceil(MAX_PAGE_SIZE)
    };
    // Questions without a filter read the head anyway; a filtered head is an additional read.
    cost(here) <= cost(filtered) + rounds
}
