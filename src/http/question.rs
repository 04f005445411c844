use super::params::{Params, invalid};
use super::problem::Problem;
use crate::domain::{Filters, Rounding, Timestamp};

/// The parameters of `/agents/{agent_id}/executions/all`, read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AllParams {
    pub(crate) filters: Filters,
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
    /// Over `Accept`.
    pub(crate) format: Option<Format>,
    pub(crate) end_record: EndRecord,
}

/// The two forms of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One document, all or nothing.
    Json,
    /// One row a line, as it comes.
    Ndjson,
}

impl Format {
    /// The value of `format`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
        }
    }
}

/// Whether NDJSON ends with a line that says how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndRecord {
    /// Rows only.
    Absent,
    /// `{"@end":…}` last.
    Wanted,
}

/// What `/agents/{agent_id}/executions/all` takes.
pub const ALL_PARAMETERS: [&str; 9] = [
    "status",
    "call_type",
    "provider",
    "answered_by_voice_mail",
    "batch_id",
    "from",
    "to",
    "format",
    "end_record",
];

const BOOLEAN: &str = "`true` or `false`";
const INSTANT: &str = "an RFC 3339 date and time, such as 2026-01-28T13:17:50Z (a bare date is not: say \
                       which instant of the day)";
const WORD: &str = "one of upstream's words: 1 to 64 of a-z, 0-9, `_` and `-`";

impl AllParams {
    /// Reads a query string; whatever is unknown, doubled or unreadable is refused by name.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut params = Params::read(query)?;
        for paging in ["page_number", "page_size"] {
            if params.has(paging) {
                return Err(invalid(format!(
                    "`{paging}` is not a parameter of this path, which answers all pages at once; accepted are {}",
                    ALL_PARAMETERS.join(", ")
                )));
            }
        }
        let filters = filters(&mut params)?;
        let from = params.parse("from", INSTANT, |text| instant(text, Rounding::Up))?;
        let to = params.parse("to", INSTANT, |text| instant(text, Rounding::Down))?;
        let format = params.parse("format", "`json` or `ndjson`", |text| match text {
            "json" => Some(Format::Json),
            "ndjson" => Some(Format::Ndjson),
            _ => None,
        })?;
        let end_record = params.parse("end_record", BOOLEAN, boolean)?;
        params.finish(&ALL_PARAMETERS)?;
        if let (Some(from), Some(to)) = (from, to)
            && from > to
        {
            return Err(invalid("`from` is after `to`; accepted is a `from` that is not".to_owned()));
        }
        let end_record = if end_record == Some(true) { EndRecord::Wanted } else { EndRecord::Absent };
        Ok(Self { filters, from, to, format, end_record })
    }
}

/// Takes upstream's filters out of the parameters.
pub(crate) fn filters(params: &mut Params) -> Result<Filters, Problem> {
    Ok(Filters {
        status: params.parse("status", WORD, |text| text.parse().ok())?,
        call_type: params.parse("call_type", "`inbound` or `outbound`", |text| text.parse().ok())?,
        provider: params.parse("provider", WORD, |text| text.parse().ok())?,
        answered_by_voice_mail: params.parse("answered_by_voice_mail", BOOLEAN, boolean)?,
        batch_id: params
            .parse("batch_id", "32 hexadecimal digits, or a dashed UUID", |text| text.parse().ok())?,
    })
}

fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// Reads an instant, with the `+` of an offset forgiven for having arrived as a space: nothing else has a space so late.
fn instant(text: &str, rounding: Rounding) -> Option<Timestamp> {
    let offset = text.bytes().rposition(|byte| byte == b' ').filter(|&at| at > 10);
    match offset {
        None => Timestamp::parse(text, rounding),
        Some(at) => Timestamp::parse(&format!("{}+{}", &text[..at], &text[at + 1..]), rounding),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> AllParams {
        AllParams::parse(Some(query)).unwrap()
    }

    fn detail(query: &str) -> String {
        AllParams::parse(Some(query)).unwrap_err().detail
    }

    #[test]
    fn two_spellings_of_one_question_are_one_question() {
        let one = parse(
            "status=completed&answered_by_voice_mail=True&from=2026-01-28T18:47:50%2b05:30\
             &batch_id=6F9619FF-8B86-D011-B42D-00CF4FC964FF",
        );
        let other = parse(
            "batch_id=6f9619ff-8b86-d011-b42d-00cf4fc964ff&from=2026-01-28T13:17:50Z&\
             answered_by_voice_mail=true&status=completed",
        );
        assert_eq!(one, other);
    }

    #[test]
    fn a_plus_that_arrived_as_a_space_is_forgiven() {
        let plain = parse("from=2026-01-28T18:47:50%2b05:30").from;
        assert!(plain.is_some());
        assert_eq!(parse("from=2026-01-28T18:47:50+05:30").from, plain);
        assert_eq!(parse("from=2026-01-28+18:47:50+05:30").from, plain);
        assert_eq!(parse("from=2026-01-28+13:17:50").from, plain);
    }

    #[test]
    fn refusals_name_the_parameter_and_what_is_accepted() {
        for (query, name) in [
            ("from=2026-01-28", "`from`"),
            ("to=yesterday", "`to`"),
            ("status=", "`status`"),
            ("status=Completed", "`status`"),
            ("call_type=sideways", "`call_type`"),
            ("provider=a%20b", "`provider`"),
            ("answered_by_voice_mail=1", "`answered_by_voice_mail`"),
            ("batch_id=1234", "`batch_id`"),
            ("format=csv", "`format`"),
            ("end_record=yes", "`end_record`"),
            ("page_number=1", "`page_number`"),
            ("page_size=50", "`page_size`"),
            ("limit=5", "`limit`"),
            ("status=busy&status=busy", "`status`"),
            ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "`from` is after `to`"),
        ] {
            let detail = detail(query);
            assert!(detail.contains(name) && detail.contains("accepted"), "{query}: {detail}");
        }
    }

    #[test]
    fn both_ends_may_be_one_instant() {
        let at = parse("from=2026-01-02T00:00:00Z&to=2026-01-02T00:00:00Z");
        assert_eq!(at.from, at.to);
    }

    #[test]
    fn every_listed_parameter_is_taken() {
        for name in ALL_PARAMETERS {
            let refused = detail(&format!("{name}=%21"));
            assert!(refused.contains(&format!("`{name}` is not valid")), "{refused}");
        }
    }

    #[test]
    fn nothing_asked_is_everything() {
        let none = AllParams::parse(None).unwrap();
        assert_eq!(none, parse(""));
        assert_eq!((none.from, none.to, none.end_record), (None, None, EndRecord::Absent));
    }
}
