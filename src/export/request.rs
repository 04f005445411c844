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
    /// The path and query to request.
    pub fn target(&self) -> String {
        let mut query = Serializer::new(String::new());
        query.append_pair("format", "ndjson").append_pair("end_record", "true");
        query.extend_pairs(&self.parameters);
        query.extend_pairs(self.rows.fields().iter().map(|fields| ("fields", fields)));
        format!("/agents/{}/executions/all?{}", self.agents.segment(), query.finish())
    }

    /// The value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(given, _)| *given == name).map(|(_, value)| value.as_str())
    }
}
