//! The simulator, served on a port of its own.

mod changes;
mod faults;
mod neighbors;
mod pages;
mod rows;

use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;

use super::*;
use crate::domain::Filters;
use crate::shutdown::Shutdown;

const DAY: Duration = Duration::from_secs(86_400);

fn epoch() -> Timestamp {
    Timestamp::from_micros(1_790_000_000_000_000)
}

fn settings(executions: u32) -> SimulatorSettings {
    let plan = AgentPlan { executions, span: 6 * DAY, ..AgentPlan::default() };
    SimulatorSettings { epoch: Some(epoch()), agents: vec![plan], ..SimulatorSettings::default() }
}

fn everything(simulator: &Simulator) -> Vec<TrueRow> {
    simulator.rows_matching(simulator.agents()[0].id, &Filters::default(), None)
}

/// A simulator on a port of its own, and a client.
struct Served {
    simulator: Simulator,
    client: reqwest::Client,
    base: String,
    shutdown: Shutdown,
}

impl Served {
    async fn start(settings: SimulatorSettings) -> Self {
        let simulator = Simulator::new(settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = Shutdown::default();
        let (serving, stop) = (simulator.clone(), shutdown.clone());
        shutdown.spawn(async move { serving.serve(listener, &stop).await });
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { simulator, client, base, shutdown }
    }

    fn agent(&self) -> AgentId {
        self.simulator.agents()[0].id
    }

    fn request(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.base)).bearer_auth("bn-key")
    }

    /// A list within the last six days; the query begins with `&`.
    fn list_path(&self, query: &str) -> String {
        let (from, to) = (epoch().minus(6 * DAY).to_millis_text(), epoch().plus(DAY).to_millis_text());
        format!("/v2/agent/{}/executions?from={from}&to={to}{query}", self.agent())
    }

    async fn status(&self, path: &str) -> u16 {
        self.request(path).send().await.unwrap().status().as_u16()
    }

    async fn page(&self, query: &str) -> Value {
        let answer = self.request(&self.list_path(query)).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    async fn walk(&self, query: &str) -> Vec<Value> {
        let mut rows = Vec::new();
        for number in 1.. {
            let page = self.page(&format!("&page_size=50&page_number={number}{query}")).await;
            assert_eq!((&page["page_number"], &page["page_size"]), (&number.into(), &50.into()));
            rows.extend(page["data"].as_array().unwrap().iter().cloned());
            if page["has_more"] != true {
                assert_eq!(page["total"], rows.len());
                break;
            }
        }
        rows
    }

    async fn stop(self) {
        self.shutdown.end();
        self.shutdown.finished().await;
    }
}

fn ids(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["id"].as_str().unwrap()).collect()
}
