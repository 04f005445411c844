//! Fuzz targets: functions that accept any bytes and assert what must hold for the result.
//!
//! `fuzz/` calls them with generated inputs; a test replays the stored ones.

use serde::de::IgnoredAny;

use super::csv::Table;
use super::totals::{Facts, SummaryParams, SummaryQuestion, Totals};
use super::{Fields, Omit, Zone};
use crate::domain::AgentId;

/// The longest error message about a list, in bytes.
const LONGEST_ERROR: usize = 800;

/// Parses a text as `fields`, `omit`, `group_by`, `stats`, `bounds` and `time_zone`.
pub fn lists(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match Fields::parse(&[text]) {
        Ok(fields) => {
            let canonical = fields.canonical();
            let again = Fields::parse(&[&canonical]).expect("a canonical list can be read");
            assert_eq!(again.canonical(), canonical);
            assert_eq!(again.columns(), fields.columns());
        }
        Err(error) => assert!((1..=LONGEST_ERROR).contains(&error.to_string().len()), "{error}"),
    }
    if let Ok(omit) = Omit::parse(&[text]) {
        let again = Omit::parse(&[omit.canonical()]).expect("a canonical list can be read");
        assert_eq!(again.canonical(), omit.canonical());
    }
    let values = [text.to_owned()];
    let params =
        SummaryParams { group_by: &values, stats: &values, histogram: Some("a"), bounds: Some(text) };
    for params in [params, SummaryParams { histogram: None, bounds: None, ..params }] {
        if let Err(error) = SummaryQuestion::parse(params) {
            assert!((1..=LONGEST_ERROR).contains(&error.to_string().len()), "{error}");
        }
    }
    if let Ok(zone) = Zone::parse(text) {
        assert_eq!(Zone::parse(zone.name()), Ok(zone));
    }
}

/// Applies the list of paths on the first line to the row on the other lines.
pub fn rows(data: &[u8]) {
    let Some(end) = data.iter().position(|&byte| byte == b'\n') else { return };
    let (Ok(list), row) = (str::from_utf8(&data[..end]), &data[end + 1..]) else { return };
    let Ok(fields) = Fields::parse(&[list]) else { return };
    let agent = AgentId::new(uuid::Uuid::nil());
    let mut projected = Vec::new();
    if fields.project(row, agent, &mut projected).is_err() {
        assert!(projected.is_empty(), "an invalid row writes nothing");
        return;
    }
    serde_json::from_slice::<IgnoredAny>(&projected).expect("a projected row is JSON");
    let mut again = Vec::new();
    fields.project(&projected, agent, &mut again).expect("a projected row is a row");
    if !list.contains('@') {
        assert_eq!(again, projected, "a projected row has all of its fields");
    }
    if let Ok(omit) = Omit::parse(&[list])
        && str::from_utf8(row).is_ok()
    {
        let (mut cut, mut rest) = (Vec::new(), Vec::new());
        omit.apply(row, &mut cut).expect("a row is a row");
        fields.project(&cut, agent, &mut rest).expect("a row without its omitted members is a row");
        assert_eq!(rest, b"{}", "no omitted member is left");
    }
    Table::new(&fields).write_row(row, agent, &mut Vec::new()).expect("a row is a row");
    let stats = [list.to_owned()];
    if let Ok(question) = SummaryQuestion::parse(SummaryParams { stats: &stats, ..SummaryParams::default() })
    {
        let facts = Facts::read(&question, [row, row]).expect("a row is a row");
        let mut totals = Totals::new(question.clone(), Zone::utc());
        totals.add(agent, &facts, [(0, None), (1, None)]).expect("two rows are few");
        let mut members = b"{".to_vec();
        totals.write_json(None, &mut members).expect("two numbers have a sum");
        members.push(b'}');
        serde_json::from_slice::<IgnoredAny>(&members).expect("totals are JSON");
    }
}
