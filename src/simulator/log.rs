/// A received request.
#[derive(Clone, Debug)]
pub(super) struct SeenRequest {
    /// Its number, from 1.
    pub(super) number: u64,
    /// The path.
    pub(super) path: String,
    /// The query as received, without its question mark.
    pub(super) query: String,
    /// Its key.
    pub(super) key: Option<String>,
}

impl SeenRequest {
    /// The first value of a query parameter.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        form_urlencoded::parse(self.query.as_bytes())
            .find_map(|(key, value)| (key == name).then(|| value.into_owned()))
    }
}
