use tokio::time::advance;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn counts_only_time_when_a_request_waits_and_none_is_under_way() {
    let clock = BudgetClock::default();
    let first = clock.wait();
    advance(SECOND).await;
    assert_eq!(clock.waited(), SECOND);
    let second = clock.wait();
    drop(first);
    let sent = clock.go();
    advance(SECOND).await;
    assert_eq!(clock.waited(), SECOND, "one is under way");
    drop(sent);
    advance(SECOND).await;
    drop(second);
    advance(SECOND).await;
    assert_eq!(clock.waited(), 2 * SECOND, "none waits now");
}
