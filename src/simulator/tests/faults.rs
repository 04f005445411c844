//! Faults.

use super::*;

#[tokio::test]
async fn requests_above_the_rate_get_429() {
    let rate = Some(Rate { requests: 3, per: Duration::from_secs(3_600) });
    let served =
        Served::start(SimulatorSettings { rate, retry_after: RetryAfter::Seconds, ..settings(1) }).await;
    for _ in 0..3 {
        assert_eq!(served.status("/user/me").await, 200);
    }
    let refused = served.request("/user/me").send().await.unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "3600");
    served.stop().await;
}

#[tokio::test]
async fn each_fault_has_its_effect() {
    let faults = ["503", "reset", "truncate", "html", "error-body", "empty-page", "slow=20ms", "delay=1ms"];
    let script = faults.map(|fault| format!("{fault} times=1\n")).concat();
    let served = with_faults(60, &script).await;
    let list = served.list_path("&page_size=50");
    let next = async || {
        let answer = served.request(&list).send().await.map_err(|e| e.to_string())?;
        let status = answer.status().as_u16();
        answer.bytes().await.map(|body| (status, body)).map_err(|e| e.to_string())
    };
    assert_eq!(next().await.unwrap().0, 503);
    assert!(next().await.is_err(), "reset");
    assert!(next().await.is_err(), "truncated");
    assert!(next().await.unwrap().1.starts_with(b"<!DOCTYPE"));
    assert!(next().await.unwrap().1.starts_with(b"{\"error\""));
    let empty: Value = serde_json::from_slice(&next().await.unwrap().1).unwrap();
    assert_eq!((&empty["has_more"], &empty["data"]), (&true.into(), &Value::Array(Vec::new())));
    let slow = next().await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&slow.1).unwrap()["total"], 60);
    assert_eq!(next().await.unwrap().0, 200);
    assert_eq!(served.status(&list).await, 200, "every fault has occurred");
    served.stop().await;
}

#[tokio::test]
async fn a_fault_occurs_only_under_its_conditions() {
    let served = with_faults(60, "500 page=2\n500 request=3").await;
    assert_eq!(served.status(&served.list_path("&page_size=50")).await, 200);
    assert_eq!(served.status(&served.list_path("&page_size=50&page_number=2")).await, 500);
    assert_eq!(served.status("/user/me").await, 500);
    assert_eq!(served.status("/user/me").await, 200);
    served.stop().await;
}

#[tokio::test]
async fn a_reset_on_http_2_spares_the_connection() {
    let served = with_faults(1, "slow=500ms request=1\nreset request=2").await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let ask = async || client.get(format!("{}/user/me", served.base)).bearer_auth("bn-key").send().await;
    let slow = ask().await.unwrap();
    assert!(ask().await.is_err());
    let body: Value = serde_json::from_slice(&slow.bytes().await.unwrap()).unwrap();
    assert!(body["email"].is_string());
    served.stop().await;
}

async fn with_faults(executions: u32, script: &str) -> Served {
    Served::start(SimulatorSettings { faults: parse_script(script).unwrap(), ..settings(executions) }).await
}
