use std::sync::Arc;

use super::params::{Params, invalid};
use super::problem::Problem;
use super::question::{Format, PATHS, Selection};
use crate::shape::totals::{QuestionError, SummaryParams, SummaryQuestion};

/// The parsed parameters of `/agents/{agents}/executions/summary`.
#[derive(Debug)]
pub(super) struct TotalsParams {
    /// The selected rows.
    pub(super) selection: Selection,
    /// The requested totals.
    pub(super) totals: Arc<SummaryQuestion>,
    /// Takes precedence over `Accept`.
    pub(super) format: Option<Format>,
}

/// The parameters that `/agents/{agents}/executions/summary` takes.
pub const SUMMARY_PARAMETERS: [&str; 13] = [
    "status",
    "call_type",
    "provider",
    "answered_by_voice_mail",
    "batch_id",
    "from",
    "to",
    "time_zone",
    "group_by",
    "stats",
    "histogram",
    "bounds",
    "format",
];

impl TotalsParams {
    /// Reads a query string. Unknown, repeated and unreadable parameters are refused by name.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut params = Params::read(query)?;
        let selection = Selection::take(&mut params)?;
        let (group_by, stats) = (params.take_all("group_by"), params.take_all("stats"));
        let (histogram, bounds) = (params.take("histogram")?, params.take("bounds")?);
        let offered = |format: &Format| *format != Format::Ndjson;
        let format = params.parse("format", "`json` or `csv`", |text| Format::parse(text).filter(offered))?;
        params.finish(&SUMMARY_PARAMETERS)?;
        let totals = SummaryQuestion::parse(SummaryParams {
            group_by: &group_by,
            stats: &stats,
            histogram: histogram.as_deref(),
            bounds: bounds.as_deref(),
        });
        let totals = totals.map_err(|error| refused(&error))?;
        Ok(Self { selection, totals: Arc::new(totals), format })
    }
}

/// The problem with the lists. The log does not repeat any path.
fn refused(error: &QuestionError) -> Problem {
    match error {
        QuestionError::List { parameter, error: list } => {
            let also = if *parameter == "group_by" {
                ", and `@hour`, `@day`, `@week`, `@month`, `@agent_id`"
            } else {
                ""
            };
            Problem { reason: Some(list.reason()), ..invalid(format!("{error}; {PATHS}{also}")) }
        }
        QuestionError::Bounds | QuestionError::Unpaired => invalid(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail(query: &str) -> String {
        TotalsParams::parse(Some(query)).unwrap_err().detail
    }

    #[test]
    fn refusals_name_the_parameter_and_what_is_accepted() {
        for (query, name) in [
            ("group_by=@year", "`group_by`"),
            ("group_by=", "`group_by`"),
            ("group_by=a,b,c,d", "`group_by`"),
            ("group_by=status,status", "`group_by`"),
            ("stats=@day", "`stats`"),
            ("stats=a,b,c,d,e,f,g,h,i", "`stats`"),
            ("histogram=a", "`histogram`"),
            ("bounds=1", "`bounds`"),
            ("histogram=a&bounds=2,1", "`bounds`"),
            ("histogram=a&bounds=1e3000", "`bounds`"),
            ("histogram=a&histogram=b&bounds=1", "`histogram`"),
            ("format=ndjson", "`format`"),
            ("fields=id", "`fields`"),
            ("end_record=true", "`end_record`"),
            ("time_zone=Mars/Olympus", "`time_zone`"),
            ("from=2026-01-02&to=2026-01-01", "`from` is after `to`"),
        ] {
            let detail = detail(query);
            assert!(detail.contains(name) && detail.contains("accepted"), "{query}: {detail}");
        }
    }

    #[test]
    fn every_listed_parameter_is_taken() {
        for name in SUMMARY_PARAMETERS {
            let detail = detail(&format!("{name}=%22"));
            assert!(detail.contains(&format!("`{name}`")) && !detail.contains("not a parameter"), "{detail}");
        }
    }
}
