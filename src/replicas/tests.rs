//! The tier with a real server. Each `Replicas` stands for a process.

use std::sync::Arc;

use super::testing::{TestServer, WEEK, changes, row_texts};
use super::*;
use crate::sealed::testing::{cell, entry, scope, span};
use crate::tier::{ForgottenSpan, turn_of};

const NOTHING: (usize, usize) = (0, 0);

/// Counts the cells and rows that a process finds.
async fn found(tier: &Replicas, of: u8) -> (usize, usize) {
    let news = tier.load(&scope(of), 0).await;
    let entries = news.cells.iter().flat_map(|cell| &cell.entries);
    let entries: Vec<_> = entries.map(|entry| (entry.key, Arc::clone(&entry.index))).collect();
    let rows = tier.load_rows(&scope(of), entries).await;
    (news.cells.len(), rows.into_iter().flatten().map(|entry| entry.index().len()).sum())
}

#[tokio::test]
async fn a_process_serves_what_another_saved() {
    let redis = TestServer::start();
    let (ours, theirs) = (redis.open(&[1]).await, redis.open(&[1]).await);
    assert_eq!(found(&theirs, 1).await, NOTHING);
    let first = ours.save(&scope(1), changes(1, 0, &[30, 20, 10], redis.read_at())).await;
    let Saved::Yes { before: 0, after } = first else { panic!("{first:?}") };
    assert_eq!(found(&theirs, 1).await, (1, 3));
    assert_eq!(row_texts(&theirs, 1).await, row_texts(&ours, 1).await);
    let second = theirs.save(&scope(1), changes(1, 1, &[WEEK + 10], redis.read_at())).await;
    let Saved::Yes { before, after: latest } = second else { panic!("{second:?}") };
    assert_eq!(before, after);
    let news = ours.load(&scope(1), after).await;
    assert_eq!((news.version, news.cells.len(), news.cells[0].week), (latest, 1, 101));
    assert_eq!(ours.load(&scope(1), latest).await.cells.len(), 0);
    assert_eq!(found(&ours, 2).await, NOTHING);
}

#[tokio::test]
async fn processes_that_save_the_same_week_at_once_lose_nothing() {
    let redis = TestServer::start();
    let mut tiers = Vec::new();
    for _ in 0..4 {
        tiers.push(redis.open(&[1]).await);
    }
    let save = |(number, tier): (usize, &Arc<Replicas>)| {
        let created = i64::try_from(number).unwrap() * 100 + 10;
        let (tier, changes) = (Arc::clone(tier), changes(1, number, &[created], redis.read_at()));
        async move { tier.save(&scope(1), changes).await }
    };
    let saved = futures_util::future::join_all(tiers.iter().enumerate().map(save)).await;
    assert!(saved.iter().all(|saved| matches!(saved, Saved::Yes { .. })), "{saved:?}");
    assert_eq!(found(&tiers[0], 1).await, (1, 4));
}

#[tokio::test]
async fn forgotten_spans_are_not_served_again() {
    let redis = TestServer::start();
    let tier = redis.open(&[1]).await;
    tier.save(&scope(1), changes(1, 0, &[10], redis.read_at())).await;
    let everything = span(0, 200 * WEEK);
    let gone = ForgottenSpan { span: everything, until: redis.now };
    let forget = ScopeChanges { forgotten: vec![gone], ..ScopeChanges::default() };
    assert!(matches!(tier.save(&scope(1), Arc::new(forget)).await, Saved::Yes { .. }));
    assert_eq!(found(&tier, 1).await, NOTHING);
}

#[tokio::test]
async fn a_purge_reaches_every_process_and_later_ones() {
    let redis = TestServer::start();
    let (ours, theirs) = (redis.open(&[1]).await, redis.open(&[1]).await);
    ours.save(&scope(1), changes(1, 0, &[10], redis.read_at())).await;
    ours.save(&scope(2), changes(2, 0, &[10], redis.read_at())).await;
    assert_eq!(ours.void(Voided::Agent(scope(1).agent), redis.now).await, Ok(()));
    assert_eq!(theirs.voided(vec![scope(1), scope(2)]).await, [(scope(1), redis.now)]);
    // A late save must not bring back rows that were read before the purge.
    theirs.save(&scope(1), changes(1, 0, &[10], redis.read_at())).await;
    let later = redis.open(&[1]).await;
    for tier in [&ours, &theirs, &later] {
        assert_eq!((found(tier, 1).await, found(tier, 2).await), (NOTHING, (1, 1)));
    }
}

#[tokio::test]
async fn a_purge_while_the_server_is_away_holds_here_and_is_written_later() {
    let mut redis = TestServer::start();
    let ours = redis.open(&[1]).await;
    redis.stop();
    assert_eq!(ours.void(Voided::Agent(scope(1).agent), redis.now).await, Err(TierUnavailable));
    assert_eq!(ours.voided(vec![scope(1), scope(2)]).await[0], (scope(1), redis.now));
    assert_eq!(ours.save(&scope(1), changes(1, 0, &[10], redis.read_at())).await, Saved::No);
    assert!(ours.take_turn(&scope(1), span(0, 10), 5).await.is_mine);
    assert!(!ours.status().is_ok);
    redis.restart();
    while !ours.status().is_ok {
        tokio::task::yield_now().await;
    }
    ours.voided(Vec::new()).await;
    let theirs = redis.open(&[1]).await;
    assert_eq!(theirs.voided(vec![scope(1), scope(2)]).await, [(scope(1), redis.now)]);
}

#[tokio::test]
async fn lost_marks_void_everything_read_until_then() {
    for loss in [&["FLUSHALL"][..], &["DEL", "VOIDS"], &["HSET", "VOIDS", "n", "99", "m", "rubbish"]] {
        let redis = TestServer::start();
        let tier = redis.open(&[1]).await;
        tier.save(&scope(1), changes(1, 0, &[10], redis.read_at())).await;
        assert_eq!(tier.voided(vec![scope(1)]).await, []);
        let loss: Vec<String> = loss.iter().map(|word| word.replace("VOIDS", &redis.marks_key())).collect();
        redis.tell(&loss.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(found(&tier, 1).await, NOTHING, "{loss:?}");
        let voided = tier.voided(vec![scope(1)]).await;
        assert!(voided[0].1 >= redis.now, "{loss:?}");
        let other = redis.open(&[1]).await;
        assert_eq!(found(&other, 1).await, NOTHING, "{loss:?}");
        // Rows that are read from now on are kept again.
        let after = tier.clock().as_micros() / 1_000_000 + 1;
        let saved = other.save(&scope(1), changes(1, 0, &[10], after)).await;
        assert!(matches!(saved, Saved::Yes { before: 0, .. }), "{saved:?}");
        assert_eq!(found(&other, 1).await, (1, 1), "{loss:?}");
    }
}

#[tokio::test]
async fn damaged_values_are_misses_and_are_removed() {
    let redis = TestServer::start();
    let tier = redis.open(&[1]).await;
    let count = |outcome: &str| {
        let files = tier.readings().files;
        files.iter().find(|(name, _)| *name == outcome).map_or(0, |(_, count)| *count)
    };
    tier.save(&scope(1), changes(1, 0, &[10], redis.read_at())).await;
    redis.run("local key = redis.call('KEYS', '*:r:*')[1] redis.call('SETRANGE', key, 40, 'x') redis.call('SETRANGE', key, 41, 'y') return 1");
    assert_eq!((found(&tier, 1).await, count("corrupt")), ((1, 0), 1));
    assert_eq!(found(&tier, 1).await, (1, 0));
    assert_eq!(count("corrupt"), 1, "it was removed");
    redis.run(
        "local key = redis.call('KEYS', '*:s:*')[1]
         for _, field in ipairs(redis.call('HKEYS', key)) do
           if string.sub(field, 1, 1) == 'c' then redis.call('HSET', key, field, 'fftier rubbish') end
         end return 1",
    );
    assert_eq!((found(&tier, 1).await, count("corrupt")), (NOTHING, 2));
    assert_eq!((found(&tier, 1).await, count("corrupt")), (NOTHING, 2));
    tier.save(&scope(1), changes(1, 0, &[10], redis.read_at())).await;
    assert_eq!(found(&tier, 1).await, (1, 1));
}

#[tokio::test]
async fn values_of_another_version_are_left_alone() {
    let redis = TestServer::start();
    let tier = redis.open(&[1]).await;
    tier.save(&scope(1), changes(1, 0, &[10], redis.read_at())).await;
    // A cell in format 2, under another name.
    redis.run(
        "local key, name = redis.call('KEYS', '*:s:*')[1], string.rep('n', 16)
         redis.call('HSET', key, 'v' .. name, redis.call('HGET', key, 'v'), 'c' .. name, 'fftier\\2\\0 which is later than this')
         return 1",
    );
    assert_eq!(found(&tier, 1).await, (1, 1));
    tier.save(&scope(1), changes(1, 1, &[20], redis.read_at())).await;
    assert_eq!(found(&tier, 1).await, (1, 2));
    assert!(
        redis
            .run("return redis.call('HGET', redis.call('KEYS', '*:s:*')[1], 'c' .. string.rep('n', 16))")
            .contains("later")
    );
}

#[tokio::test]
async fn a_turn_belongs_to_one_process_until_it_ends() {
    let redis = TestServer::start();
    let (ours, theirs) = (redis.open(&[1]).await, redis.open(&[1]).await);
    let week = span(100 * WEEK, 100 * WEEK + 50);
    let touching = span(100 * WEEK, 101 * WEEK);
    assert!(ours.take_turn(&scope(1), week, 0).await.is_mine);
    assert!(ours.take_turn(&scope(1), week, 0).await.is_mine, "it is renewed");
    for _ in 0..2 {
        assert!(!theirs.take_turn(&scope(1), week, 0).await.is_mine);
    }
    assert!(theirs.take_turn(&scope(1), touching, 0).await.is_mine, "touching windows have separate turns");
    assert!(theirs.take_turn(&scope(2), week, 0).await.is_mine);
    ours.save(&scope(1), changes(1, 0, &[10], redis.read_at())).await;
    assert_eq!(theirs.take_turn(&scope(1), week, 0).await.news.cells.len(), 1);
    ours.end_turns(&scope(1), &[turn_of(week)]);
    while !theirs.take_turn(&scope(1), week, 0).await.is_mine {
        tokio::task::yield_now().await;
    }
    let claims = theirs.readings().server.claims;
    assert!(claims.iter().all(|(_, count)| *count > 1), "{claims:?}");
}

#[tokio::test]
async fn a_process_reads_values_under_any_line_of_its_secret_and_no_others() {
    let redis = TestServer::start();
    let (one, two) = (redis.open(&[1]).await, redis.open(&[2]).await);
    one.save(&scope(1), changes(1, 0, &[10], redis.read_at())).await;
    assert_eq!(found(&two, 1).await, NOTHING);
    let both = redis.open(&[2, 1]).await;
    assert_eq!(found(&both, 1).await, (1, 1));
    both.save(&scope(1), changes(1, 1, &[20], redis.read_at())).await;
    assert_eq!((found(&both, 1).await, found(&two, 1).await), ((1, 2), (1, 1)));
    both.void(Voided::Agent(scope(1).agent), redis.now).await.unwrap();
    for tier in [&one, &two, &both] {
        assert_eq!(found(tier, 1).await, NOTHING);
    }
}

#[tokio::test]
async fn a_purge_under_any_line_of_the_secret_voids_what_was_saved_under_another() {
    let redis = TestServer::start();
    let (old, both) = (redis.open(&[1]).await, redis.open(&[2, 1]).await);
    old.save(&scope(1), changes(1, 0, &[10], redis.read_at())).await;
    both.save(&scope(2), changes(2, 0, &[10], redis.read_at())).await;
    for purged in [scope(1), scope(2)] {
        old.void(Voided::Agent(purged.agent), redis.now).await.unwrap();
    }
    let later = redis.open(&[2, 1]).await;
    for tier in [&both, &later] {
        assert_eq!((found(tier, 1).await, found(tier, 2).await), (NOTHING, NOTHING));
    }
}

#[tokio::test]
async fn void_rows_are_not_moved_to_a_newer_line_of_the_secret() {
    let redis = TestServer::start();
    let (old, both) = (redis.open(&[1]).await, redis.open(&[2, 1]).await);
    old.save(&scope(1), changes(1, 0, &[10], redis.read_at())).await;
    old.void(Voided::Agent(scope(1).agent), redis.now).await.unwrap();
    // Another part of the same week.
    let after = both.clock().as_micros() / 1_000_000 + 1;
    both.save(&scope(1), changes(1, 1, &[1000], after)).await;
    let cells = redis.open(&[2]).await.load(&scope(1), 0).await.cells;
    assert_eq!((cells.len(), cells[0].segments.len()), (1, 1));
}

#[tokio::test]
async fn cells_beyond_the_most_bytes_of_a_reply_are_fetched_separately() {
    let redis = TestServer::start();
    let (ours, theirs) = (redis.open(&[1]).await, redis.open(&[1]).await);
    let mut whole = ScopeChanges::default();
    for week in 0..12 {
        let created: Vec<_> = (0..600).map(|row| (100 + week) * WEEK + 600 - row).collect();
        let rows = entry(&created, redis.read_at());
        let all = span((100 + week) * WEEK, (100 + week) * WEEK + 1000);
        let cell = cell(&scope(1), u128::try_from(week).unwrap(), all, rows.index(), redis.read_at());
        whole.rows.push((cell.entries[0].key, rows));
        whole.cells.push(cell);
    }
    assert!(matches!(ours.save(&scope(1), Arc::new(whole)).await, Saved::Yes { .. }));
    assert_eq!(found(&theirs, 1).await, (12, 7200));
}

#[tokio::test]
async fn a_full_server_refuses_writes_and_still_serves() {
    let redis = TestServer::start();
    let tier = redis.open(&[1]).await;
    tier.save(&scope(1), changes(1, 0, &[10], redis.read_at())).await;
    redis.tell(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(tier.save(&scope(1), changes(1, 1, &[20], redis.read_at())).await, Saved::No);
    assert_eq!(found(&tier, 1).await, (1, 1));
    assert!(tier.void(Voided::Agent(scope(1).agent), redis.now).await.is_err());
    assert_eq!(found(&tier, 1).await, NOTHING, "it holds in this process");
    redis.tell(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(tier.void(Voided::Agent(scope(1).agent), redis.now).await, Ok(()));
}

#[tokio::test]
async fn everything_but_void_marks_expires() {
    let redis = TestServer::start();
    let tier = redis.open(&[1]).await;
    tier.save(&scope(1), changes(1, 0, &[10], redis.read_at())).await;
    tier.take_turn(&scope(1), span(100 * WEEK, 100 * WEEK + 1), 0).await;
    let lasting = redis.run(
        "local lasting = {}
         for _, key in ipairs(redis.call('KEYS', 'ff1:*')) do
           if redis.call('TTL', key) < 0 then lasting[#lasting + 1] = key end
         end return lasting",
    );
    assert!(lasting.starts_with("*1\r\n") && lasting.contains(":voids"), "{lasting}");
}
