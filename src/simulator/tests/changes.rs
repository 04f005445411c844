//! Changes of rows and agents.

use super::*;

#[tokio::test]
async fn inserted_rows_keep_their_bytes_and_can_be_changed() {
    let served = Served::start(settings(0)).await;
    let (simulator, agent) = (&served.simulator, served.agent());
    let bytes = r#"{"id": "mine", "n": 12345678901234567890.10, "n":1 }"#;
    let row = Insertion::at(epoch()).bytes("mine", bytes).status("ringing");
    assert_eq!(&*simulator.insert(agent, row).unwrap(), "mine");
    let body =
        served.request(&served.list_path("&status=ringing")).send().await.unwrap().text().await.unwrap();
    assert!(body.contains(bytes));
    simulator.set_status(agent, "mine", "brand-new", epoch()).unwrap();
    assert_eq!(served.page("&status=ringing").await["total"], 0);
    assert_eq!(served.page("&status=brand-new").await["total"], 1);
    simulator.delete(agent, "mine").unwrap();
    assert_eq!(simulator.delete(agent, "mine"), Err(NotThere::Row));
    served.stop().await;
}

#[tokio::test]
async fn an_agents_name_can_be_changed() {
    let served = Served::start(settings(0)).await;
    let url = format!("{}/v2/agent/{}", served.base, served.agent());
    let patch = async |body: &'static str| {
        let request = served.client.patch(&url).bearer_auth("bn-key").body(body);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(patch(r#"{"agent_config":{}}"#).await, 400);
    assert_eq!(patch(r#"{"agent_config":{"agent_name":"Nina"}}"#).await, 200);
    assert_eq!(served.simulator.agents()[0].name, "Nina");
    served.stop().await;
}
