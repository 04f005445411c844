//! Chooses the fewest requests, by a greedy search, that refresh due rows which are far apart.
//!
//! A request returns either a page of the rows around an instant, in any status, or all rows of one status
//! within a window (a [`Probe`]). Due rows are therefore a set to be covered by requests. The request that
//! covers the most uncovered rows is chosen first, until all rows are covered. If two cover equally many, the
//! probe wins, because it also returns the rows of its status that are due next.

use std::time::Duration;

use super::parts::Probe;
use crate::domain::{Span, Status, Timestamp};

/// Rows that one request can cover.
#[derive(Clone, Debug)]
pub(super) struct DueGroup {
    pub(super) span: Span,
    /// The known rows in the span, due or not.
    pub(super) rows: usize,
    pub(super) due: Vec<DueRow>,
    pub(super) is_head: bool,
}

/// A due row.
#[derive(Clone, Debug)]
pub(super) struct DueRow {
    pub(super) created_at: Timestamp,
    pub(super) read_at: Timestamp,
    pub(super) is_doubted: bool,
    pub(super) status: Option<Status>,
}

impl DueGroup {
    /// Whether nearly all of its rows are due, so that a walk over several pages wastes nothing.
    pub(super) fn is_dense(&self) -> bool {
        self.due.len() * 5 >= self.rows * 4
    }
}

/// A row that no request covers yet.
struct Open<'a> {
    due: &'a DueRow,
    group: usize,
    /// The status that a probe may use to ask for it.
    probed: Option<&'a Status>,
}

/// A possible probe, and how many uncovered rows it covers.
struct Candidate {
    probe: Probe,
    count: usize,
}

/// Covers the rows of groups by reading some of the groups and by probes. Groups and their rows come newest
/// first. `probed` returns the status that a probe may use to ask for a row.
pub(super) fn cover<'a>(
    groups: &'a [DueGroup],
    probed: impl Fn(&'a DueRow) -> Option<&'a Status>,
    window: Duration,
) -> (Vec<DueGroup>, Vec<Probe>) {
    let opened = |(group, rows): (usize, &'a DueGroup)| {
        rows.due.iter().map(move |due| (group, due)).collect::<Vec<(usize, &'a DueRow)>>()
    };
    let mut open: Vec<Open<'a>> = groups
        .iter()
        .enumerate()
        .flat_map(opened)
        .map(|(group, due)| Open { due, group, probed: probed(due) })
        .collect();
    let (mut read, mut probes) = (Vec::new(), Vec::new());
    while let Some((group, count)) = largest_group(&open) {
        let probe = largest_probe(&open, window).filter(|probe| probe.count >= count);
        if let Some(Candidate { probe, .. }) = probe {
            open.retain(|row| row.probed != Some(&probe.status) || !probe.span.contains(row.due.created_at));
            probes.push(probe);
        } else {
            open.retain(|row| row.group != group);
            read.push(groups[group].clone());
        }
    }
    (read, probes)
}

/// The group with the most uncovered rows, and their number.
fn largest_group(open: &[Open<'_>]) -> Option<(usize, usize)> {
    let by_group = open.chunk_by(|above, below| above.group == below.group);
    by_group.map(|rows| (rows[0].group, rows.len())).max_by_key(|(_, count)| *count)
}

/// The probe that covers the most uncovered rows.
fn largest_probe(open: &[Open<'_>], window: Duration) -> Option<Candidate> {
    let from = |newest: usize| {
        let status = open[newest].probed?;
        let at = |row: &Open<'_>| Span::at(row.due.created_at);
        let mut probe = Probe {
            status: status.clone(),
            span: at(&open[newest]),
            oldest_read_at: open[newest].due.read_at,
        };
        let mut count = 1;
        for row in open[newest + 1..].iter().filter(|row| row.probed == Some(status)) {
            let span = probe.span.union(at(row));
            if span.outward().width() > window {
                break;
            }
            (probe.span, count) = (span, count + 1);
            probe.oldest_read_at = probe.oldest_read_at.min(row.due.read_at);
        }
        Some(Candidate { probe, count })
    };
    (0..open.len()).filter_map(from).reduce(|best, other| if other.count > best.count { other } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;
    const WINDOW: Duration = Duration::from_hours(7 * 24);

    /// A group of rows, each so many hours ago and in that status.
    fn group(rows: &[(i64, &str)]) -> DueGroup {
        let due: Vec<DueRow> = rows
            .iter()
            .map(|(hours, status)| DueRow {
                created_at: Timestamp::from_micros(1_790_000_000_000_000 - hours * HOUR),
                read_at: Timestamp::from_micros(1_790_000_000_000_000),
                is_doubted: false,
                status: Some(Status::new(status)),
            })
            .collect();
        let span = due.iter().map(|due| Span::at(due.created_at)).reduce(Span::union).unwrap();
        DueGroup { span, rows: due.len(), due, is_head: false }
    }

    fn covered(groups: &[DueGroup]) -> (usize, usize) {
        let (read, probes) = cover(groups, |due| due.status.as_ref(), WINDOW);
        for due in groups.iter().flat_map(|group| &group.due) {
            let is_read = read.iter().any(|group| group.span.contains(due.created_at));
            let is_probed = |probe: &Probe| {
                Some(&probe.status) == due.status.as_ref() && probe.span.contains(due.created_at)
            };
            assert!(is_read || probes.iter().any(is_probed), "{due:?}");
        }
        assert!(probes.iter().all(|probe| probe.span.outward().width() <= WINDOW));
        (read.len(), probes.len())
    }

    #[test]
    fn rows_of_one_status_are_requested_together() {
        let groups = [1, 50, 99, 148, 400].map(|hours| group(&[(hours, "queued")]));
        assert_eq!(covered(&groups), (0, 2));
    }

    #[test]
    fn rows_of_several_statuses_in_one_place_are_read_there() {
        let pairs = [1, 50, 99].map(|hours| group(&[(hours, "queued"), (hours + 1, "ringing")]));
        assert_eq!(covered(&pairs), (0, 2), "two statuses within a window");
        let pairs = [1, 300, 600].map(|hours| group(&[(hours, "queued"), (hours + 1, "ringing")]));
        assert_eq!(covered(&pairs), (3, 0), "a window each");
    }

    #[test]
    fn reads_and_probes_are_mixed_if_that_takes_fewer_requests() {
        let groups = [
            group(&[(1, "queued")]),
            group(&[(40, "queued"), (41, "ringing")]),
            group(&[(80, "queued")]),
            group(&[(700, "queued"), (701, "ringing")]),
        ];
        let (read, probes) = covered(&groups);
        assert_eq!((read + probes, read >= 1, probes >= 1), (3, true, true));
    }
}
