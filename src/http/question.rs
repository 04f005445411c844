use super::params::{Params, invalid};
use super::problem::Problem;
use crate::domain::{Filters, NotAFilterValue, Rounding, Statuses, Timestamp};
use crate::shape::{Fields, ListError, Omit, Zone};

/// The parsed parameters of `/agents/{agents}/executions/all`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AllParams {
    /// The selected rows.
    pub(crate) rows: RowSelection,
    /// Takes precedence over `Accept`.
    pub(crate) format: Option<Format>,
    pub(crate) end_record: EndRecord,
    /// The maximum number of rows, counted from the newest.
    pub(crate) limit: Option<u64>,
    /// Only these values of each row.
    pub(crate) fields: Option<Fields>,
    /// Rows without these members; never together with `fields`.
    pub(crate) omit: Option<Omit>,
}

/// The formats of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One document, all or nothing.
    Json,
    /// One row per line, as it arrives.
    Ndjson,
    /// A table, all or nothing.
    Csv,
}

impl Format {
    /// Reads the value of `format`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::Json, Self::Ndjson, Self::Csv].into_iter().find(|format| format.as_str() == text)
    }

    /// The value of `format`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
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

/// The parameters that `/agents/{agents}/executions/all` takes.
pub const ALL_PARAMETERS: [&str; 13] = [
    "status",
    "call_type",
    "provider",
    "answered_by_voice_mail",
    "batch_id",
    "from",
    "to",
    "time_zone",
    "format",
    "end_record",
    "limit",
    "fields",
    "omit",
];

/// The accepted lists of paths.
pub(super) const PATHS: &str = "accepted: paths into a row, separated by commas, such as `id,telephony_data.to_number`, with a \
                     JSON string for a key that has one of `,:.\"` in it";
const BOOLEAN: &str = "`true` or `false`";
pub(crate) const INSTANT: &str =
    "a date, such as 2026-01-28, or an RFC 3339 date and time, such as 2026-01-28T13:17:50Z";
const ZONE: &str =
    "a name of the IANA time zone database, such as `Asia/Kolkata`, `America/New_York` or `UTC`";
/// The maximum `limit`.
const HIGHEST_LIMIT: u64 = 1_000_000;
const LIMIT: &str = "an integer from 1 to 1000000";
/// The maximum number of statuses in a request.
const MOST_STATUSES: usize = 32;
const WORD: &str = "one of upstream's words: 1 to 64 of a-z, 0-9, `_` and `-`";

impl AllParams {
    /// Reads a query string. Unknown, repeated and unreadable parameters are refused by name.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut params = Params::read(query)?;
        for paging in ["page_number", "page_size"] {
            if params.has(paging) {
                return Err(invalid(format!(
                    "`{paging}` is not a parameter of this path, which returns all pages at once; accepted: {}",
                    ALL_PARAMETERS.join(", ")
                )));
            }
        }
        let Selection { rows, zone: _ } = Selection::take(&mut params)?;
        let format = params.parse("format", "`json`, `ndjson` or `csv`", Format::parse)?;
        let end_record = params.parse("end_record", BOOLEAN, boolean)?;
        let limit = params.parse("limit", LIMIT, limit)?;
        let fields = list(&mut params, "fields", Fields::parse)?;
        let omit = list(&mut params, "omit", Omit::parse)?;
        params.finish(&ALL_PARAMETERS)?;
        not_both(fields.as_ref(), omit.as_ref())?;
        let end_record = if end_record == Some(true) { EndRecord::Wanted } else { EndRecord::Absent };
        Ok(Self { rows, format, end_record, limit, fields, omit })
    }
}

/// Reads a zone. No name has a space, so one is a `+` that was not encoded: `Etc/GMT+5`.
fn zone(text: &str) -> Option<Zone> {
    Zone::parse(&text.replace(' ', "+")).ok()
}

/// Refuses `fields` together with `omit`.
pub(super) fn not_both(fields: Option<&Fields>, omit: Option<&Omit>) -> Result<(), Problem> {
    if fields.is_some() && omit.is_some() {
        return Err(invalid("`fields` and `omit` can't be used together; accepted: one of them".to_owned()));
    }
    Ok(())
}

/// Which rows a request selects.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RowSelection {
    pub(crate) filters: Filters,
    /// The statuses, if there are several.
    pub(crate) any_status: Option<Statuses>,
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
}

/// The rows that a request selects, and its time zone.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) rows: RowSelection,
    /// The zone of dates, and of the days by which rows are grouped.
    pub(super) zone: Zone,
}

impl Selection {
    /// Takes the parameters that select rows.
    pub(super) fn take(params: &mut Params) -> Result<Self, Problem> {
        let statuses = statuses(params)?;
        let only = statuses.as_ref().and_then(Statuses::only).cloned();
        let any_status = statuses.filter(|_| only.is_none());
        let filters = Filters { status: only, ..filters(params)? };
        let zone = params.parse("time_zone", ZONE, zone)?.unwrap_or_else(Zone::utc);
        let from = params.parse("from", INSTANT, |text| instant(text, &zone, Rounding::Up))?;
        let to = params.parse("to", INSTANT, |text| instant(text, &zone, Rounding::Down))?;
        if let (Some(from), Some(to)) = (from, to)
            && from > to
        {
            return Err(invalid("`from` is after `to`; accepted: `from` up to `to`".to_owned()));
        }
        Ok(Self { rows: RowSelection { filters, any_status, from, to }, zone })
    }
}

/// Reads a number of rows, without a sign.
fn limit(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|rows| is_plain && (1..=HIGHEST_LIMIT).contains(rows))
}

/// Takes a list of paths. The log does not repeat it.
pub(super) fn list<T>(
    params: &mut Params,
    name: &str,
    parse: impl FnOnce(&[String]) -> Result<T, ListError>,
) -> Result<Option<T>, Problem> {
    if !params.has(name) {
        return Ok(None);
    }
    parse(&params.take_all(name)).map(Some).map_err(|error| Problem {
        reason: Some(error.reason()),
        ..invalid(format!("`{name}` is not valid: {error}; {PATHS}"))
    })
}

/// Takes the statuses; a row may have any of them.
fn statuses(params: &mut Params) -> Result<Option<Statuses>, Problem> {
    let refused = || {
        invalid(format!(
            "`status` is not valid; accepted: 1 to {MOST_STATUSES} of upstream's words, separated by commas or given \
             one by one, each 1 to 64 of a-z, 0-9, `_` and `-`"
        ))
    };
    let values = params.take_all("status");
    let words: Vec<_> = values.iter().flat_map(|value| value.split(',')).take(MOST_STATUSES + 1).collect();
    if words.len() > MOST_STATUSES {
        return Err(refused());
    }
    let statuses: Vec<_> =
        words.into_iter().map(str::parse).collect::<Result<_, _>>().map_err(|NotAFilterValue| refused())?;
    Ok(Statuses::new(statuses))
}

/// Takes upstream's filters.
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

/// Reads an instant. Accepts a space as the `+` of its offset, because nothing else has a space at that
/// place.
pub(crate) fn instant(text: &str, zone: &Zone, rounding: Rounding) -> Option<Timestamp> {
    let offset = text.bytes().rposition(|byte| byte == b' ').filter(|&at| at > 10);
    match offset {
        None => zone.read(text, rounding),
        Some(at) => zone.read(&format!("{}+{}", &text[..at], &text[at + 1..]), rounding),
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
        let plain = parse("from=2026-01-28T18:47:50%2b05:30").rows.from;
        assert!(plain.is_some());
        assert_eq!(parse("from=2026-01-28T18:47:50+05:30").rows.from, plain);
        assert_eq!(parse("from=2026-01-28+18:47:50+05:30").rows.from, plain);
        assert_eq!(parse("from=2026-01-28+13:17:50").rows.from, plain);
        let five_behind = parse("from=2026-01-28T08:17:50&time_zone=Etc/GMT+5").rows.from;
        assert_eq!(five_behind, plain);
    }

    #[test]
    fn several_statuses_are_one_question_in_any_order_and_spelling() {
        let one = parse("status=failed,busy");
        assert_eq!(one, parse("status=busy&status=failed"));
        assert_eq!(one, parse("status=busy,failed,busy&status=failed"));
        assert_eq!(one.rows.filters.status, None);
        let several: Vec<_> =
            one.rows.any_status.iter().flat_map(Statuses::iter).map(|word| word.as_str()).collect();
        assert_eq!(several, ["busy", "failed"]);
        assert_ne!(one, parse("status=busy"));
        assert_eq!(parse("status=busy&status=busy"), parse("status=busy"));
        let words = |count: usize| (0..count).map(|n| format!("s{n}")).collect::<Vec<_>>().join(",");
        assert_eq!(
            parse(&format!("status={}", words(32))).rows.any_status.iter().flat_map(Statuses::iter).count(),
            32
        );
        assert!(detail(&format!("status={}", words(33))).contains("1 to 32"));
    }

    #[test]
    fn bare_dates_are_whole_days_of_the_zone() {
        let days = parse("from=2026-11-01&to=2026-11-30&time_zone=asia/calcutta");
        assert_eq!(days, parse("from=2026-10-31T18:30:00Z&to=2026-11-30T18:29:59.999999Z"));
        assert_eq!(
            parse("from=2026-11-01&to=2026-11-01").rows.to,
            parse("to=2026-11-01T23:59:59.999999Z").rows.to
        );
        assert_eq!(
            parse("from=2026-11-01T09:00&time_zone=Asia/Kolkata").rows.from,
            parse("from=2026-11-01T03:30Z").rows.from
        );
        assert_eq!(
            parse("from=2026-11-01T09:00Z&time_zone=Asia/Kolkata").rows.from,
            parse("from=2026-11-01T09:00Z").rows.from
        );
        assert_eq!(
            parse("from=2026-11-01+09:00:00+01:00&time_zone=Asia/Kolkata"),
            parse("from=2026-11-01T08:00:00Z")
        );
    }

    #[test]
    fn refusals_name_the_parameter_and_what_is_accepted() {
        for (query, name) in [
            ("from=2026-01-32", "`from`"),
            ("time_zone=Asia/Nowhere", "`time_zone`"),
            ("time_zone=%2B05:30", "`time_zone`"),
            ("time_zone=", "`time_zone`"),
            ("time_zone=UTC&time_zone=UTC", "`time_zone`"),
            ("to=yesterday", "`to`"),
            ("status=", "`status`"),
            ("status=Completed", "`status`"),
            ("call_type=sideways", "`call_type`"),
            ("provider=a%20b", "`provider`"),
            ("answered_by_voice_mail=1", "`answered_by_voice_mail`"),
            ("batch_id=1234", "`batch_id`"),
            ("format=xml", "`format`"),
            ("fields=", "`fields`"),
            ("fields=id,,status", "`fields`"),
            ("fields=id&fields=id", "`fields`"),
            ("fields=@day", "`fields`"),
            ("omit=a,a.b", "`omit`"),
            ("omit=@agent_id", "`omit`"),
            ("fields=id&omit=transcript", "`omit`"),
            ("end_record=yes", "`end_record`"),
            ("page_number=1", "`page_number`"),
            ("page_size=50", "`page_size`"),
            ("limit=0", "`limit`"),
            ("limit=1000001", "`limit`"),
            ("limit=%2B5", "`limit`"),
            ("limit=5&limit=5", "`limit`"),
            ("status=busy,", "`status`"),
            ("status=busy&status=", "`status`"),
            ("status=busy,%20failed", "`status`"),
            ("provider=plivo,twilio", "`provider`"),
            ("provider=plivo&provider=twilio", "`provider`"),
            ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "`from` is after `to`"),
        ] {
            let detail = detail(query);
            assert!(detail.contains(name) && detail.contains("accepted"), "{query}: {detail}");
        }
    }

    #[test]
    fn lists_of_fields_are_one_question_in_any_spelling() {
        assert_eq!(parse("fields=id,a.b"), parse("fields=id&fields=%22a%22.b"));
        assert_ne!(parse("fields=id,a.b"), parse("fields=a.b,id"));
        assert_eq!(parse("omit=a,b"), parse("omit=b,a"));
        assert_ne!(parse("omit=a"), parse("fields=a"));
    }

    #[test]
    fn the_log_does_not_repeat_a_path() {
        let problem = AllParams::parse(Some("fields=secret.@x")).unwrap_err();
        assert!(problem.detail.contains("secret") && !problem.reason().contains("secret"));
    }

    #[test]
    fn both_ends_may_be_one_instant() {
        let at = parse("from=2026-01-02T00:00:00Z&to=2026-01-02T00:00:00Z");
        assert_eq!(at.rows.from, at.rows.to);
    }

    #[test]
    fn every_listed_parameter_is_taken() {
        for name in ALL_PARAMETERS {
            let refused = detail(&format!("{name}=%22"));
            assert!(refused.contains(&format!("`{name}` is not valid")), "{refused}");
        }
    }

    #[test]
    fn an_empty_query_selects_everything() {
        let none = AllParams::parse(None).unwrap();
        assert_eq!(none, parse(""));
        assert_eq!((none.rows.from, none.rows.to, none.end_record), (None, None, EndRecord::Absent));
    }
}
