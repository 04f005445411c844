//! Merges the verdicts of sections into that of a response: pure.

use crate::domain::{AgentId, Digest, Timestamp};
use crate::engine::terms::{CacheReport, Freshness, StaleReason, Verdict};

/// The verdict of one section.
#[derive(Clone, Debug)]
pub struct SectionVerdict {
    /// Its agent.
    pub agent: AgentId,
    /// Its verdict.
    pub verdict: Verdict,
}

/// The age of the list that named the agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListState {
    /// Its age, and its limit.
    pub freshness: Freshness,
    /// Why it is older than that.
    pub stale: Option<StaleReason>,
}

/// The verdict on all sections together.
///
/// `as_of` is the earliest of the sections'; `none` is that of a response without sections. The missing parts
/// are those of the sections, in their order.
pub(super) fn merged(none: Timestamp, list: Option<ListState>, sections: &[SectionVerdict]) -> Verdict {
    let all = || sections.iter().map(|section| &section.verdict);
    let mut digest = Digest::default();
    all().for_each(|verdict| digest.add(verdict.digest));
    let freshness = all().map(|verdict| verdict.freshness).chain(list.map(|list| list.freshness));
    Verdict {
        as_of: all().map(|verdict| verdict.as_of).min().unwrap_or(none),
        count: all().map(|verdict| verdict.count).sum(),
        total: all().map(|verdict| verdict.total).sum(),
        digest,
        missing: all().flat_map(|verdict| verdict.missing.clone()).collect(),
        freshness: freshness.reduce(Freshness::sooner).unwrap_or_default(),
        report: report(list, all().map(|verdict| verdict.report)),
    }
}

fn report(list: Option<ListState>, sections: impl Iterator<Item = CacheReport>) -> CacheReport {
    let whole = CacheReport { stale: list.and_then(|list| list.stale), ..CacheReport::default() };
    sections.fold(whole, |whole, section| CacheReport {
        hit_rows: whole.hit_rows + section.hit_rows,
        miss_rows: whole.miss_rows + section.miss_rows,
        joined_rows: whole.joined_rows + section.joined_rows,
        stale_rows: whole.stale_rows + section.stale_rows,
        stale: worse(whole.stale, section.stale),
        upstream_requests: whole.upstream_requests + section.upstream_requests,
    })
}

/// The more severe of two reasons: a section that upstream failed to renew outweighs one that is being
/// renewed.
fn worse(one: Option<StaleReason>, other: Option<StaleReason>) -> Option<StaleReason> {
    match (one, other) {
        (Some(StaleReason::Revalidating) | None, other @ Some(_)) => other,
        (one, _) => one,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::Span;
    use crate::engine::terms::{AskError, Missing};

    const SECOND: Duration = Duration::from_secs(1);

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn section(number: u128, verdict: Verdict) -> SectionVerdict {
        SectionVerdict { agent: AgentId::new(uuid::Uuid::from_u128(number)), verdict }
    }

    fn verdict(as_of: i64, count: u64, age: u32) -> Verdict {
        Verdict {
            as_of: at(as_of),
            count,
            total: Some(count),
            digest: Digest(u128::from(count)),
            missing: Vec::new(),
            freshness: Freshness { age: SECOND * age, lifetime: SECOND * 10 },
            report: CacheReport { hit_rows: count, upstream_requests: 1, ..CacheReport::default() },
        }
    }

    #[test]
    fn the_whole_has_the_age_of_the_oldest_section_and_the_rows_of_all() {
        let sections =
            [section(1, verdict(5, 2, 3)), section(2, verdict(4, 0, 7)), section(3, verdict(9, 3, 0))];
        let whole = merged(at(1), None, &sections);
        assert_eq!((whole.as_of, whole.count, whole.total, whole.digest), (at(4), 5, Some(5), Digest(5)));
        assert_eq!(whole.freshness, Freshness { age: SECOND * 7, lifetime: SECOND * 10 });
        assert_eq!((whole.report.hit_rows, whole.report.upstream_requests), (5, 3));
        assert!(whole.is_complete() && !whole.has_more());
    }

    #[test]
    fn without_sections_it_is_complete_and_empty() {
        let list = ListState { freshness: Freshness { age: SECOND, lifetime: SECOND * 60 }, stale: None };
        let whole = merged(at(1), Some(list), &[]);
        assert_eq!((whole.as_of, whole.count, whole.total), (at(1), 0, Some(0)));
        assert_eq!(whole.freshness, list.freshness);
        assert!(whole.is_complete());
    }

    #[test]
    fn the_total_is_unknown_if_one_section_has_older_rows() {
        let more = Verdict { total: None, ..verdict(5, 2, 3) };
        let whole = merged(at(1), None, &[section(1, verdict(5, 2, 3)), section(2, more)]);
        assert!(whole.has_more());
        assert_eq!(whole.count, 4);
    }

    #[test]
    fn the_whole_is_incomplete_if_one_section_lacks_a_part() {
        let missing = vec![Missing { span: Span::at(at(2)), error: AskError::NotCached }];
        let lacking = Verdict { missing, ..verdict(5, 2, 3) };
        let whole = merged(at(1), None, &[section(1, lacking), section(2, verdict(5, 2, 3))]);
        assert!(!whole.is_complete());
    }

    #[test]
    fn an_upstream_failure_outweighs_a_renewal() {
        let stale = |reason| {
            let mut stale = verdict(5, 2, 3);
            stale.report.stale = reason;
            section(1, stale)
        };
        let sections =
            [None, Some(StaleReason::Revalidating), Some(StaleReason::UpstreamFailed), None].map(stale);
        assert_eq!(merged(at(1), None, &sections).report.stale, Some(StaleReason::UpstreamFailed));
    }
}
