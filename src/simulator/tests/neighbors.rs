use std::collections::BTreeSet;

use serde_json::json;

use super::*;

async fn read(served: &Served, path: &str) -> Value {
    let answer = served.request(path).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

async fn send(served: &Served, method: reqwest::Method, path: &str, body: &Value) -> (u16, Value) {
    let request = served.client.request(method, format!("{}{path}", served.base)).bearer_auth("bn-key");
    let answer = request.body(body.to_string()).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}

#[tokio::test]
async fn serves_every_path_that_clients_read_reproducibly() {
    let (one, other) = (Served::start(settings(400)).await, Served::start(settings(400)).await);
    let agent = one.agent();
    let batch =
        read(&one, &format!("/batches/{agent}/all")).await[0]["batch_id"].as_str().unwrap().to_owned();
    let execution = everything(&one.simulator)[0].id.clone();
    for path in [
        "/v2/agent/all".to_owned(),
        format!("/v2/agent/{agent}"),
        format!("/executions/{execution}"),
        format!("/executions/{execution}/log"),
        format!("/batches/{agent}/all"),
        format!("/batches/{batch}"),
        format!("/batches/{batch}/executions"),
        "/phone-numbers/all".to_owned(),
        "/me/voices".to_owned(),
        "/user/me".to_owned(),
    ] {
        assert_eq!(read(&one, &path).await, read(&other, &path).await, "{path}");
    }
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn an_agents_batches_have_exactly_its_rows_with_a_batch() {
    let served = Served::start(settings(600)).await;
    let mut listed = BTreeSet::new();
    for batch in read(&served, &format!("/batches/{}/all", served.agent())).await.as_array().unwrap() {
        let id = batch["batch_id"].as_str().unwrap();
        let rows = read(&served, &format!("/batches/{id}/executions")).await;
        assert_eq!(rows.as_array().unwrap().len(), batch["valid_contacts"]);
        listed.extend(rows.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()));
    }
    let rows = everything(&served.simulator);
    let rows = rows.iter().map(|row| serde_json::from_slice::<Value>(&row.bytes).unwrap());
    let expected: BTreeSet<_> = rows
        .filter(|row| !row["batch_id"].is_null())
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(listed, expected);
    served.stop().await;
}

#[tokio::test]
async fn creates_changes_calls_and_deletes_an_agent() {
    let served = Served::start(settings(3)).await;
    let body = json!({ "agent_config": { "agent_name": "Nina" }, "agent_prompts": {} });
    let (status, created) = send(&served, reqwest::Method::POST, "/v2/agent", &body).await;
    assert_eq!(status, 200);
    let path = format!("/v2/agent/{}", created["agent_id"].as_str().unwrap());
    let body = json!({ "agent_config": { "agent_name": "Nina II" } });
    assert_eq!(send(&served, reqwest::Method::PATCH, &path, &body).await.0, 200);
    assert_eq!(read(&served, &path).await["agent_name"], "Nina II");
    assert_eq!(read(&served, "/v2/agent/all").await.as_array().unwrap().len(), 2);

    let call = json!({ "agent_id": created["agent_id"], "recipient_phone_number": "+14155550100" });
    let (status, placed) = send(&served, reqwest::Method::POST, "/call", &call).await;
    assert_eq!((status, &placed["status"]), (200, &json!("queued")));
    let row = read(&served, &format!("/executions/{}", placed["execution_id"].as_str().unwrap())).await;
    assert_eq!((&row["agent_id"], &row["user_number"]), (&created["agent_id"], &json!("+14155550100")));
    let bad = json!({ "agent_id": created["agent_id"], "recipient_phone_number": "me" });
    assert_eq!(send(&served, reqwest::Method::POST, "/call", &bad).await.0, 400);

    assert_eq!(send(&served, reqwest::Method::DELETE, &path, &json!({})).await.0, 200);
    assert_eq!(served.status(&path).await, 404);
    served.stop().await;
}
