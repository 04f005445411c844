//! Parses the query of a list, and refuses what upstream refuses.

use std::time::Duration;

use super::page_asked::PageAsked;
use super::refusal::Refusal;
use super::settings::WindowRule;
use crate::domain::{CallType, Filters, MAX_PAGE_SIZE, Rounding, Timestamp};

/// The parsed query of a list.
#[derive(Clone, Debug)]
pub(super) struct ListQuery {
    pub(super) page: PageAsked,
    pub(super) filters: Filters,
    pub(super) from: Option<Timestamp>,
    pub(super) to: Option<Timestamp>,
}

/// The default number of rows on a page.
const DEFAULT_PAGE_SIZE: usize = 20;

impl ListQuery {
    /// Parses a query. Unknown names are ignored, and of a repeated name the last value counts, as in common
    /// web frameworks.
    ///
    /// # Errors
    /// A [`Refusal`] for a value of the wrong form, or an end that breaks the rule for windows.
    pub(super) fn read(query: &str, window: WindowRule) -> Result<Self, Refusal> {
        let mut page = PageAsked { number: 1, size: DEFAULT_PAGE_SIZE };
        let mut filters = Filters::default();
        let (mut from, mut to) = (None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = &*value;
            match &*name {
                "page_number" => page.number = count("page_number", value)?,
                "page_size" => {
                    let refusal =
                        Refusal::Value { parameter: "page_size", accepted: "less than or equal to 50" };
                    let size = Some(count("page_size", value)?);
                    page.size = size.filter(|size| *size <= MAX_PAGE_SIZE).ok_or(refusal)?;
                }
                "status" => filters.status = Some(parsed("status", "a valid status", value)?),
                "call_type" => {
                    filters.call_type =
                        Some(parsed::<CallType>("call_type", "'inbound' or 'outbound'", value)?);
                }
                "provider" => filters.provider = Some(parsed("provider", "a valid provider", value)?),
                "answered_by_voice_mail" => filters.answered_by_voice_mail = Some(truth(value)?),
                "batch_id" => filters.batch_id = Some(parsed("batch_id", "a valid batch id", value)?),
                "from" => from = Some(instant("from", value)?),
                "to" => to = Some(instant("to", value)?),
                _ => {}
            }
        }
        match window {
            WindowRule::Required(widest) => check_window(from, to, widest)?,
            WindowRule::Optional => {}
        }
        Ok(Self { page, filters, from, to })
    }
}

fn check_window(from: Option<Timestamp>, to: Option<Timestamp>, widest: Duration) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::Window(message));
    match (from, to) {
        (Some(from), Some(to)) if from > to => refuse("'from' must not be after 'to'".to_owned()),
        (Some(from), Some(to)) if to.since(from) > widest => refuse(format!(
            "the range between 'from' and 'to' must not exceed {} days",
            widest.as_secs() / 86_400
        )),
        (Some(_), Some(_)) => Ok(()),
        (None, _) | (_, None) => refuse("both 'from' and 'to' are required".to_owned()),
    }
}

fn count(parameter: &'static str, value: &str) -> Result<usize, Refusal> {
    let refusal = Refusal::Value { parameter, accepted: "a valid integer greater than or equal to 1" };
    value.parse().ok().filter(|number| *number >= 1).ok_or(refusal)
}

fn parsed<T: std::str::FromStr>(
    parameter: &'static str,
    accepted: &'static str,
    value: &str,
) -> Result<T, Refusal> {
    value.parse().map_err(|_| Refusal::Value { parameter, accepted })
}

fn instant(parameter: &'static str, value: &str) -> Result<Timestamp, Refusal> {
    let rounding = if parameter == "from" { Rounding::Up } else { Rounding::Down };
    Timestamp::parse(value, rounding).ok_or(Refusal::Value { parameter, accepted: "a valid datetime" })
}

/// Parses the words for true and false that web frameworks accept.
fn truth(value: &str) -> Result<bool, Refusal> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "t" | "y" => Ok(true),
        "false" | "0" | "no" | "off" | "f" | "n" => Ok(false),
        _ => Err(Refusal::Value { parameter: "answered_by_voice_mail", accepted: "a valid boolean" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<ListQuery, Refusal> {
        ListQuery::read(query, WindowRule::default())
    }

    fn is_window(query: &str) -> bool {
        matches!(read(query), Err(Refusal::Window(_)))
    }

    #[test]
    fn a_window_has_both_ends_and_seven_days_at_most() {
        assert!(is_window(""));
        assert!(is_window("from=2026-01-01T00:00:00Z"));
        assert!(is_window("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z"));
        assert!(is_window("from=2026-01-01T00:00:00Z&to=2026-01-08T00:00:00.000001Z"));
        assert!(read("from=2026-01-01T00:00:00Z&to=2026-01-08T00:00:00Z").is_ok());
        assert!(ListQuery::read("", WindowRule::Optional).is_ok());
    }

    #[test]
    fn bad_values_are_refused_by_name() {
        for (query, name) in [
            ("page_number=0", "page_number"),
            ("page_size=51", "page_size"),
            ("page_size=x", "page_size"),
            ("call_type=sideways", "call_type"),
            ("answered_by_voice_mail=maybe", "answered_by_voice_mail"),
            ("batch_id=12", "batch_id"),
            ("from=yesterday", "from"),
            ("to=2026-01-01T00:00:00+00:00", "to"),
        ] {
            let refused = read(query).map(drop);
            assert!(matches!(refused, Err(Refusal::Value { parameter, .. }) if parameter == name), "{query}");
        }
    }
}
