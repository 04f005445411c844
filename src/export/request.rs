use form_urlencoded::Serializer;

use super::agents::AskedAgents;
use super::encoder::FileRows;

/// What is exported, as the gateway is asked for it.
#[derive(Clone, Debug)]
pub struct ExportQuestion {
    /// Whose executions.
    pub agents: AskedAgents,
    /// The parameters that were given, the fields aside.
    pub parameters: Vec<(&'static str, String)>,
    /// What of each row.
    pub rows: FileRows,
}

impl ExportQuestion {
    /// The path and query to request for all rows.
    pub fn target(&self) -> String {
        self.query("all", &[("format", "ndjson"), ("end_record", "true")])
    }

    /// The path and query to request for what changed since a cursor; without one, for all rows and a first cursor.
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
