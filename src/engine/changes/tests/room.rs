//! Which callers get room for change logs, and which lose it.

use super::*;
use crate::engine::changes::registry::ChangeLogs;
use crate::telemetry::ChangeLogReadings;

/// Follows a question; returns its cursor if it got one.
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
fn one_question_uses_at_most_half_of_the_memory() {
    let logs = ChangeLogs::new(1 << 20);
    assert!(follow(&logs, 1, 1, 7_000, NOW).is_ok());
    assert_eq!(follow(&logs, 2, 1, 9_000, NOW), Err(NotKept::TooLarge(1 << 19)));
    assert_eq!(follow(&logs, 1, 1, 9_000, NOW), Err(NotKept::TooLarge(1 << 19)));
    assert_eq!(logs.stats().logs, 0, "a log that grew too large is dropped");
}

#[test]
fn a_caller_gets_no_cursor_rather_than_evict_its_own_logs_in_use() {
    let logs = ChangeLogs::new(1 << 20);
    let cursors: Vec<_> = (0..4).map(|n| follow(&logs, n, 1, 4_500, NOW)).collect();
    assert_eq!(cursors[3], Err(NotKept::NoRoom), "{cursors:?}");
    for (n, cursor) in cursors.iter().flatten().enumerate() {
        assert!(is_kept(&logs, n as i64, cursor, NOW), "{n}");
    }
    let later = NOW.plus(HOUR);
    assert!(follow(&logs, 4, 1, 4_500, later).is_ok(), "it loses the log that it has not used for a while");
    assert_eq!((logs.stats().logs, logs.stats().dropped), (3, 1));
}

#[test]
fn the_caller_that_holds_most_loses_its_least_recently_used_log() {
    let logs = ChangeLogs::new(1 << 20);
    let mine: Vec<_> =
        (0..3).map(|n| follow(&logs, n, 1, 4_500, NOW.plus(Duration::from_secs(n as u64)))).collect();
    let now = NOW.plus(Duration::from_secs(60));
    let other = follow(&logs, 10, 2, 4_500, now).unwrap();
    assert!(is_kept(&logs, 10, &other, now));
    let kept: Vec<_> = (0..3).map(|n| is_kept(&logs, n, mine[n as usize].as_ref().unwrap(), now)).collect();
    assert_eq!(kept, [false, true, true]);
    assert_eq!(
        follow(&logs, 0, 1, 4_500, now),
        Err(NotKept::NoRoom),
        "the caller does not take the room back"
    );
    assert!(is_kept(&logs, 10, &other, now));
}

#[test]
fn a_log_expires_a_day_after_its_last_use() {
    let logs = ChangeLogs::new(1 << 20);
    let cursor = follow(&logs, 1, 1, 10, NOW).unwrap();
    follow(&logs, 1, 1, 10, NOW.plus(23 * HOUR)).unwrap();
    assert!(is_kept(&logs, 1, &cursor, NOW.plus(46 * HOUR)));
    assert!(!is_kept(&logs, 1, &cursor, NOW.plus(48 * HOUR)));
}

#[test]
fn logs_are_dropped_with_their_agent_or_key() {
    let logs = ChangeLogs::new(1 << 20);
    follow(&logs, 1, 1, 10, NOW).unwrap();
    logs.forget(Some(agent(2)), None);
    logs.forget(Some(agent(1)), Some(CredentialId::new([9; 16])));
    assert_eq!(logs.stats().logs, 1);
    logs.forget(Some(agent(1)), Some(CREDENTIAL));
    assert_eq!(logs.stats(), ChangeLogReadings::default());
}

#[test]
fn the_number_of_logs_is_bounded() {
    let logs = ChangeLogs::new(1 << 30);
    for n in 0..4_200 {
        let _ = follow(&logs, n, 1, 1, NOW.plus(Duration::from_secs(n as u64)));
    }
    assert!(logs.stats().logs <= 4_096);
}
