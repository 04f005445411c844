//! The rows, looked at one by one.

use super::*;
use crate::domain::Span;

#[test]
fn same_seed_same_bytes() {
    let rows = everything(&Simulator::new(settings(400)));
    assert_eq!(rows.len(), 400);
    assert_eq!(rows, everything(&Simulator::new(settings(400))));
    let other = everything(&Simulator::new(SimulatorSettings { seed: 2, ..settings(400) }));
    assert!(rows.iter().zip(&other).all(|(a, b)| a.id != b.id && a.bytes != b.bytes));
}

#[test]
fn rows_look_like_upstreams() {
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
        let seconds = value["conversation_duration"].as_f64().unwrap();
        assert!(seconds <= 605.0 && (seconds > 0.0 || row.status.as_str() != "completed"));
        let legs = ["llm", "network", "platform", "synthesizer", "transcriber"];
        let sum: f64 = legs.iter().map(|leg| value["cost_breakdown"][leg].as_f64().unwrap()).sum();
        assert!((sum - value["total_cost"].as_f64().unwrap()).abs() < 1e-6);
        assert_eq!(value["total_cost"].as_f64().unwrap() > 0.0, row.status.as_str() == "completed");
    }
}

#[test]
fn finds_an_execution_by_its_id() {
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

#[test]
fn all_live_calls_appear_with_a_lag() {
    let clock = ManualClock::at(epoch());
    let plan = AgentPlan { executions: 0, span: DAY, live: Some(Duration::from_secs(10)), name: None };
    let with_lag = |commit_lag| {
        let (agents, clock) = (vec![plan.clone()], Clock::Manual(clock.clone()));
        Simulator::new(SimulatorSettings { agents, clock, commit_lag, ..settings(0) })
    };
    let (prompt, late) = (with_lag(Duration::ZERO), with_lag(Duration::from_secs(120)));
    clock.advance(Duration::from_secs(1_000));
    let span = Span::new(epoch(), epoch().plus(Duration::from_secs(1_000)));
    let ids = |simulator: &Simulator| {
        let rows = simulator.rows_matching(simulator.agents()[0].id, &Filters::default(), span);
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    let (all, shown) = (ids(&prompt), ids(&late));
    assert!(shown.len() < all.len() && shown.iter().all(|id| all.contains(id)));
    clock.advance(Duration::from_secs(120));
    assert_eq!(ids(&late), all);
}

#[test]
fn fewer_turns_make_smaller_rows_of_the_same_calls() {
    let long = everything(&Simulator::new(settings(300)));
    let short = everything(&Simulator::new(SimulatorSettings { most_turns: 3, ..settings(300) }));
    assert!(long.iter().zip(&short).all(|(a, b)| a.id == b.id && a.status == b.status));
    assert!(short.iter().all(|row| row.bytes.len() < 6_000));
    assert!(long.iter().any(|row| row.bytes.len() > 20_000));
}
