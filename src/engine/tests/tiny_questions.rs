//! The effects of many tiny requests.

use super::*;

#[tokio::test(start_paused = true)]
async fn many_single_instant_requests_do_not_make_the_history_cost_more() {
    let fresh = Rig::new(settings(), 1).with_history(1_000, 20);
    assert_eq!(fresh.rows(fresh.question()).await.len(), 1_000);
    let from_scratch = fresh.requests();
    fresh.close().await;
    let rig = Rig::new(settings(), 1).with_history(1_000, 20);
    for number in 1..200 {
        let at = NOW.minus(number * DAY / 12);
        rig.rows(Question { from: Some(at), to: Some(at), ..rig.question() }).await;
    }
    rig.requests();
    assert_eq!(rig.rows(rig.question()).await.len(), 1_000);
    let requests = rig.requests();
    assert!(requests <= from_scratch + 1, "{requests} requests, {from_scratch} from scratch");
    assert!(rig.parts().len() < 40, "the segments are merged: {}", rig.parts().len());
    rig.close().await;
}
