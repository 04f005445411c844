//! The rows, looked at one by one.

use super::*;

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

#[test]
fn fewer_turns_make_smaller_rows_of_the_same_calls() {
    let long = everything(&Simulator::new(settings(300)));
    let short = everything(&Simulator::new(SimulatorSettings { most_turns: 3, ..settings(300) }));
    assert!(long.iter().zip(&short).all(|(a, b)| a.id == b.id && a.status == b.status));
    assert!(short.iter().all(|row| row.bytes.len() < 6_000));
    assert!(long.iter().any(|row| row.bytes.len() > 20_000));
}
