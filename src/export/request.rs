use form_urlencoded::Serializer;

use super::agents::AskedAgents;
use super::encoder::FileRows;

/// What to export, and the request for it.
#[derive(Clone, Debug)]
pub struct ExportQuestion {
    /// The agents.
    pub agents: AskedAgents,
    /// The query parameters, except for `fields`.
    pub parameters: Vec<(&'static str, String)>,
    /// The format and the fields.
    pub rows: FileRows,
}

impl ExportQuestion {
    /// The path and query for all rows.
    pub fn target(&self) -> String {
        self.query("all", &[("format", "ndjson"), ("end_record", "true")])
    }

    /// The path and query for the changes since a cursor; without one, for all rows and a first cursor.
    pub fn changes_target(&self, since: Option<&str>) -> String {
        let since = since.map(|cursor| ("since", cursor));
        let given: Vec<_> = [("format", "ndjson")].into_iter().chain(since).collect();
        self.query("changes", &given)
    }

    fn query(&self, path: &str, given: &[(&str, &str)]) -> String {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(given).extend_pairs(&self.parameters);
        query.extend_pairs(self.rows.fields().iter().map(|fields| ("fields", fields)));
        format!("/agents/{}/executions/{path}?{}", self.agents.segment(), query.finish())
    }

    /// The value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(given, _)| *given == name).map(|(_, value)| value.as_str())
    }
}
