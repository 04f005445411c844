//! Decides what an answer does about a part that can't be read. Pure: the answer acts on it.

use super::context::ReadOrigin;
use super::progress::AnswerProgress;
use crate::engine::reading::Ended;
use crate::engine::terms::{AskError, StaleReason, Tolerance};
use crate::source::SourceError;

/// What the decision depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) progress: AnswerProgress,
    /// Who started the reading.
    pub(super) origin: ReadOrigin,
    pub(super) tolerance: Tolerance,
    pub(super) given: GivenRows,
    pub(super) stale_rows: StaleRows,
    pub(super) time: TimeLeft,
}

/// Where the delivered rows of the answer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenRows {
    /// None was delivered, or the response waits for all of them.
    Inside,
    /// Some were sent to the client.
    Outside,
}

/// Whether stale rows may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StaleRows {
    Allowed,
    None,
}

/// Whether the answer's deadline allows for another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeLeft {
    Some,
    /// No: an answer stops waiting for upstream shortly before its deadline.
    None,
}

/// What an answer does about a part that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Plans the part again.
    Replan,
    /// Voids all rows so far and restarts.
    Restart,
    /// Serves the part from stale rows.
    Stale(StaleReason),
    /// Omits the part.
    LeaveOut,
    /// Ends with the error.
    Fail,
}

/// The remedy for a part that ended like this.
pub(super) fn remedy(ended: &Ended, standing: Standing) -> Remedy {
    let Standing { progress, origin, tolerance, given, stale_rows, time } = standing;
    let stale_reason = match ended {
        Ended::Unwanted if progress.may_replan() => return Remedy::Replan,
        Ended::Disordered
            if progress.may_replan() && progress.may_restart() && given == GivenRows::Inside =>
        {
            return Remedy::Restart;
        }
        Ended::Unwanted | Ended::Disordered => Some(StaleReason::UpstreamFailed),
        Ended::Failed(AskError::ShuttingDown) => return Remedy::Fail,
        Ended::Failed(error) if is_cut_short(error) && time == TimeLeft::None => None,
        Ended::Failed(error) => stale_reason(error),
    };
    if let Some(reason) = stale_reason
        && stale_rows == StaleRows::Allowed
        && progress.may_replan()
    {
        return Remedy::Stale(reason);
    }
    let had_less_patience = match (origin, ended) {
        (ReadOrigin::Joined, _) => true,
        (ReadOrigin::OwnAtFirst, Ended::Failed(error)) => is_cut_short(error),
        (ReadOrigin::OwnAtFirst | ReadOrigin::Own, _) => false,
    };
    if had_less_patience && progress.is_fresh() {
        return Remedy::Replan;
    }
    if tolerance.is_lenient() { Remedy::LeaveOut } else { Remedy::Fail }
}

/// Whether a request may have failed only because nothing is sent shortly before the deadline.
pub(super) const fn is_cut_short(error: &AskError) -> bool {
    matches!(error, AskError::Source(SourceError::TimedOut | SourceError::RateLimited { upstream: None, .. }))
}

/// The reason for serving stale rows instead of this error; `None` if that is not allowed.
const fn stale_reason(error: &AskError) -> Option<StaleReason> {
    match error {
        AskError::Source(SourceError::RateLimited { .. }) => Some(StaleReason::RateLimited),
        AskError::Source(
            SourceError::Unavailable { .. } | SourceError::TimedOut | SourceError::Malformed { .. },
        )
        | AskError::Inconsistent { .. } => Some(StaleReason::UpstreamFailed),
        AskError::Source(
            SourceError::Denied(_) | SourceError::AgentNotFound(_) | SourceError::Refused(_),
        )
        | AskError::NoHistoryStart
        | AskError::NotReady { .. }
        | AskError::TooLarge { .. }
        | AskError::NoMemory(_)
        | AskError::NotCached
        | AskError::ShuttingDown => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::answer::progress::{Action, MAX_REPLANS, MAX_RESTARTS, StepEvent};
    use crate::source::UpstreamWords;

    /// A strict answer that has given nothing, of a reading of its own.
    fn strict() -> Standing {
        Standing {
            progress: AnswerProgress::default(),
            origin: ReadOrigin::Own,
            tolerance: Tolerance::Strict,
            given: GivenRows::Inside,
            stale_rows: StaleRows::None,
            time: TimeLeft::Some,
        }
    }

    fn tired() -> AnswerProgress {
        let mut progress = AnswerProgress::default();
        (0..MAX_REPLANS).for_each(|_| assert_eq!(progress.after(StepEvent::NotKept), Action::Replan));
        progress
    }

    fn restarted() -> AnswerProgress {
        let mut progress = AnswerProgress::default();
        (0..MAX_RESTARTS).for_each(|_| progress.restart());
        progress
    }

    fn words() -> UpstreamWords {
        UpstreamWords { status: 403, message: String::new() }
    }

    fn failed(error: SourceError) -> Ended {
        Ended::Failed(AskError::Source(error))
    }

    fn limited() -> Ended {
        failed(SourceError::RateLimited { retry_after: Duration::ZERO, upstream: None })
    }

    #[test]
    fn every_failure_of_a_strict_answer_has_its_remedy() {
        let outside = Standing { given: GivenRows::Outside, ..strict() };
        let joined = Standing { origin: ReadOrigin::Joined, ..strict() };
        let at_first = Standing { origin: ReadOrigin::OwnAtFirst, ..outside };
        let at_the_end = Standing { progress: tired(), ..strict() };
        for (ended, standing, expected) in [
            (Ended::Unwanted, strict(), Remedy::Replan),
            (Ended::Unwanted, at_the_end, Remedy::Fail),
            (Ended::Disordered, strict(), Remedy::Restart),
            (Ended::Disordered, outside, Remedy::Fail),
            (Ended::Disordered, at_the_end, Remedy::Fail),
            (Ended::Disordered, Standing { progress: restarted(), ..strict() }, Remedy::Fail),
            (failed(SourceError::TimedOut), strict(), Remedy::Fail),
            (failed(SourceError::TimedOut), joined, Remedy::Replan),
            (failed(SourceError::Denied(words())), joined, Remedy::Replan),
            (Ended::Failed(AskError::ShuttingDown), joined, Remedy::Fail),
            (limited(), strict(), Remedy::Fail),
            (limited(), at_first, Remedy::Replan),
            (failed(SourceError::TimedOut), at_first, Remedy::Replan),
            (failed(SourceError::Denied(words())), at_first, Remedy::Fail),
        ] {
            assert_eq!(remedy(&ended, standing), expected, "{ended:?} {standing:?}");
        }
    }

    #[test]
    fn what_may_be_stale_is_given_instead_of_a_passing_failure() {
        let stale = Standing { stale_rows: StaleRows::Allowed, tolerance: Tolerance::Lenient, ..strict() };
        let upstream_failed = Remedy::Stale(StaleReason::UpstreamFailed);
        for (ended, standing, expected) in [
            (failed(SourceError::TimedOut), stale, upstream_failed),
            (failed(SourceError::Malformed { detail: String::new() }), stale, upstream_failed),
            (limited(), stale, Remedy::Stale(StaleReason::RateLimited)),
            (Ended::Disordered, Standing { given: GivenRows::Outside, ..stale }, upstream_failed),
            (failed(SourceError::Denied(words())), stale, Remedy::LeaveOut),
            (failed(SourceError::Refused(words())), stale, Remedy::LeaveOut),
            (Ended::Failed(AskError::ShuttingDown), stale, Remedy::Fail),
            (failed(SourceError::TimedOut), Standing { progress: tired(), ..stale }, Remedy::LeaveOut),
            // Shortly before the deadline nothing is sent any more: that is no failure of upstream's.
            (failed(SourceError::TimedOut), Standing { time: TimeLeft::None, ..stale }, Remedy::LeaveOut),
            (limited(), Standing { time: TimeLeft::None, ..stale }, Remedy::LeaveOut),
        ] {
            assert_eq!(remedy(&ended, standing), expected, "{ended:?} {standing:?}");
        }
    }

    #[test]
    fn a_lenient_answer_leaves_out_what_has_no_other_remedy() {
        let lenient = Standing { tolerance: Tolerance::Lenient, ..strict() };
        let joined = Standing { origin: ReadOrigin::Joined, ..lenient };
        assert_eq!(remedy(&failed(SourceError::TimedOut), lenient), Remedy::LeaveOut);
        assert_eq!(remedy(&failed(SourceError::TimedOut), joined), Remedy::Replan);
        assert_eq!(remedy(&Ended::Failed(AskError::NotCached), lenient), Remedy::LeaveOut);
    }
}
