//! What a refusal says about a key.

use super::*;
use crate::upstream::gate::KeyAcceptance;

/// An upstream that refuses agent 6 and the user.
async fn refusing_user(with: StatusCode) -> Fake {
    fake(move |_, request: Request| async move {
        match request.uri().path() {
            "/base/user/me" => (with, "{\"detail\":\"no\"}").into_response(),
            path if path.contains("0006") => (StatusCode::FORBIDDEN, "{\"detail\":\"no\"}").into_response(),
            _ => "{}".into_response(),
        }
    })
    .await
}

#[tokio::test]
async fn only_a_refusal_of_the_user_makes_a_key_unproven() {
    let fake = refusing_user(StatusCode::UNAUTHORIZED).await;
    let standing = || fake.upstream.exchanger.accepted.standing(credential().id());
    assert!(fake.upstream.agent(&credential(), agent(), &context(NEVER)).await.is_ok());
    let other = AgentId::new(Uuid::from_u128(6));
    let refused = fake.upstream.agent(&credential(), other, &context(NEVER)).await;
    assert!(matches!(refused, Err(SourceError::Denied(_))), "{refused:?}");
    assert_eq!(standing(), KeyAcceptance::Accepted);
    let refused = fake.upstream.user(&credential(), &context(NEVER)).await;
    assert!(matches!(refused, Err(SourceError::Denied(_))), "{refused:?}");
    assert_eq!(standing(), KeyAcceptance::Unproven);
}

#[tokio::test]
async fn a_user_is_an_object() {
    for (body, is_user) in [("{\"id\":\"u\"}", true), ("[]", false), ("<html>", false), ("", false)] {
        let fake = fake(move |_, _| async move { body.into_response() }).await;
        let user = fake.upstream.user(&credential(), &context(NEVER)).await;
        assert_eq!(user.is_ok(), is_user, "{body}: {user:?}");
        assert!(!matches!(user, Err(SourceError::Denied(_))), "{body}");
    }
}
