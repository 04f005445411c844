//! The contract over a socket.

use std::collections::HashSet;

use super::*;
use crate::domain::{Span, Status};

#[tokio::test]
async fn pages_add_up_to_the_truth() {
    let mut settings = settings(333);
    settings.ties = TieOrder::Stable;
    let served = Served::start(settings).await;
    let rows = served.walk("").await;
    let truth = everything(&served.simulator);
    assert_eq!(rows.len(), truth.len());
    assert_eq!(ids(&rows).into_iter().collect::<HashSet<_>>(), truth.iter().map(|row| &*row.id).collect());
    assert!(rows.is_sorted_by(|a, b| a["created_at"].as_str() >= b["created_at"].as_str()));
    for (row, truth) in rows.iter().zip(&truth).filter(|(row, truth)| row["id"] == *truth.id) {
        assert_eq!(*row, serde_json::from_slice::<Value>(&truth.bytes).unwrap());
    }
    served.stop().await;
}

#[tokio::test]
async fn filters_over_http_match_the_truth() {
    let served = Served::start(SimulatorSettings { ties: TieOrder::Stable, ..settings(600) }).await;
    let batch = everything(&served.simulator)
        .iter()
        .find_map(|row| {
            Some(serde_json::from_slice::<Value>(&row.bytes).ok()?["batch_id"].as_str()?.to_owned())
        })
        .unwrap();
    let filters = [
        Filters { status: Some(Status::new("no-answer")), ..Filters::default() },
        Filters { call_type: Some("inbound".parse().unwrap()), ..Filters::default() },
        Filters { provider: Some("twilio".parse().unwrap()), ..Filters::default() },
        Filters { answered_by_voice_mail: Some(true), ..Filters::default() },
        Filters { batch_id: Some(batch.parse().unwrap()), ..Filters::default() },
    ];
    for filters in filters {
        let query: String = filters.pairs().iter().map(|(name, value)| format!("&{name}={value}")).collect();
        let rows = served.walk(&query).await;
        let truth = served.simulator.rows_matching(served.agent(), &filters, None);
        assert_eq!(
            ids(&rows).into_iter().collect::<HashSet<_>>(),
            truth.iter().map(|row| &*row.id).collect()
        );
        let fits = |row: &Value| {
            filters.status.as_ref().is_none_or(|s| row["status"] == s.as_str())
                && filters.call_type.is_none_or(|c| row["telephony_data"]["call_type"] == c.as_str())
                && filters.provider.as_ref().is_none_or(|p| row["provider"] == p.as_str())
                && filters.answered_by_voice_mail.is_none_or(|v| row["answered_by_voice_mail"] == v)
                && filters.batch_id.as_ref().is_none_or(|b| row["batch_id"] == b.as_str())
        };
        assert!(!rows.is_empty() && rows.len() < 600 && rows.iter().all(fits), "{query}");
        // Every other row does not fit: the filter leaves none out.
        let all = served.walk("").await;
        assert_eq!(all.iter().filter(|row| fits(row)).count(), rows.len(), "{query}");
    }
    served.stop().await;
}

#[tokio::test]
async fn both_ends_are_inclusive() {
    let served = Served::start(settings(0)).await;
    let at = |micros: i64| Timestamp::from_micros(1_785_000_000_000_000 + micros);
    for micros in [-1, 0, 1, 5, 6] {
        served.simulator.insert(served.agent(), Insertion::at(at(micros))).unwrap();
    }
    let list = |from: Timestamp, to: Timestamp| {
        format!("/v2/agent/{}/executions?from={from}&to={to}", served.agent())
    };
    let answer = served.request(&list(at(0), at(5))).send().await.unwrap().bytes().await.unwrap();
    let page: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(page["total"], 3);
    let truth = served.simulator.rows_matching(served.agent(), &Filters::default(), Span::new(at(0), at(5)));
    assert_eq!(truth.iter().map(|row| row.created_at).collect::<Vec<_>>(), [at(5), at(1), at(0)]);
    served.stop().await;
}

#[tokio::test]
async fn refuses_what_upstream_refuses() {
    let served = Served::start(settings(1)).await;
    let executions = format!("/v2/agent/{}/executions", served.agent());
    assert_eq!(served.status(&executions).await, 400);
    assert_eq!(served.status(&served.list_path("&page_size=51")).await, 422);
    assert_eq!(served.status("/v2/agent/7d1b7a52-8a7d-4bb6-b2d5-0a3c2e1f9d10").await, 404);
    assert_eq!(served.status("/nowhere").await, 404);
    let denied =
        served.client.get(format!("{}/user/me", served.base)).bearer_auth("xx-key").send().await.unwrap();
    assert_eq!(denied.status(), 403);
    assert!(denied.headers().contains_key("date"));
    let body: Value = serde_json::from_slice(&denied.bytes().await.unwrap()).unwrap();
    assert!(body["detail"].is_string());
    served.stop().await;
}
