//! What a refusal says of a key, and which key upstream is asked with.

use super::*;
use crate::source::SourceError;

fn of_agent(rig: &Rig, agent: u128) -> Question {
    Question { agent: AgentId::new(Uuid::from_u128(agent)), ..rig.question() }
}

async fn is_denied(rig: &Rig, agent: u128) -> bool {
    matches!(rig.collect(of_agent(rig, agent)).await, Err(AskError::Source(SourceError::Denied(_))))
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_refused_is_not_tried_on_other_agents_for_a_moment() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    rig.script.world().agent_refused = Some(403);
    for agent in 1..50 {
        assert!(is_denied(&rig, agent).await);
    }
    assert_eq!(rig.script.world().checks, 1);
    // The key was just made, perhaps.
    rig.script.world().agent_refused = None;
    pass(4 * SECOND).await;
    assert!(!is_denied(&rig, 1).await);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_not_there_says_nothing_of_the_key() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    rig.script.world().agent_refused = Some(404);
    assert!(rig.collect(of_agent(&rig, 1)).await.is_err());
    rig.script.world().agent_refused = None;
    assert!(rig.collect(of_agent(&rig, 2)).await.is_ok());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn one_stray_refusal_does_not_lock_a_good_key_out() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    assert!(!is_denied(&rig, 1).await);
    rig.script.world().agent_refused = Some(403);
    assert!(is_denied(&rig, 2).await);
    rig.script.world().agent_refused = None;
    assert!(!is_denied(&rig, 3).await);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_is_confirmed_is_one_of_the_key() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    assert!(!is_denied(&rig, 1).await);
    pass(61 * SECOND).await;
    rig.script.world().agent_refused = Some(403);
    assert!(is_denied(&rig, 1).await);
    let checks = rig.script.world().checks;
    assert!(is_denied(&rig, 2).await);
    assert_eq!(rig.script.world().checks, checks);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_known_is_refreshed_with_the_key_that_is_held_now() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    rig.rows(rig.question()).await;
    assert_eq!(std::mem::take(&mut rig.script.world().keys).last().map(String::as_str), Some("key"));
    pass(5 * SECOND).await;
    // One account, one name; another key.
    let credential = Credential::new(CredentialId::new([1; 16]), "rotated".to_owned().into());
    let question = Question { credential, ..rig.question() };
    assert_eq!(rig.rows(question).await.len(), 100);
    let keys = std::mem::take(&mut rig.script.world().keys);
    assert!(!keys.is_empty() && keys.iter().all(|key| key == "rotated"), "{keys:?}");
    rig.close().await;
}
