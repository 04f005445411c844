//! Totals, compared with exact sums.

mod calendars;
mod decimals;
mod kept;

use proptest::prelude::*;

use super::*;
use crate::domain::{AgentId, Rounding, Span, Timestamp};
use crate::shape::{Decimal, Zone};

fn agent(last: char) -> AgentId {
    format!("6f9619ff-8b86-d011-b42d-00cf4fc964f{last}").parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text, Rounding::Down).unwrap()
}

fn question(group_by: &str, stats: &str, histogram: Option<(&str, &str)>) -> SummaryQuestion {
    let values = |text: &str| if text.is_empty() { Vec::new() } else { vec![text.to_owned()] };
    SummaryQuestion::parse(SummaryParams {
        group_by: &values(group_by),
        stats: &values(stats),
        histogram: histogram.map(|(path, _)| path),
        bounds: histogram.map(|(_, bounds)| bounds),
    })
    .unwrap()
}

fn refusal(params: SummaryParams<'_>) -> String {
    SummaryQuestion::parse(params).unwrap_err().to_string()
}

/// The totals of rows, each given as its date and its JSON.
fn totals(question: &SummaryQuestion, zone: &str, rows: &[(&str, &str)]) -> Totals {
    let facts = Facts::read(question, rows.iter().map(|(_, row)| row.as_bytes())).unwrap();
    let mut totals = Totals::new(question.clone(), Zone::parse(zone).unwrap());
    let dates = rows.iter().map(|(date, _)| Timestamp::parse(date, Rounding::Down));
    totals.add(agent('f'), &facts, dates.enumerate()).unwrap();
    totals
}

fn json(totals: &Totals, span: Option<Span>) -> serde_json::Value {
    serde_json::from_str(&text(totals, span)).unwrap()
}

fn text(totals: &Totals, span: Option<Span>) -> String {
    let mut out = b"{".to_vec();
    totals.write_json(span, &mut out).unwrap();
    out.push(b'}');
    String::from_utf8(out).unwrap()
}

fn csv(totals: &Totals) -> String {
    let mut out = Vec::new();
    totals.write_csv(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

const DAY_EDGE: [(&str, &str); 4] = [
    ("2026-11-28T18:29:59.999999Z", r#"{"status":"busy","total_cost":0.1}"#),
    ("2026-11-28T18:30:00.000000Z", r#"{"status":"busy","total_cost":0.2}"#),
    ("2026-11-28T18:30:00.000001Z", r#"{"status":"completed","total_cost":"0.3"}"#),
    ("no date", r#"{"status":null,"total_cost":"0.3 "}"#),
];

#[test]
fn a_response_is_as_documented() {
    let question = question("@day,status", "total_cost", None);
    let totals = totals(&question, "Asia/Calcutta", &DAY_EDGE);
    let span = Span::new(at("2026-11-28T00:00:00Z"), at("2026-11-29T00:00:00Z"));
    assert_eq!(
        text(&totals, span).replace('\n', ""),
        concat!(
            r#"{"total":4,"time_zone":"Asia/Kolkata","stats":{"total_cost":{"count":3,"sum":0.6,"min":0.1,"max":0.3,"skipped":1}},"#,
            r#""group_by":["@day","status"],"groups":["#,
            r#"{"key":{"@day":null,"status":null},"count":1,"stats":{"total_cost":{"count":0,"sum":0,"min":null,"max":null,"skipped":1}}},"#,
            r#"{"key":{"@day":"2026-11-28","status":"busy"},"from":"2026-11-28T00:00:00.000000Z","to":"2026-11-28T18:29:59.999999Z","count":1,"stats":{"total_cost":{"count":1,"sum":0.1,"min":0.1,"max":0.1}}},"#,
            r#"{"key":{"@day":"2026-11-29","status":"busy"},"from":"2026-11-28T18:30:00.000000Z","to":"2026-11-29T00:00:00.000000Z","count":1,"stats":{"total_cost":{"count":1,"sum":0.2,"min":0.2,"max":0.2}}},"#,
            r#"{"key":{"@day":"2026-11-29","status":"completed"},"from":"2026-11-28T18:30:00.000000Z","to":"2026-11-29T00:00:00.000000Z","count":1,"stats":{"total_cost":{"count":1,"sum":0.3,"min":0.3,"max":0.3}}}]}"#
        )
    );
    assert_eq!(
        csv(&totals).lines().collect::<Vec<_>>(),
        [
            r#""@day","status","count","total_cost.count","total_cost.sum","total_cost.min","total_cost.max""#,
            ",,1,0,0,,",
            "2026-11-28,busy,1,1,0.1,0.1,0.1",
            "2026-11-29,busy,1,1,0.2,0.2,0.2",
            "2026-11-29,completed,1,1,0.3,0.3,0.3",
        ]
    );
}

#[test]
fn the_same_facts_serve_every_zone() {
    let question = question("@day", "total_cost", None);
    let facts = Facts::read(&question, DAY_EDGE.iter().map(|(_, row)| row.as_bytes())).unwrap();
    for (zone, days) in [("UTC", 1), ("Asia/Kolkata", 2), ("Asia/Kathmandu", 1), ("America/New_York", 1)] {
        let mut totals = Totals::new(question.clone(), Zone::parse(zone).unwrap());
        totals
            .add(agent('f'), &facts, DAY_EDGE[..3].iter().map(|(date, _)| Some(at(date))).enumerate())
            .unwrap();
        assert_eq!(json(&totals, None)["groups"].as_array().unwrap().len(), days, "{zone}");
    }
}

#[test]
fn some_rows_of_the_facts_give_the_totals_of_those_rows() {
    let question = question("status", "total_cost", None);
    let facts = Facts::read(&question, DAY_EDGE.iter().map(|(_, row)| row.as_bytes())).unwrap();
    let mut some = Totals::new(question.clone(), Zone::utc());
    some.add(agent('f'), &facts, [1, 2].map(|row| (row, Some(at(DAY_EDGE[row].0))))).unwrap();
    assert_eq!(text(&some, None), text(&totals(&question, "UTC", &DAY_EDGE[1..3]), None));
}

#[test]
fn merged_totals_are_those_of_all_rows() {
    for group_by in ["@agent_id,status", "@day,status", "@hour,@month", "@week", "status"] {
        let question = question(group_by, "total_cost", Some(("total_cost", "0.15,0.25")));
        let facts = Facts::read(&question, DAY_EDGE.iter().map(|(_, row)| row.as_bytes())).unwrap();
        let zone = || Zone::parse("Asia/Kolkata").unwrap();
        let row = |row: usize| (row, Timestamp::parse(DAY_EDGE[row].0, crate::domain::Rounding::Down));
        let (mut all, mut merged) =
            (Totals::new(question.clone(), zone()), Totals::new(question.clone(), zone()));
        for (agent, rows) in [(agent('f'), [2, 3]), (agent('e'), [0, 1]), (agent('d'), [1, 2])] {
            all.add(agent, &facts, rows.map(row)).unwrap();
            let mut part = Totals::new(question.clone(), zone());
            part.add(agent, &facts, rows.map(row)).unwrap();
            merged.merge(&part).unwrap();
        }
        assert_eq!(text(&merged, None), text(&all, None), "{group_by}");
    }
}

#[test]
fn groups_compare_by_literal_and_other_values_are_one_group() {
    let question = question("k", "n", None);
    let values = [
        "10",
        "9",
        "1.0",
        "1",
        "\"1\"",
        "\"b\\u0061\"",
        "\"ba\"",
        "\"\"",
        "true",
        "false",
        "null",
        "{}",
        "[1]",
        "\"\\ud800\"",
    ];
    let rows: Vec<_> =
        values.iter().map(|value| format!("{{\"k\":{value}}}")).chain(["{}".to_owned()]).collect();
    let rows: Vec<_> = rows.iter().map(|row| ("", row.as_str())).collect();
    let totals = totals(&question, "UTC", &rows);
    let cells: Vec<_> =
        csv(&totals).lines().skip(1).map(|line| line.strip_suffix(",0,0,,").unwrap().to_owned()).collect();
    let expected = [
        ",2",
        "false,1",
        "true,1",
        "1,1",
        "1.0,1",
        "9,1",
        "10,1",
        "\"\",1",
        "\"\"\"\\ud800\"\"\",1",
        "1,1",
        "@other,2",
        "ba,2",
    ];
    assert_eq!(cells, expected);
    let keys: Vec<_> = json(&totals, None)["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| group["key"]["k"].to_string())
        .collect();
    assert_eq!(keys[..4], ["null", "false", "true", "1"]);
    assert_eq!(keys[7..], ["\"\"", "\"\\\"\\\\ud800\\\"\"", "\"1\"", "\"@other\"", "\"ba\""]);
}

#[test]
fn one_path_can_be_a_key_a_sum_and_inside_another() {
    let question =
        question("telephony_data,telephony_data.duration", "telephony_data.duration,a", Some(("a", "1,2")));
    let row = r#"{"telephony_data":{"duration":"69"},"a":2}"#;
    let group = json(&totals(&question, "UTC", &[("", row)]), None);
    assert_eq!(group["groups"][0]["key"]["telephony_data"], "@other");
    assert_eq!(group["groups"][0]["key"]["telephony_data.duration"], "69");
    assert_eq!(group["stats"]["telephony_data.duration"]["sum"], 69);
    assert_eq!(group["histogram"]["counts"], serde_json::json!([0, 1, 0]));
}

#[test]
fn without_group_by_there_are_only_totals() {
    let question = question("", "", Some(("conversation_duration", "0,10,30.5")));
    let durations = ["0", "-1", "10", "10.1", "\"30.5\"", "31", "\"x\"", "null"];
    let rows: Vec<_> =
        durations.iter().map(|value| format!("{{\"conversation_duration\":{value}}}")).collect();
    let rows: Vec<_> = rows.iter().map(|row| ("", row.as_str())).collect();
    let totals = totals(&question, "UTC", &rows);
    assert_eq!(
        text(&totals, None),
        concat!(
            r#"{"total":8,"time_zone":"UTC","stats":{"total_cost":{"count":0,"sum":0,"min":null,"max":null},"#,
            r#""conversation_duration":{"count":6,"sum":80.6,"min":-1,"max":31,"skipped":1}},"#,
            r#""histogram":{"path":"conversation_duration","bounds":[0,10,30.5],"counts":[2,1,2,1],"skipped":1}}"#
        )
    );
    assert_eq!(csv(&totals).lines().nth(1), Some("8,0,0,,,6,80.6,-1,31"));
    let nothing = self::totals(&question, "UTC", &[]);
    assert_eq!(csv(&nothing).lines().nth(1), Some("0,0,0,,,0,0,,"));
    assert_eq!(json(&nothing, None)["total"], 0);
}

#[test]
fn several_agents_are_one_set_of_groups() {
    for (group_by, expected) in [("status", vec![2]), ("@agent_id", vec![1, 1])] {
        let question = question(group_by, "n", None);
        let facts = Facts::read(&question, [&br#"{"status":"busy","n":1}"#[..]]).unwrap();
        let mut totals = Totals::new(question.clone(), Zone::utc());
        for last in ['f', '0'] {
            totals.add(agent(last), &facts, [(0, None)]).unwrap();
        }
        let groups = json(&totals, None)["groups"].as_array().unwrap().clone();
        assert_eq!(groups.iter().map(|group| group["count"].as_u64().unwrap()).collect::<Vec<_>>(), expected);
        assert_eq!(
            groups[0]["key"]["@agent_id"].as_str().is_some_and(|id| id.ends_with('0')),
            group_by == "@agent_id"
        );
    }
}

#[test]
fn refuses_one_group_too_many_without_reading_on() {
    let question = question("k", "n", None);
    let rows: Vec<_> = (0..=MOST_GROUPS).map(|k| format!("{{\"k\":{k}}}")).collect();
    let facts = Facts::read(&question, rows.iter().map(String::as_bytes)).unwrap();
    let add = |count: usize| {
        Totals::new(question.clone(), Zone::utc()).add(agent('f'), &facts, (0..count).map(|row| (row, None)))
    };
    assert_eq!(add(MOST_GROUPS), Ok(()));
    assert_eq!(add(MOST_GROUPS + 1), Err(TotalsError::TooManyGroups));
    let mut seen = 0;
    let endless = (0..=MOST_GROUPS).cycle().inspect(|_| seen += 1).map(|row| (row, None));
    assert!(Totals::new(question.clone(), Zone::utc()).add(agent('f'), &facts, endless).is_err());
    assert_eq!(seen, MOST_GROUPS + 1);
}

#[test]
fn names_invalid_parameters() {
    let list = |text: &str| vec![text.to_owned()];
    for group_by in ["@year", "a,b,c,d", "status,status", "a..b", "", "@day,@day"] {
        let detail = refusal(SummaryParams { group_by: &list(group_by), ..SummaryParams::default() });
        assert!(detail.contains("`group_by`"), "{group_by}: {detail}");
    }
    for stats in ["@day", "a,b,c,d,e,f,g,h,i", "a,a", "a:b"] {
        let detail = refusal(SummaryParams { stats: &list(stats), ..SummaryParams::default() });
        assert!(detail.contains("`stats`"), "{stats}: {detail}");
    }
    let many = (0..33).map(|bound| bound.to_string()).collect::<Vec<_>>().join(",");
    for bounds in ["", "1,1", "2,1", "1,x", "1,", "1 ,2", "1e18", &many] {
        let params = SummaryParams { histogram: Some("a"), bounds: Some(bounds), ..SummaryParams::default() };
        assert!(refusal(params).contains("`bounds`"), "{bounds}");
    }
    for (histogram, bounds) in [(Some("a"), None), (None, Some("1"))] {
        assert!(
            refusal(SummaryParams { histogram, bounds, ..SummaryParams::default() }).contains("each other")
        );
    }
    let two = SummaryParams { histogram: Some("a,b"), bounds: Some("1"), ..SummaryParams::default() };
    assert!(refusal(two).contains("`histogram`"));
}

#[test]
fn forms_differ_exactly_where_responses_differ() {
    let form = |group_by: &str, histogram, zone: &str| {
        question(group_by, "a", histogram).form(&Zone::parse(zone).unwrap(), &[agent('1')])
    };
    let one = form("@day,status", Some(("x", "1,2.50")), "Asia/Calcutta");
    assert_eq!(one, form("@day,\"status\"", Some(("\"x\"", "1.0,25e-1")), "asia/kolkata"));
    assert_ne!(one, form("@day,status", Some(("x", "1,2.50")), "UTC"));
    assert_ne!(one, form("status,@day", Some(("x", "1,2.50")), "Asia/Kolkata"));
    assert_ne!(one, form("@day,status", None, "Asia/Kolkata"));
    let columns = |group_by: &str, stats: &str, bounds| {
        question(group_by, stats, Some(("x", bounds))).columns().to_vec()
    };
    assert_eq!(columns("@day,status", "a", "1"), columns("status,@hour", "a", "2,3"));
    assert_ne!(columns("status", "a", "1"), columns("call_type", "a", "1"));
    let (both, one) = (columns("status", "status,a", "1"), columns("@day", "a", "1"));
    assert!(one.iter().all(|id| both.contains(id)), "a path has the same column in every question");
    assert_ne!(both[0], both[1], "a path has different columns as a key and as a sum");
}

proptest! {
    #[test]
    fn sums_are_exact(values in prop::collection::vec((0u8..3, -999_999_999_999i64..1_000_000_000_000), 0..60)) {
        let question = question("g", "n", None);
        // In units of 10⁻⁹, written with all nine digits.
        let literal = |n: i64| format!("{}{}.{:09}", if n < 0 { "-" } else { "" }, n.abs() / 1_000_000_000, n.abs() % 1_000_000_000);
        let rows: Vec<_> = values.iter().map(|(g, n)| format!("{{\"g\":{g},\"n\":{}}}", literal(*n))).collect();
        let rows: Vec<_> = rows.iter().map(|row| ("", row.as_str())).collect();
        let totals = totals(&question, "UTC", &rows);
        for (at, (id, group)) in totals.groups.iter().enumerate() {
            let key = format!("{:?}", totals.parts(*id));
            let own: Vec<_> = values.iter().filter(|(g, _)| key.contains(&format!("\"{g}\""))).map(|(_, n)| *n).collect();
            let decimal = |n: i64| Decimal::parse(&literal(n)).unwrap();
            prop_assert_eq!(group.count as usize, own.len(), "{}", at);
            prop_assert_eq!(group.stats[0].sum, decimal(own.iter().sum()));
            let ends = own.iter().min().zip(own.iter().max());
            prop_assert_eq!(group.stats[0].range, ends.map(|(min, max)| (decimal(*min), decimal(*max))));
        }
    }
}
