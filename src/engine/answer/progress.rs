//! Decides what an answer does if a part is not where its plan says. Pure: the answer looks, waits and acts.

/// How often an answer plans again without progress.
pub(super) const MAX_REPLANS: u32 = 24;

/// After so many plans without a row, an answer no longer waits for what other processes read.
const MANY_REPLANS: u32 = 4;

/// How often an answer restarts from its first row: once for a list whose order was unknown, and once more
/// for a list that changed its order.
pub(super) const MAX_RESTARTS: u32 = 2;

/// The progress of an answer: how often it tried something in vain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AnswerProgress {
    replans: u32,
    restarts: u32,
}

/// What an answer found at a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepEvent {
    /// Rows, or the certainty that there are none.
    Found,
    /// A span that was known when the plan was made is gone.
    NotKept,
    /// The piece that a reading delivered does not contain the part.
    Elsewhere,
    /// A reading has passed the part and no longer holds it.
    Passed,
    /// A reading that started before the question brought rows that are due by now.
    Outdated,
    /// The part can't be read, but trying again may help.
    Interrupted,
}

/// What the answer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Delivers the rows, and continues below them.
    Give,
    /// Plans the part again, and joins any reading.
    Replan,
    /// Plans the part again, and joins only readings that start from now on.
    ReplanAfresh,
    /// Plans the part again, and joins only readings that started after the question arrived.
    ReplanSinceAsked,
    /// Omits the part if the question allows it, and otherwise ends: the part was gone each time.
    GiveUp,
}

impl AnswerProgress {
    /// The action for what was found.
    ///
    /// The only place that bounds how often a part is planned again without a row or an empty span in
    /// between. Nothing else would end a loop in which a plan never finds what it names.
    pub(super) const fn after(&mut self, event: StepEvent) -> Action {
        let action = match event {
            StepEvent::Found => {
                self.replans = 0;
                return Action::Give;
            }
            StepEvent::NotKept | StepEvent::Elsewhere | StepEvent::Interrupted => Action::Replan,
            StepEvent::Passed => Action::ReplanAfresh,
            StepEvent::Outdated => Action::ReplanSinceAsked,
        };
        if self.replans >= MAX_REPLANS {
            return Action::GiveUp;
        }
        self.replans += 1;
        action
    }

    /// Whether a part may be planned again.
    pub(super) const fn may_replan(self) -> bool {
        self.replans < MAX_REPLANS
    }

    /// Whether no part was planned again since rows were delivered.
    pub(super) const fn is_fresh(self) -> bool {
        self.replans == 0
    }

    /// Whether several plans in a row found nothing, perhaps because others read what is too old for this answer.
    pub(super) const fn is_stuck(self) -> bool {
        self.replans >= MANY_REPLANS
    }

    /// Whether the answer may restart once more.
    pub(super) const fn may_restart(self) -> bool {
        self.restarts < MAX_RESTARTS
    }

    /// How often the answer was restarted.
    pub(super) const fn restarts(self) -> u32 {
        self.restarts
    }

    /// The answer restarts.
    pub(super) const fn restart(&mut self) {
        self.restarts += 1;
    }

    /// A refusal was not confirmed, which may happen a few times.
    pub(super) const fn not_confirmed(&mut self) {
        let replans = self.replans + MAX_REPLANS / 3;
        self.replans = if replans < MAX_REPLANS { replans } else { MAX_REPLANS - 1 };
    }

    /// A part is served stale.
    pub(super) const fn fell_back(&mut self) {
        self.replans += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_where_the_plan_says_is_planned_again() {
        for (event, action) in [
            (StepEvent::Found, Action::Give),
            (StepEvent::NotKept, Action::Replan),
            (StepEvent::Elsewhere, Action::Replan),
            (StepEvent::Interrupted, Action::Replan),
            (StepEvent::Passed, Action::ReplanAfresh),
            (StepEvent::Outdated, Action::ReplanSinceAsked),
        ] {
            assert_eq!(AnswerProgress::default().after(event), action, "{event:?}");
        }
    }

    #[test]
    fn an_answer_that_comes_no_further_gives_up_and_rows_begin_the_count_again() {
        let events = [
            StepEvent::NotKept,
            StepEvent::Elsewhere,
            StepEvent::Passed,
            StepEvent::Outdated,
            StepEvent::Interrupted,
        ];
        let mut progress = AnswerProgress::default();
        for round in 0..2 {
            for event in events.into_iter().cycle().take(MAX_REPLANS as usize) {
                assert_ne!(progress.after(event), Action::GiveUp, "{event:?} in round {round}");
            }
            for event in events {
                assert_eq!(progress.after(event), Action::GiveUp, "{event:?}");
            }
            assert_eq!(progress.after(StepEvent::Found), Action::Give);
        }
    }

    #[test]
    fn a_refusal_that_is_not_confirmed_counts_as_several_tries_but_leaves_one() {
        let mut progress = AnswerProgress::default();
        (0..3).for_each(|_| progress.not_confirmed());
        assert_eq!(progress.after(StepEvent::Interrupted), Action::Replan);
        assert_eq!(progress.after(StepEvent::Interrupted), Action::GiveUp);
    }
}
