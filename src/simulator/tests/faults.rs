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
async fn each_fault_does_what_it_says() {
    let served = Served::start(settings(60)).await;
    let list = served.list_path("&page_size=50");
    let fault = async |fault| {
        served.simulator.add_fault(FaultRule::always(fault).times(1));
        let answer = served.request(&list).send().await.map_err(|e| e.to_string())?;
        let status = answer.status().as_u16();
        answer.bytes().await.map(|body| (status, body)).map_err(|e| e.to_string())
    };
    assert_eq!(fault(Fault::Status { status: 503, retry_after: None }).await.unwrap().0, 503);
    assert!(fault(Fault::Reset).await.is_err());
    assert!(fault(Fault::Truncate).await.is_err());
    assert!(fault(Fault::Html).await.unwrap().1.starts_with(b"<!DOCTYPE"));
    assert!(fault(Fault::ErrorBody).await.unwrap().1.starts_with(b"{\"error\""));
    let empty: Value = serde_json::from_slice(&fault(Fault::EmptyPage).await.unwrap().1).unwrap();
    assert_eq!((&empty["has_more"], &empty["data"]), (&true.into(), &Value::Array(Vec::new())));
    let whole = fault(Fault::Slow(Duration::from_millis(20))).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&whole.1).unwrap()["total"], 60);
    assert_eq!(fault(Fault::Delay(Duration::from_millis(1))).await.unwrap().0, 200);
    assert_eq!(served.status(&list).await, 200, "every fault is spent");
    served.stop().await;
}

#[tokio::test]
async fn a_fault_occurs_where_its_rule_says() {
    let served = Served::start(settings(60)).await;
    let status = Fault::Status { status: 500, retry_after: None };
    served.simulator.add_fault(FaultRule::always(status.clone()).on_page(2));
    served.simulator.add_fault(FaultRule::always(status).on_request(3));
    assert_eq!(served.status(&served.list_path("&page_size=50")).await, 200);
    assert_eq!(served.status(&served.list_path("&page_size=50&page_number=2")).await, 500);
    assert_eq!(served.status("/user/me").await, 500);
    assert_eq!(served.status("/user/me").await, 200);
    served.stop().await;
}

#[tokio::test]
async fn a_gate_holds_responses_until_it_opens() {
    let served = Served::start(settings(1)).await;
    let gate = Gate::closed();
    served.simulator.add_fault(FaultRule::always(Fault::Hold(gate.clone())));
    let held = async { tokio::join!(served.status("/user/me"), served.status("/v2/agent/all")) };
    let open = async {
        gate.arrived(2).await;
        gate.open();
    };
    assert_eq!(tokio::join!(held, open).0, (200, 200));
    served.stop().await;
}

#[tokio::test]
async fn a_reset_on_http_2_spares_the_connection() {
    let served = Served::start(settings(1)).await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let ask = async || client.get(format!("{}/user/me", served.base)).bearer_auth("bn-key").send().await;
    served.simulator.add_fault(FaultRule::always(Fault::Reset).on_request(2));
    let gate = Gate::closed();
    served.simulator.add_fault(FaultRule::always(Fault::Hold(gate.clone())).on_request(1));
    let reset_meanwhile = async {
        gate.arrived(1).await;
        let reset = ask().await;
        gate.open();
        reset
    };
    let (held, reset) = tokio::join!(ask(), reset_meanwhile);
    assert_eq!(held.unwrap().status(), 200);
    assert!(reset.is_err());
    served.stop().await;
}
