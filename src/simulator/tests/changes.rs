//! A world that is changed by hand.

use super::*;

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
