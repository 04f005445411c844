//! The simulator over a socket, and its rows looked at one by one.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;

use super::*;
use crate::domain::{Filters, MAX_PAGE_SIZE, Span, Status};
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

#[test]
fn same_seed_same_bytes() {
    let rows = everything(&Simulator::new(settings(400)));
    assert_eq!(rows.len(), 400);
    assert_eq!(rows, everything(&Simulator::new(settings(400))));
    let other = everything(&Simulator::new(SimulatorSettings { seed: 2, ..settings(400) }));
    assert!(rows.iter().zip(&other).all(|(a, b)| a.id != b.id && a.bytes != b.bytes));
}

#[test]
fn rows_are_as_really_seen() {
    let rows = everything(&Simulator::new(settings(2_000)));
    let sizes: Vec<_> = rows.iter().map(|row| row.bytes.len()).collect();
    let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
    assert!((1_800..3_500).contains(least) && (25_000..42_000).contains(most), "{least} to {most}");
    let text: Vec<_> = rows.iter().map(|row| std::str::from_utf8(&row.bytes).unwrap()).collect();
    for piece in ["1e-7", r"\/", r"\u20b9", r"\ud83d\ude42", "नमस्ते", "🙏", "\"extracted_data\":null"]
    {
        assert!(text.iter().any(|row| row.contains(piece)), "no row has {piece}");
    }
    for row in &rows {
        let value: Value = serde_json::from_slice(&row.bytes).unwrap();
        let keys = value.as_object().unwrap().len();
        assert!((38..=50).contains(&keys), "{keys} keys");
        assert_eq!(value["id"], *row.id);
        assert_eq!(value["status"], row.status.as_str());
        let stamp = value["created_at"].as_str().unwrap();
        assert_eq!(stamp.len(), "2026-01-28T13:17:50.116924".len());
        let legs = ["llm", "network", "platform", "synthesizer", "transcriber"];
        let sum: f64 = legs.iter().map(|leg| value["cost_breakdown"][leg].as_f64().unwrap()).sum();
        assert!((sum - value["total_cost"].as_f64().unwrap()).abs() < 1e-6);
        assert_eq!(value["total_cost"].as_f64().unwrap() > 0.0, row.status.as_str() == "completed");
    }
}

#[test]
fn finding_an_execution_by_its_id_finds_that_one() {
    let old = AgentPlan { executions: 50, span: 800 * DAY, ..AgentPlan::default() };
    let simulator = Simulator::new(SimulatorSettings { agents: vec![old], ..settings(0) });
    let rows = everything(&simulator);
    assert!(rows.iter().any(|row| row.id.contains('#')) && rows.iter().any(|row| !row.id.contains('#')));
    for row in rows {
        let (_, record, _) = simulator.inner.world.execution(&row.id).unwrap();
        assert_eq!(record.created_at, row.created_at.as_micros());
    }
    assert!(simulator.inner.world.execution("nobody").is_none());
}

#[tokio::test]
async fn pages_add_up_to_the_truth() {
    let mut settings = settings(333);
    settings.quirks.ties = TieQuirk::Stable;
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
    let served = Served::start(SimulatorSettings {
        quirks: Quirks { ties: TieQuirk::Stable, ..Quirks::default() },
        ..settings(600)
    })
    .await;
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
async fn what_upstream_refuses_is_refused() {
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

#[tokio::test]
async fn a_listed_key_sees_its_own_agents() {
    let mut settings = settings(1);
    settings.agents.push(AgentPlan::default());
    let agents = Simulator::new(settings.clone()).agents();
    let key = |agent: usize| AcceptedKey {
        key: format!("key-{agent}"),
        organization: format!("org-{agent}"),
        agents: Some(vec![agents[agent].id]),
    };
    settings.keys = Keys::Only(vec![key(0), key(1)]);
    let served = Served::start(settings).await;
    let get = async |path: &str, key: &str| {
        let answer =
            served.client.get(format!("{}{path}", served.base)).bearer_auth(key).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap())
    };
    assert_eq!(get("/v2/agent/all", "bn-key").await.0, 403);
    assert_eq!(get(&format!("/v2/agent/{}", agents[0].id), "key-0").await.0, 200);
    assert_eq!(get(&format!("/v2/agent/{}", agents[0].id), "key-1").await.0, 404);
    let listed: Value = serde_json::from_slice(&get("/v2/agent/all", "key-1").await.1).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["id"], agents[1].id.to_string());
    served.stop().await;
}

#[tokio::test]
async fn more_than_the_rate_gets_429() {
    let rate = Some(Rate { requests: 3, per: Duration::from_secs(3_600) });
    let served =
        Served::start(SimulatorSettings { rate, retry_after: RetryAfter::Seconds, ..settings(1) }).await;
    for _ in 0..3 {
        assert_eq!(served.status("/user/me").await, 200);
    }
    let refused = served.request("/user/me").send().await.unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "3600");
    assert_eq!(served.simulator.request_count(), 4);
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
    let whole = fault(Fault::Slow(Duration::from_millis(20))).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&whole.1).unwrap()["total"], 60);
    assert_eq!(fault(Fault::Delay(Duration::from_millis(1))).await.unwrap().0, 200);
    assert_eq!(served.status(&list).await, 200, "every fault is spent");
    served.stop().await;
}

#[tokio::test]
async fn a_fault_strikes_where_its_rule_says() {
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
async fn a_gate_holds_answers_until_it_opens() {
    let served = Served::start(settings(1)).await;
    let gate = Gate::closed();
    served.simulator.add_fault(FaultRule::always(Fault::Hold(gate.clone())));
    let held = async { tokio::join!(served.status("/user/me"), served.status("/v2/agent/all")) };
    let open = async {
        gate.arrived(2).await;
        gate.open();
    };
    assert_eq!(tokio::join!(held, open).0, (200, 200));
    assert_eq!(served.simulator.most_in_flight(), 2);
    served.stop().await;
}

#[tokio::test]
async fn the_list_moves_under_a_walk() {
    let served = Served::start(settings(120)).await;
    let agent = served.agent();
    served.simulator.before_each_list(move |simulator, request| {
        for _ in 0..4 {
            simulator.insert(agent, Insertion::at(epoch())).unwrap();
        }
        let oldest = everything(simulator).pop().unwrap();
        simulator.delete(agent, &oldest.id).unwrap();
        assert_eq!(request.parameter("page_size").as_deref(), Some("50"));
    });
    let first = served.page("&page_size=50").await;
    let second = served.page("&page_size=50&page_number=2").await;
    assert_eq!((&first["total"], &second["total"]), (&123.into(), &126.into()));
    let (first, second) = (first["data"].as_array().unwrap(), second["data"].as_array().unwrap());
    let repeated = ids(first).into_iter().filter(|id| ids(second).contains(id)).count();
    assert_eq!(repeated, 4, "rows shift towards the end of the list");
    served.stop().await;
}

#[tokio::test]
async fn rows_put_in_by_hand_keep_their_bytes_and_can_be_changed() {
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
async fn every_quirk_shows() {
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

#[tokio::test]
async fn live_calls_arrive_and_proceed_with_the_clock() {
    let clock = ManualClock::at(epoch());
    let plan = AgentPlan { executions: 0, span: DAY, live: Some(Duration::from_secs(10)), name: None };
    let live = || SimulatorSettings {
        agents: vec![plan.clone()],
        clock: Clock::Manual(clock.clone()),
        ..settings(0)
    };
    let simulator = Simulator::new(live());
    assert!(everything(&simulator).is_empty());
    clock.advance(Duration::from_secs(1_000));
    let before = everything(&simulator);
    assert!((60..160).contains(&before.len()), "{} calls", before.len());
    assert!(before.iter().any(|row| !row.status.is_terminal()));
    // Whoever looks for the first time sees what those who watched see.
    assert_eq!(before, everything(&Simulator::new(live())));
    clock.advance(9 * DAY);
    let later = everything(&simulator);
    assert!(before.iter().all(|old| later.iter().any(|new| new.id == old.id && new.status.is_terminal())));
}
