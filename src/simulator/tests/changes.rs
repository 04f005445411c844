//! A world that is changed by hand, and a contract that is bent.

use super::*;
use crate::domain::MAX_PAGE_SIZE;

#[tokio::test]
async fn inserted_rows_keep_their_bytes_and_can_be_changed() {
    let served = Served::start(settings(0)).await;
    let (simulator, agent) = (&served.simulator, served.agent());
    let bytes = r#"{"id": "mine", "n": 12345678901234567890.10, "n":1 }"#;
    let id = simulator.insert(agent, Insertion::at(epoch()).bytes(bytes).status("ringing")).unwrap();
    assert_eq!(&*id, "mine");
    let body =
        served.request(&served.list_path("&status=ringing")).send().await.unwrap().text().await.unwrap();
    assert!(body.contains(bytes));
    simulator.set_status(agent, "mine", "brand-new", epoch()).unwrap();
    assert_eq!(served.page("&status=ringing").await["total"], 0);
    assert_eq!(served.page("&status=brand-new").await["total"], 1);
    simulator.delete(agent, "mine").unwrap();
    assert_eq!(simulator.delete(agent, "mine"), Err(NotThere::Row));
    simulator.delete_agent(agent).unwrap();
    assert_eq!(served.status(&format!("/v2/agent/{agent}")).await, 404);
    served.stop().await;
}

#[tokio::test]
async fn every_quirk_has_an_effect() {
    let served = Served::start(settings(70)).await;
    let with = |change: &dyn Fn(&mut Quirks)| {
        let mut quirks = Quirks::default();
        change(&mut quirks);
        served.simulator.set_quirks(quirks);
    };
    with(&|q| q.total = TotalQuirk::Missing);
    assert!(served.page("").await.get("total").is_none());
    with(&|q| q.total = TotalQuirk::Everything);
    assert_eq!(served.page("&status=busy").await["total"], 70);
    with(&|q| q.total = TotalQuirk::OffBy(-3));
    assert_eq!(served.page("").await["total"], 67);
    with(&|q| q.has_more = HasMoreQuirk::Missing);
    assert!(served.page("").await.get("has_more").is_none());
    with(&|q| q.empty_data = EmptyDataQuirk::Null);
    assert!(served.page("&page_number=99").await["data"].is_null());
    with(&|q| q.envelope = EnvelopeQuirk::BareArray);
    assert_eq!(served.page("").await.as_array().unwrap().len(), 20);
    with(&|q| q.page_size = PageSizeQuirk::Clamped);
    assert_eq!(served.page("&page_size=1000").await["data"].as_array().unwrap().len(), MAX_PAGE_SIZE);
    with(&|q| q.coding = CodingQuirk::Gzip);
    let plain = reqwest::Client::builder().no_proxy().no_gzip().build().unwrap();
    let coded = plain.get(format!("{}/user/me", served.base)).bearer_auth("bn-key");
    let coded = coded.header("accept-encoding", "gzip").send().await.unwrap();
    assert!(coded.bytes().await.unwrap().starts_with(&[0x1f, 0x8b]));
    assert_eq!(served.page("").await["total"], 70);
    with(&|q| q.order = OrderQuirk::OldestFirst);
    let page = served.page("").await;
    assert!(
        page["data"]
            .as_array()
            .unwrap()
            .is_sorted_by_key(|row| row["created_at"].as_str().unwrap().to_owned())
    );
    with(&|q| q.order = OrderQuirk::LastUpdatedFirst);
    let page = served.page("&page_size=50").await;
    let updated = |row: &Value| row["updated_at"].as_str().unwrap().to_owned();
    assert!(page["data"].as_array().unwrap().is_sorted_by(|a, b| updated(a) >= updated(b)));
    with(&|q| q.agent = AgentQuirk::Undated);
    let agent = served.request(&format!("/v2/agent/{}", served.agent())).send().await.unwrap();
    assert!(!agent.text().await.unwrap().contains("created_at"));
    served.stop().await;
}
