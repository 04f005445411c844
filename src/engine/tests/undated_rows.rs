//! Rows without a date: their place is known by their neighbors only, and changes with what is read.

use super::bent::ids;
use super::script::Totals;
use super::*;

/// A row that upstream writes no date into.
fn undated(rig: &Rig, created_at: Timestamp) -> usize {
    let mut world = rig.script.world();
    let row = world.insert(created_at, "completed");
    world.rows[row].is_dated = false;
    row
}

fn reloaded(question: Question) -> Question {
    Question { wish: Wish { max_age: Some(Duration::ZERO), ..Wish::default() }, ..question }
}

#[tokio::test(start_paused = true)]
async fn one_below_a_row_that_is_newer_than_the_present_is_given() {
    let rig = Rig::new(settings(), 1).with_history(20, 13);
    undated(&rig, rig.clock.now());
    let before = ids(&rig.truth(&rig.question()));
    // Upstream is asked for whole seconds, so this one comes along.
    let now = rig.clock.now();
    rig.script.world().before_page = Some(Box::new(move |world, _| {
        if world.rows.len() == 21 {
            world.insert(now.plus(SECOND / 1_000), "completed");
        }
    }));
    assert!(before.is_subset(&ids(&rig.rows(rig.question()).await)));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn one_known_elsewhere_is_not_given_as_it_was_before_it_is_read() {
    let rig = Rig::new(settings(), 1).with_history(2, 13);
    rig.script.world().quirks.totals = Totals::Missing;
    let row = undated(&rig, rig.clock.now());
    pass(2 * SECOND).await;
    let now = rig.clock.now();
    (0..15).for_each(|_| {
        rig.script.world().insert(now, "completed");
    });
    // Below these fifteen now, and read apart from them below.
    rig.rows(rig.question()).await;
    pass(SECOND / 100).await;
    let now = rig.clock.now();
    rig.script.world().change(row, "completed", now);
    (0..45).for_each(|_| {
        rig.script.world().insert(now, "completed");
    });
    pass(SECOND / 100).await;
    let given: HashSet<_> = rig.rows(reloaded(rig.question())).await.into_iter().collect();
    assert_eq!(given, rig.truth(&rig.question()).into_iter().collect());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn one_whose_place_moves_up_past_a_slow_stream_is_given() {
    let rig = Rig::new(EngineSettings { live_ttl: 30 * SECOND, ..settings() }, 1).with_history(400, 20);
    let at = NOW.minus(5 * DAY).minus(1_000 * SECOND);
    let row = undated(&rig, at);
    let id = rig.script.world().rows[row].id.clone();
    // Read from just above it downwards, it takes the place of the row below.
    let to = Some(at.plus(10 * SECOND));
    rig.rows(Question { from: Some(at.minus(5 * DAY)), to, ..rig.question() }).await;
    let pace = Pace::Streamed { row_wait: 50 * SECOND };
    let mut slow = rig.engine.ask(Question { pace, ..rig.question() }).await.unwrap();
    let mut given = Vec::new();
    while given.len() < 100 {
        given.extend(rows(&slow.next().await.unwrap().unwrap()));
    }
    assert!(!ids(&given).contains(&id));
    // Read with its neighbors, that of the row above.
    rig.rows(reloaded(rig.question())).await;
    while let Some(slice) = slow.next().await.unwrap() {
        given.extend(rows(&slice));
    }
    assert!(ids(&given).contains(&id));
    assert_eq!(given.len(), 401);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_was_given_without_its_date_is_not_given_again_with_it() {
    let rig = Rig::new(settings(), 1);
    {
        let mut world = rig.script.world();
        world.insert(NOW.minus(14 * DAY), "completed");
        world.born = Some(NOW.minus(14 * DAY));
        world.quirks.compare = super::script::Compare::Ignored;
    }
    rig.rows(rig.question()).await;
    // The page that would tell that upstream ignores the dates comes empty.
    let mut pages = 0;
    rig.script.world().before_page = Some(Box::new(move |world, _| {
        pages += 1;
        world.emptied = (pages == 4).then_some(1);
    }));
    let filters = Filters { answered_by_voice_mail: Some(false), ..Filters::default() };
    assert_eq!(rig.rows(Question { filters, ..rig.question() }).await.len(), 1);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_the_store_dropped_is_read_where_it_may_be_and_not_only_where_it_was_put() {
    let rig = Rig::new(settings(), 1).with_history(20, 13);
    undated(&rig, rig.clock.now());
    pass(15 * SECOND).await;
    // Read below this one, it takes its place, which was asked for apart from its own.
    rig.script.world().insert(rig.clock.now(), "completed");
    let all = ids(&rig.rows(rig.question()).await);
    assert_eq!(all.len(), 22);
    rig.store.0.lock().unwrap().retain(|_, entry| !entry.has_undated());
    assert_eq!(ids(&rig.rows(rig.question()).await), all);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_was_put_among_the_latest_is_read_again_where_it_may_be_and_not_only_there() {
    let rig = Rig::new(settings(), 1);
    rig.script.world().insert(NOW.minus(8 * DAY), "completed");
    undated(&rig, rig.clock.now());
    pass(11 * SECOND).await;
    // Alone on its page, it takes the present's place.
    let all = ids(&rig.rows(rig.question()).await);
    pass(2 * SECOND).await;
    assert_eq!((ids(&rig.rows(rig.question()).await), all.len()), (all, 2));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_a_later_present_was_lent_to_is_given_to_a_question_that_came_before() {
    let rig = Rig::new(EngineSettings { settle_after: SECOND, ..settings() }, 1).with_history(40, 13);
    rig.script.world().insert(NOW.minus(10 * DAY), "in-progress");
    rig.rows(rig.question()).await;
    pass(20 * SECOND).await;
    undated(&rig, rig.clock.now());
    pass(SECOND).await;
    // It asks first what became of the old row.
    let earlier = rig.rows(rig.question());
    let later = async {
        tokio::time::sleep(SECOND / 1_000).await;
        let wish = Wish { no_store: true, ..Wish::default() };
        rig.rows(Question { wish, ..rig.question() }).await.len()
    };
    let (earlier, later) = tokio::join!(earlier, later);
    assert_eq!((earlier.len(), later), (42, 42));
    rig.close().await;
}
