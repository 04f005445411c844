//! Faults, and the rate.

use super::*;

fn faulty(script: &str) -> SimulatorSettings {
    SimulatorSettings { faults: parse_script(script).unwrap(), ..settings(60) }
}

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
async fn each_fault_does_what_it_says() {
    let faults = ["503", "reset", "truncate", "html", "error-body", "empty-page", "slow=20ms", "delay=1ms"];
    let script: String = faults.iter().map(|fault| format!("{fault} times=1\n")).collect();
    let served = Served::start(faulty(&script)).await;
    let list = served.list_path("&page_size=50");
    let next = async || {
        let answer = served.request(&list).send().await.map_err(|e| e.to_string())?;
        let status = answer.status().as_u16();
        answer.bytes().await.map(|body| (status, body)).map_err(|e| e.to_string())
    };
    assert_eq!(next().await.unwrap().0, 503);
    assert!(next().await.is_err(), "reset");
    assert!(next().await.is_err(), "truncate");
    assert!(next().await.unwrap().1.starts_with(b"<!DOCTYPE"));
    assert!(next().await.unwrap().1.starts_with(b"{\"error\""));
    let empty: Value = serde_json::from_slice(&next().await.unwrap().1).unwrap();
    assert_eq!((&empty["has_more"], &empty["data"]), (&true.into(), &Value::Array(Vec::new())));
    let whole = next().await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&whole.1).unwrap()["total"], 60);
    assert_eq!(next().await.unwrap().0, 200, "delay");
    assert_eq!(served.status(&list).await, 200, "every fault is spent");
    served.stop().await;
}

#[tokio::test]
async fn a_fault_occurs_where_its_rule_says() {
    let served = Served::start(faulty("500 page=2\n500 request=3")).await;
    assert_eq!(served.status(&served.list_path("&page_size=50")).await, 200);
    assert_eq!(served.status(&served.list_path("&page_size=50&page_number=2")).await, 500);
    assert_eq!(served.status("/user/me").await, 500);
    assert_eq!(served.status("/user/me").await, 200);
    served.stop().await;
}

#[tokio::test]
async fn a_reset_on_http_2_spares_the_connection() {
    let served = Served::start(faulty("hang path=/user\nreset path=/v2/agent times=1")).await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let ask =
        async |path: &str| client.get(format!("{}{path}", served.base)).bearer_auth("bn-key").send().await;
    let reset_then_read = async {
        assert!(ask("/v2/agent/all").await.is_err());
        assert_eq!(ask("/v2/agent/all").await.unwrap().status(), 200);
    };
    tokio::select! {
        biased;
        held = ask("/user/me") => panic!("the connection broke: {held:?}"),
        () = reset_then_read => {}
    }
    served.stop().await;
}
