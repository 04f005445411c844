use form_urlencoded::Serializer;

use super::problem::{Code, Problem};
use crate::domain::AgentId;

/// A decoded query string: names and values in their original order.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Decodes a query string strictly, without guessing at invalid encodings.
    pub(crate) fn read(query: Option<&str>) -> Result<Self, Problem> {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                let name = decode(name).ok_or_else(|| {
                    invalid("a parameter's name is not valid percent-encoded UTF-8".to_owned())
                })?;
                let value = decode(value).ok_or_else(|| {
                    let detail =
                        format!("`{}` is not valid; accepted: percent-encoded UTF-8", shortened(&name));
                    Problem { reason: Some("a parameter is not percent-encoded UTF-8"), ..invalid(detail) }
                })?;
                Ok((name, value))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether a parameter was given.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| n == name)
    }

    /// Removes and returns a parameter. A parameter that is given twice is refused.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let Some(at) = self.0.iter().position(|(n, _)| n == name) else { return Ok(None) };
        let (_, value) = self.0.remove(at);
        if self.has(name) {
            return Err(twice(name));
        }
        Ok(Some(value))
    }

    /// Removes and returns the values of a repeatable parameter.
    pub(crate) fn take_all(&mut self, name: &str) -> Vec<String> {
        self.0.extract_if(.., |(given, _)| given == name).map(|(_, value)| value).collect()
    }

    /// Removes a parameter and parses it. `accepted` completes the text "accepted: …".
    pub(crate) fn parse<T>(
        &mut self,
        name: &str,
        accepted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.take(name)? else { return Ok(None) };
        match read(&value) {
            Some(value) => Ok(Some(value)),
            None => Err(invalid(format!("`{name}` is not valid; accepted: {accepted}"))),
        }
    }

    /// The value of a parameter that is given once.
    pub(crate) fn only(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str());
        values.next().filter(|_| values.next().is_none())
    }

    /// The value of a parameter; given twice, it is refused.
    pub(crate) fn single(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.0.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str());
        let first = values.next();
        if values.next().is_some() { Err(twice(name)) } else { Ok(first) }
    }

    /// Refuses every parameter except these.
    pub(crate) fn allow_only(&self, accepted: &[&str]) -> Result<(), Problem> {
        match self.0.iter().find(|(name, _)| !accepted.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) => Err(unknown(name, accepted)),
        }
    }

    /// Refuses every parameter that was not taken.
    pub(crate) fn finish(self, accepted: &[&str]) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(unknown(name, accepted)),
        }
    }

    /// The parameters sorted by name, in one canonical encoding. Parameters of one name keep their order,
    /// which may matter upstream.
    pub(crate) fn canonical(&self) -> String {
        let mut pairs: Vec<_> = self.0.iter().collect();
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        Serializer::new(String::new()).extend_pairs(pairs).finish()
    }
}

/// Parses the agent of a path. A path with an empty segment does not exist.
pub(crate) fn agent(segment: Option<&str>) -> Result<AgentId, Problem> {
    if segment == Some("") {
        return Err(nothing_here());
    }
    segment
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| invalid("`agent_id` is not valid; accepted: a UUID in its dashed form".to_owned()))
}

/// The problem of a path that does not exist.
pub(crate) fn nothing_here() -> Problem {
    Problem::new(Code::NotFound, "this path does not exist; /openapi.yaml lists all paths")
}

pub(crate) fn invalid(detail: String) -> Problem {
    Problem::new(Code::InvalidRequest, detail)
}

fn twice(name: &str) -> Problem {
    invalid(format!("`{name}` is given twice; accepted: once"))
}

fn unknown(name: &str, accepted: &[&str]) -> Problem {
    let advice = if accepted.is_empty() {
        "accepted: none".to_owned()
    } else {
        format!("accepted: {}", accepted.join(", "))
    };
    Problem {
        reason: Some("a parameter that the path does not have"),
        ..invalid(format!("`{}` is not a parameter of this path; {advice}", shortened(name)))
    }
}

fn shortened(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            plain => plain,
        });
    }
    String::from_utf8(out).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail(result: Result<impl Sized, Problem>) -> String {
        result.err().unwrap().detail
    }

    #[test]
    fn decodes_plus_and_percent() {
        let mut params = Params::read(Some("a=1+2%2b3&b&&c=%C3%A9")).unwrap();
        assert_eq!(params.take("a").unwrap().as_deref(), Some("1 2+3"));
        assert_eq!(params.take("b").unwrap().as_deref(), Some(""));
        assert_eq!(params.take("c").unwrap().as_deref(), Some("é"));
        assert_eq!(params.take("d").unwrap(), None);
        params.finish(&[]).unwrap();
    }

    #[test]
    fn refuses_undecodable_parameters_by_name() {
        for query in ["from=%", "from=%2", "from=%zz", "from=%ff", "from=%+1"] {
            assert!(detail(Params::read(Some(query))).contains("`from`"), "{query}");
        }
        assert!(Params::read(Some("%ff=1")).is_err());
    }

    #[test]
    fn the_log_never_repeats_a_callers_text() {
        let reason = |result: Result<(), Problem>| result.unwrap_err().reason();
        let unknown = Params::read(Some("%2B919812345678=1")).unwrap().finish(&["from"]);
        assert_eq!(reason(unknown), "a parameter that the path does not have");
        let broken = Params::read(Some("bn-secret=%ff")).map(drop);
        assert_eq!(reason(broken), "a parameter is not percent-encoded UTF-8");
        assert!(
            reason(Params::read(Some("from=1&from=2")).unwrap().take("from").map(drop)).contains("`from`")
        );
    }

    #[test]
    fn refuses_a_repeated_parameter_by_name() {
        let mut params = Params::read(Some("a=1&b=2&%61=1")).unwrap();
        assert!(detail(params.take("a")).contains("`a` is given twice"));
    }

    #[test]
    fn two_spellings_have_one_canonical_form() {
        let canonical = |query| Params::read(Some(query)).unwrap().canonical();
        assert_eq!(canonical("to=2&from=a%20b&&x"), canonical("from=a+b&x=&%74o=2"));
        assert_ne!(canonical("a=1&a=2"), canonical("a=2&a=1"));
        assert_ne!(canonical("a=1%26b=2"), canonical("a=1&b=2"));
    }

    #[test]
    fn an_agent_is_a_dashed_uuid() {
        let dashed = "6F9619FF-8B86-D011-B42D-00CF4FC964FF";
        assert_eq!(agent(Some(dashed)).unwrap().to_string(), dashed.to_lowercase());
        for text in ["me", "6f9619ff8b86d011b42d00cf4fc964ff", "{6f9619ff-8b86-d011-b42d-00cf4fc964ff}"] {
            assert!(detail(agent(Some(text))).contains("agent_id"), "{text}");
        }
    }
}
