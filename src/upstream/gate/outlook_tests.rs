use std::num::NonZeroU32;

use super::tests::{context, enter, gate};
use super::*;
use crate::source::Urgency;
use crate::upstream::settings::{Fraction, Rate, RateScope};

const MINUTE: Duration = Duration::from_secs(60);

fn applicant(key: u8) -> Applicant {
    let credential = CredentialId::new([key; 16]);
    Applicant { credential, caller: Caller::of_key(credential), standing: KeyAcceptance::Accepted }
}

#[tokio::test(start_paused = true)]
async fn the_outlook_names_the_budget_and_when_the_next_request_is_sent() {
    let gate = gate(3, MINUTE, 100);
    let context = context(Urgency::Refresh);
    let left = |outlook: SourceOutlook| outlook.budget.map(|budget| (budget.limit, budget.left));
    assert_eq!(left(gate.outlook(applicant(1))), Some((3, 3)));
    assert_eq!(gate.outlook(applicant(1)).health, SourceHealth::Ok);
    for _ in 0..3 {
        enter(&gate, &context).await.unwrap().answered(None);
    }
    let spent = gate.outlook(applicant(1));
    assert_eq!((left(spent), spent.health), (Some((3, 0)), SourceHealth::Limited));
    assert!(spent.paused_for.is_some_and(|pause| (MINUTE..MINUTE + Duration::from_secs(2)).contains(&pause)));
    tokio::time::advance(MINUTE + Duration::from_secs(2)).await;
    assert_eq!(gate.outlook(applicant(1)).paused_for, None);
}

#[tokio::test(start_paused = true)]
async fn with_a_budget_for_each_credential_the_outlook_shows_the_callers() {
    let rate = Rate { count: NonZeroU32::new(3).unwrap(), per: MINUTE };
    let lanes = Lanes::new(RateScope::Credential, Some(rate), Fraction::percent(20).unwrap());
    let gate = Gate::with(lanes, NonZeroUsize::new(8).unwrap());
    enter(&gate, &context(Urgency::Refresh)).await.unwrap().answered(None);
    let left = |key| gate.outlook(applicant(key)).budget.map(|budget| budget.left);
    assert_eq!((left(1), left(2)), (Some(2), Some(3)));
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_the_outlook_has_no_budget() {
    let gate = gate(0, MINUTE, 8);
    let outlook = gate.outlook(applicant(1));
    assert_eq!((outlook.budget, outlook.paused_for), (None, None));
}
