//! What a refusal means for a key, and which key is sent upstream.

use super::*;
use crate::source::SourceError;

fn of_agent(rig: &Rig, agent: u128) -> Question {
    Question { agent: AgentId::new(Uuid::from_u128(agent)), ..rig.question() }
}

/// How often an agent was checked, and a key as a whole.
fn checks(rig: &Rig) -> (usize, usize) {
    let world = rig.script.world();
    (world.checks, world.user_checks)
}

fn refuse_key(rig: &Rig, status: Option<u16>) {
    let mut world = rig.script.world();
    (world.agent_refused, world.user_refused) = (status, status);
}

async fn is_denied(rig: &Rig, agent: u128) -> bool {
    matches!(rig.collect(of_agent(rig, agent)).await, Err(AskError::Source(SourceError::Denied(_))))
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_is_not_tried_on_other_agents_for_three_seconds() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    refuse_key(&rig, Some(403));
    for agent in 1..50 {
        assert!(is_denied(&rig, agent).await);
    }
    assert_eq!(checks(&rig), (1, 1));
    // The key may have just been created.
    refuse_key(&rig, None);
    pass(4 * SECOND).await;
    assert!(!is_denied(&rig, 1).await);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_agent_says_nothing_about_the_key() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    rig.script.world().agent_refused = Some(404);
    assert!(rig.collect(of_agent(&rig, 1)).await.is_err());
    rig.script.world().agent_refused = None;
    assert!(rig.collect(of_agent(&rig, 2)).await.is_ok());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn one_stray_refusal_neither_locks_out_a_good_key_nor_drops_its_rows() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    assert!(!is_denied(&rig, 1).await);
    rig.script.world().agent_refused = Some(403);
    assert!(is_denied(&rig, 2).await);
    rig.script.world().agent_refused = None;
    assert!(!rig.store.0.lock().unwrap().is_empty());
    assert!(!is_denied(&rig, 3).await);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_confirmed_refusal_holds_for_the_whole_key() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    assert!(!is_denied(&rig, 1).await);
    pass(61 * SECOND).await;
    refuse_key(&rig, Some(403));
    assert!(is_denied(&rig, 1).await);
    let checks = rig.script.world().checks;
    assert!(is_denied(&rig, 2).await);
    assert_eq!(rig.script.world().checks, checks);
    assert!(rig.store.0.lock().unwrap().is_empty(), "the rows of the key are dropped");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_refresh_uses_the_callers_current_key() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    rig.rows(rig.question()).await;
    assert_eq!(std::mem::take(&mut rig.script.world().keys).last().map(String::as_str), Some("key"));
    pass(5 * SECOND).await;
    // The same account with a new key.
    let credential = Credential::new(CredentialId::new([1; 16]), "rotated".to_owned().into());
    let question = Question { credential, ..rig.question() };
    assert_eq!(rig.rows(question).await.len(), 100);
    let keys = std::mem::take(&mut rig.script.world().keys);
    assert!(!keys.is_empty() && keys.iter().all(|key| key == "rotated"), "{keys:?}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_always_refused_does_not_affect_others() {
    let settings = EngineSettings { live_ttl: 6_000 * SECOND, settling_ttl: 6_000 * SECOND, ..settings() };
    for status in [401, 403] {
        let rig = Rig::new(settings.clone(), 1).with_history(100, 2);
        for agent in 1..=20 {
            assert!(!is_denied(&rig, agent).await);
        }
        let kept = rig.store.0.lock().unwrap().len();
        rig.script.world().agent_refused = Some(status);
        rig.script.world().refuses_only = Some(AgentId::new(Uuid::from_u128(99)));
        rig.requests();
        for _ in 0..60 {
            assert!(is_denied(&rig, 99).await);
            pass(SECOND / 2).await;
        }
        for agent in 1..=20 {
            assert!(!is_denied(&rig, agent).await, "agent {agent}");
        }
        assert_eq!(rig.store.0.lock().unwrap().len(), kept, "the warm cache stays");
        let (checks, users) = checks(&rig);
        assert!(checks <= 30 && users <= 1, "{checks} checks of the agent, {users} of the key");
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_confirmed_refusal_for_one_agent_drops_only_its_rows() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    assert!(!is_denied(&rig, 1).await);
    assert!(!is_denied(&rig, 2).await);
    assert_eq!(rig.engine.scopes(), 2);
    pass(61 * SECOND).await;
    rig.script.world().agent_refused = Some(403);
    rig.script.world().refuses_only = Some(AgentId::new(Uuid::from_u128(1)));
    let checks = rig.script.world().checks;
    assert!(is_denied(&rig, 1).await);
    assert_eq!(rig.script.world().checks - checks, 2, "a single refusal may be stray");
    assert_eq!((rig.engine.scopes(), rig.script.world().user_checks), (1, 1));
    assert!(!is_denied(&rig, 2).await);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn only_a_refusal_of_the_user_refuses_the_key() {
    for user in [404, 500] {
        let rig = Rig::new(settings(), 1).with_history(100, 2);
        rig.script.world().agent_refused = Some(403);
        rig.script.world().user_refused = Some(user);
        for agent in 1..5 {
            assert!(is_denied(&rig, agent).await);
        }
        rig.script.world().agent_refused = None;
        assert!(!is_denied(&rig, 9).await, "{user}");
        assert_eq!(rig.script.world().user_checks, 1, "the user is not requested for every refusal");
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_a_good_key_is_confirmed_by_a_second_request() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    assert!(!is_denied(&rig, 1).await);
    pass(61 * SECOND).await;
    rig.script.world().agent_refused = Some(403);
    rig.script.world().refuses_only = Some(AgentId::new(Uuid::from_u128(2)));
    rig.script.world().user_refused = Some(403);
    let change = async {
        // After the first response about the user, before the second.
        while rig.script.world().user_checks == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        rig.script.world().user_refused = None;
    };
    let (is_denied_there, ()) = tokio::join!(is_denied(&rig, 2), change);
    assert!(is_denied_there);
    assert!(!is_denied(&rig, 1).await);
    assert_eq!(rig.engine.scopes(), 1);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_bad_key_for_many_agents_is_checked_once() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    refuse_key(&rig, Some(403));
    let denied = futures_util::future::join_all((1..50).map(|agent| is_denied(&rig, agent))).await;
    assert!(denied.iter().all(|denied| *denied));
    assert_eq!(rig.script.world().user_checks, 1);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn requests_that_read_nothing_evict_nothing() {
    let rig = Rig::new(settings(), 1).with_history(400, 20);
    let settled = Question { to: Some(NOW.minus(DAY)), ..rig.question() };
    let rows = rig.rows(settled.clone()).await;
    rig.requests();
    let directives = CacheDirectives { only_if_cached: true, ..CacheDirectives::default() };
    for number in 0..4_200 {
        let filters = Filters { batch_id: format!("{number:032x}").parse().ok(), ..Filters::default() };
        let made_up = Question { filters, directives, ..rig.question() };
        assert!(matches!(rig.collect(made_up).await, Err(AskError::NotCached)));
    }
    assert_eq!(rig.engine.scopes(), 1);
    assert_eq!(rig.rows(settled).await, rows);
    assert_eq!(rig.requests(), 0);
    rig.close().await;
}

async fn check_again(rig: &Rig) -> Result<Duration, AskError> {
    let Question { caller, credential, agent, trace, .. } = rig.question();
    rig.engine.check_again(caller, &credential, &[agent], trace).await.map_err(|refused| refused.error)
}

#[tokio::test(start_paused = true)]
async fn running_responses_of_a_pair_share_one_check_a_minute() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    rig.rows(rig.question()).await;
    pass(30 * SECOND).await;
    let due_in = check_again(&rig).await.unwrap();
    assert!(due_in > 29 * SECOND && due_in <= 30 * SECOND, "{due_in:?}");
    assert_eq!(checks(&rig), (1, 0));
    pass(due_in).await;
    let all = futures_util::future::join_all((0..50).map(|_| check_again(&rig))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(checks(&rig), (2, 0));
    assert!(check_again(&rig).await.unwrap() > 59 * SECOND);
    assert_eq!(checks(&rig), (2, 0));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_running_response_ends_when_its_key_is_refused_and_the_rows_are_dropped() {
    for status in [401, 403] {
        let rig = Rig::new(settings(), 1).with_history(100, 2);
        rig.rows(rig.question()).await;
        refuse_key(&rig, Some(status));
        pass(61 * SECOND).await;
        let all = futures_util::future::join_all((0..50).map(|_| check_again(&rig))).await;
        assert!(
            all.iter().all(|end| matches!(end, Err(AskError::Source(SourceError::Denied(_))))),
            "{all:?}"
        );
        let (agents, users) = checks(&rig);
        assert!(agents <= 3 && users <= 2, "{agents} checks of the agent, {users} of the key");
        assert!(rig.store.0.lock().unwrap().is_empty(), "the rows of the key are dropped");
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_upstream_does_not_end_running_responses() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    rig.rows(rig.question()).await;
    let kept = rig.store.0.lock().unwrap().len();
    pass(61 * SECOND).await;
    rig.script.world().agent_refused = Some(503);
    assert_eq!(check_again(&rig).await.unwrap(), 60 * SECOND);
    assert_eq!(rig.store.0.lock().unwrap().len(), kept);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_does_not_join_a_check_that_waits_for_spare_budget() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    rig.rows(rig.question()).await;
    pass(61 * SECOND).await;
    let (again, rows) = tokio::join!(check_again(&rig), rig.rows(rig.question()));
    assert!(again.is_ok() && rows.len() == 100);
    assert_eq!(checks(&rig), (3, 0));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn made_up_agents_cost_one_request_each_and_are_remembered_for_a_minute() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    rig.rows(rig.question()).await;
    rig.requests();
    rig.script.world().agent_refused = Some(404);
    let is_not_found = async |agent| {
        let answer = rig.collect(of_agent(&rig, agent)).await;
        matches!(answer, Err(AskError::Source(SourceError::AgentNotFound(_))))
    };
    for agent in 101..=120 {
        assert!(is_not_found(agent).await);
    }
    let (checks_of_all, _) = checks(&rig);
    assert_eq!((checks_of_all, rig.requests()), (21, 1), "one page was prefetched, with the first agent");
    pass(50 * SECOND).await;
    for agent in 101..=120 {
        assert!(is_not_found(agent).await);
    }
    assert_eq!(checks(&rig).0, checks_of_all);
    // It has been created meanwhile.
    rig.script.world().agent_refused = None;
    pass(11 * SECOND).await;
    assert!(rig.collect(of_agent(&rig, 101)).await.is_ok());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_vanished_agent_is_checked_again_after_as_long_as_it_has_been_gone() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    rig.rows(rig.question()).await;
    rig.script.world().refuses_only = Some(rig.question().agent);
    rig.script.world().agent_refused = Some(404);
    pass(8 * SECOND).await;
    assert!(rig.collect(rig.question()).await.is_err());
    rig.script.world().agent_refused = None;
    pass(9 * SECOND).await;
    assert_eq!(rig.rows(rig.question()).await.len(), 100);
    // Once it has been gone for a minute, it costs one request a minute, like any other.
    rig.script.world().agent_refused = Some(404);
    checks(&rig);
    for _ in 0..600 {
        pass(SECOND).await;
        assert!(rig.collect(rig.question()).await.is_err());
    }
    let (asked, _) = checks(&rig);
    assert!((10..=20).contains(&asked), "{asked}");
    rig.close().await;
}

async fn prove(rig: &Rig) -> Result<(), AskError> {
    let Question { caller, credential, trace, .. } = rig.question();
    rig.engine.prove_key(caller, &credential, Instant::now() + 10 * SECOND, trace).await
}

#[tokio::test(start_paused = true)]
async fn a_key_is_proven_by_one_request_a_minute() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    for _ in 0..20 {
        assert!(prove(&rig).await.is_ok());
        pass(2 * SECOND).await;
    }
    assert_eq!(checks(&rig), (0, 1));
    pass(61 * SECOND).await;
    assert!(prove(&rig).await.is_ok());
    assert_eq!(checks(&rig), (0, 2));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_just_read_something_is_proven_without_a_request() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    rig.rows(rig.question()).await;
    assert!(prove(&rig).await.is_ok());
    assert_eq!(rig.script.world().user_checks, 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_refused_as_a_whole_is_refused_and_its_rows_are_dropped() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    rig.rows(rig.question()).await;
    pass(61 * SECOND).await;
    refuse_key(&rig, Some(403));
    for _ in 0..5 {
        assert!(matches!(prove(&rig).await, Err(AskError::Source(SourceError::Denied(_)))));
    }
    assert_eq!(rig.script.world().user_checks, 2, "requested twice, because one refusal may be stray");
    assert!(rig.store.0.lock().unwrap().is_empty());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_upstream_does_not_refuse_an_accepted_key() {
    for status in [404, 500] {
        let settings = EngineSettings { stale_if_error: 600 * SECOND, ..settings() };
        let rig = Rig::new(settings, 1).with_history(100, 2);
        assert!(prove(&rig).await.is_ok());
        refuse_key(&rig, Some(status));
        pass(61 * SECOND).await;
        for _ in 0..3 {
            assert!(prove(&rig).await.is_ok(), "{status}");
        }
        pass(600 * SECOND).await;
        let error = prove(&rig).await.unwrap_err();
        let AskError::Source(error) = error else { panic!("{error}") };
        assert!(!matches!(error, SourceError::Denied(_) | SourceError::AgentNotFound(_)), "{error}");
        rig.close().await;
    }
}
