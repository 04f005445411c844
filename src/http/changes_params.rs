use super::params::{Params, invalid};
use super::problem::Problem;
use super::question::{Format, RowSelection, Selection, list, not_both};
use crate::shape::{Fields, Omit};

/// The parsed parameters of `/agents/{agents}/executions/changes`.
#[derive(Debug)]
pub(super) struct ChangesParams {
    /// The selected rows.
    pub(super) rows: RowSelection,
    /// The cursor as it was written.
    pub(super) since: Option<String>,
    /// Takes precedence over `Accept`.
    pub(super) format: Option<Format>,
    /// Only these values of each row.
    pub(super) fields: Option<Fields>,
    /// Rows without these members; never together with `fields`.
    pub(super) omit: Option<Omit>,
}

/// The parameters that `/agents/{agents}/executions/changes` takes.
pub const CHANGES_PARAMETERS: [&str; 12] = [
    "status",
    "call_type",
    "provider",
    "answered_by_voice_mail",
    "batch_id",
    "from",
    "to",
    "time_zone",
    "since",
    "format",
    "fields",
    "omit",
];

impl ChangesParams {
    /// Reads a query string. Unknown, repeated and unreadable parameters are refused by name.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut params = Params::read(query)?;
        let Selection { rows, zone: _ } = Selection::take(&mut params)?;
        let since = params.take("since")?;
        let offered = |format: &Format| *format != Format::Csv;
        let format =
            params.parse("format", "`json` or `ndjson`", |text| Format::parse(text).filter(offered))?;
        let fields = list(&mut params, "fields", Fields::parse)?;
        let omit = list(&mut params, "omit", Omit::parse)?;
        params.finish(&CHANGES_PARAMETERS)?;
        not_both(fields.as_ref(), omit.as_ref())?;
        if fields.as_ref().is_some_and(|fields| !fields.has_id()) || omit.as_ref().is_some_and(Omit::takes_id)
        {
            let name = if fields.is_some() { "fields" } else { "omit" };
            return Err(invalid(format!(
                "`{name}` is not valid: changes are applied by `id`; accepted: a list that leaves `id` in the rows"
            )));
        }
        Ok(Self { rows, since, format, fields, omit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail(query: &str) -> String {
        ChangesParams::parse(Some(query)).unwrap_err().detail
    }

    #[test]
    fn refusals_name_the_parameter_and_what_is_accepted() {
        for (query, name) in [
            ("fields=status", "`fields`"),
            ("fields=a.id", "`fields`"),
            ("omit=id", "`omit`"),
            ("omit=status,id", "`omit`"),
            ("fields=id&omit=status", "`fields`"),
            ("format=csv", "`format`"),
            ("limit=5", "`limit`"),
            ("end_record=true", "`end_record`"),
            ("since=a&since=b", "`since`"),
            ("from=2026-01-02&to=2026-01-01", "`from` is after `to`"),
        ] {
            let detail = detail(query);
            assert!(detail.contains(name) && detail.contains("accepted"), "{query}: {detail}");
        }
        assert!(ChangesParams::parse(Some("fields=status,id")).is_ok());
        assert!(ChangesParams::parse(Some("omit=id.x,a.id")).is_ok());
    }

    #[test]
    fn every_listed_parameter_is_taken() {
        for name in CHANGES_PARAMETERS.into_iter().filter(|name| *name != "since") {
            let detail = detail(&format!("{name}=%22"));
            assert!(detail.contains(&format!("`{name}`")) && !detail.contains("not a parameter"), "{detail}");
        }
        assert_eq!(ChangesParams::parse(Some("since=%22")).unwrap().since.as_deref(), Some("\""));
    }
}
