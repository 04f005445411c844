//! What a list's query asks for, and what upstream refuses in it.

use std::time::Duration;

use super::page_asked::PageAsked;
use super::quirks::PageSizeQuirk;
use super::refusal::Refusal;
use super::settings::WindowRule;
use crate::domain::{CallType, Filters, Rounding, Timestamp};

/// What a list's query asks for.
#[derive(Clone, Debug)]
pub(super) struct ListQuery {
    pub(super) page: PageAsked,
    pub(super) filters: Filters,
    pub(super) from: Option<Timestamp>,
    pub(super) to: Option<Timestamp>,
}

/// Rows on a page when nothing is said.
const DEFAULT_PAGE_SIZE: usize = 20;

impl ListQuery {
    /// Reads a query. Names that upstream does not know are passed over, and of a name that comes twice the last value
    /// counts, as web frameworks do.
    ///
    /// # Errors
    /// A [`Refusal`] for a value of the wrong form, or an end that breaks the rule for windows.
    pub(super) fn read(
        query: &str,
        size: PageSizeQuirk,
        window: WindowRule,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
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
                    page.size = size.allow(count("page_size", value)?).ok_or(refusal)?;
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
            WindowRule::Assumed(width) => from = from.or_else(|| Some(to.unwrap_or(now).minus(width))),
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

/// The words for yes and no that web frameworks take.
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
        read_under(query, WindowRule::default())
    }

    fn read_under(query: &str, window: WindowRule) -> Result<ListQuery, Refusal> {
        ListQuery::read(query, PageSizeQuirk::Refused, window, Timestamp::from_micros(10_000_000))
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
        assert!(read_under("", WindowRule::Optional).is_ok());
    }

    #[test]
    fn an_assumed_window_begins_before_its_end_or_now() {
        let from = |query| read_under(query, WindowRule::Assumed(Duration::from_secs(7))).unwrap().from;
        assert_eq!(from(""), Some(Timestamp::from_micros(3_000_000)));
        assert_eq!(from("to=1970-01-01T00:00:08Z"), Some(Timestamp::from_micros(1_000_000)));
        assert_eq!(from("from=1970-01-01T00:00:00Z"), Some(Timestamp::from_micros(0)));
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

    #[test]
    fn more_than_fifty_are_clamped_if_so_set() {
        let (query, now) = ("page_size=1000", Timestamp::from_micros(0));
        let clamped = ListQuery::read(query, PageSizeQuirk::Clamped, WindowRule::Optional, now);
        assert_eq!(clamped.map(|q| q.page.size), Ok(50));
    }
}
