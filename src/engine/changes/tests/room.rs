//! Who gets room for change logs, and who gives it up.

use super::*;
use crate::engine::changes::registry::ChangeLogs;
use crate::telemetry::ChangeLogReadings;

/// Follows a question from now on; whether it got a cursor.
fn follow(logs: &ChangeLogs, number: i64, by: u8, count: u32, at: Timestamp) -> Result<String, NotKept> {
    let mut comparison = compare(logs, question(number), by, None, at);
    for slice in slices(&rows(count)) {
        comparison.take(agent(1), slice).unwrap();
    }
    match comparison.finish(logs, &verdict(&rows(count)), Confirmation::Given, at) {
        Finished::Complete(outcome) => outcome.cursor.map(|cursor| cursor.to_string()),
        other @ (Finished::Doubtful(_) | Finished::Gone) => panic!("{other:?}"),
    }
}

/// Whether a question's log is still there.
fn is_kept(logs: &ChangeLogs, number: i64, cursor: &str, at: Timestamp) -> bool {
    compare(logs, question(number), 1, Some(cursor), at).extent() == ResponseExtent::Changes
}

const HOUR: Duration = Duration::from_hours(1);

#[test]
fn one_question_holds_at_most_half() {
    let logs = ChangeLogs::new(1 << 20);
    assert!(follow(&logs, 1, 1, 7_000, NOW).is_ok());
    assert_eq!(follow(&logs, 2, 1, 9_000, NOW), Err(NotKept::TooLarge(1 << 19)));
    assert_eq!(follow(&logs, 1, 1, 9_000, NOW), Err(NotKept::TooLarge(1 << 19)));
    assert_eq!(logs.stats().logs, 0, "a log that grew too large is gone");
}

#[test]
fn a_caller_does_not_push_out_its_own_logs_in_use_and_gets_no_cursor_instead() {
    let logs = ChangeLogs::new(1 << 20);
    let cursors: Vec<_> = (0..4).map(|n| follow(&logs, n, 1, 4_500, NOW)).collect();
    assert_eq!(cursors[3], Err(NotKept::NoRoom), "{cursors:?}");
    for (n, cursor) in cursors.iter().flatten().enumerate() {
        assert!(is_kept(&logs, n as i64, cursor, NOW), "{n}");
    }
    let later = NOW.plus(HOUR);
    assert!(follow(&logs, 4, 1, 4_500, later).is_ok(), "what it has not used for a while goes first");
    assert_eq!((logs.stats().logs, logs.stats().dropped), (3, 1));
}

#[test]
fn the_caller_that_holds_most_gives_up_its_longest_unused_log_for_others() {
    let logs = ChangeLogs::new(1 << 20);
    let mine: Vec<_> =
        (0..3).map(|n| follow(&logs, n, 1, 4_500, NOW.plus(Duration::from_secs(n as u64)))).collect();
    let now = NOW.plus(Duration::from_secs(60));
    let other = follow(&logs, 10, 2, 4_500, now).unwrap();
    assert!(is_kept(&logs, 10, &other, now));
    let kept: Vec<_> = (0..3).map(|n| is_kept(&logs, n, mine[n as usize].as_ref().unwrap(), now)).collect();
    assert_eq!(kept, [false, true, true]);
    assert_eq!(follow(&logs, 0, 1, 4_500, now), Err(NotKept::NoRoom), "and does not take it back");
    assert!(is_kept(&logs, 10, &other, now));
}

#[test]
fn a_log_is_good_for_a_day_since_its_last_use() {
    let logs = ChangeLogs::new(1 << 20);
    let cursor = follow(&logs, 1, 1, 10, NOW).unwrap();
    follow(&logs, 1, 1, 10, NOW.plus(23 * HOUR)).unwrap();
    assert!(is_kept(&logs, 1, &cursor, NOW.plus(46 * HOUR)));
    assert!(!is_kept(&logs, 1, &cursor, NOW.plus(48 * HOUR)));
}

#[test]
fn logs_of_an_agent_or_a_key_are_dropped_with_what_is_known_of_it() {
    let logs = ChangeLogs::new(1 << 20);
    follow(&logs, 1, 1, 10, NOW).unwrap();
    logs.forget(Some(agent(2)), None);
    logs.forget(Some(agent(1)), Some(CredentialId::new([9; 16])));
    assert_eq!(logs.stats().logs, 1);
    logs.forget(Some(agent(1)), Some(CREDENTIAL));
    assert_eq!(logs.stats(), ChangeLogReadings::default());
}

#[test]
fn there_are_never_more_logs_than_tables_are_made_for() {
    let logs = ChangeLogs::new(1 << 30);
    for n in 0..4_200 {
        let _ = follow(&logs, n, 1, 1, NOW.plus(Duration::from_secs(n as u64)));
    }
    assert!(logs.stats().logs <= 4_096);
}
