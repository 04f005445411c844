use axum::response::Response;
use http::{HeaderMap, HeaderValue, header};

use super::fields;
use super::problem::{Code, Problem};
use super::question::Format;
use crate::encode::Coding;

/// A media type of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MediaType {
    /// The format that it names.
    pub(crate) format: Format,
    name: &'static str,
}

/// The media types of rows, most preferred first. NDJSON has no registered name; these three are in use.
pub(crate) const FOR_ROWS: [MediaType; 5] = [
    MediaType { format: Format::Json, name: "application/json" },
    MediaType { format: Format::Ndjson, name: "application/x-ndjson" },
    MediaType { format: Format::Ndjson, name: "application/jsonl" },
    MediaType { format: Format::Ndjson, name: "application/ndjson" },
    MediaType { format: Format::Csv, name: "text/csv" },
];

/// The media types of changes, most preferred first. A table is not among them, because it can't mark removed rows.
pub(crate) const FOR_CHANGES: [MediaType; 4] = [
    MediaType { format: Format::Json, name: "application/json" },
    MediaType { format: Format::Ndjson, name: "application/x-ndjson" },
    MediaType { format: Format::Ndjson, name: "application/jsonl" },
    MediaType { format: Format::Ndjson, name: "application/ndjson" },
];

/// The media types of totals, most preferred first.
pub(crate) const FOR_TOTALS: [MediaType; 2] = [
    MediaType { format: Format::Json, name: "application/json" },
    MediaType { format: Format::Csv, name: "text/csv" },
];

impl MediaType {
    /// The `Content-Type`.
    pub(crate) fn header(self) -> HeaderValue {
        match self.format {
            // RFC 4180 section 3. Without a charset, clients guess.
            Format::Csv => HeaderValue::from_static("text/csv; charset=utf-8; header=present"),
            Format::Json | Format::Ndjson => HeaderValue::from_static(self.name),
        }
    }

    /// Chooses the type by the `format` parameter, otherwise by `Accept` (RFC 9110 section 12.5.1): the
    /// highest weight first, then the most specific range, then the order of `offered`. `offered` must
    /// contain at least one type of every format that `format` allows.
    pub(crate) fn choose(
        offered: &[Self],
        format: Option<Format>,
        headers: &HeaderMap,
    ) -> Result<Self, Problem> {
        let refused = || {
            let names: Vec<_> = offered.iter().map(|offered| offered.name).collect();
            Problem::new(Code::NotAcceptable, format!("`Accept` allows none of {}", names.join(", ")))
        };
        let ranges = fields::weighted(headers, "accept").unwrap_or_default();
        if format.is_some() || ranges.is_empty() {
            let is_meant = |one: &&Self| format.is_none_or(|format| one.format == format);
            return offered.iter().find(is_meant).copied().ok_or_else(refused);
        }
        let rank = |offered: &Self| {
            let (exactness, weight) = ranges
                .iter()
                .filter_map(|(range, weight)| Some((exactness(range, offered.name)?, *weight)))
                .max_by_key(|&(exactness, _)| exactness)?;
            (weight > 0).then_some((weight, exactness))
        };
        let ranked = offered.iter().filter_map(|offered| Some((rank(offered)?, *offered)));
        // `max_by_key` returns the last of equal elements, so the order is reversed.
        ranked.rev().max_by_key(|(rank, _)| *rank).map(|(_, offered)| offered).ok_or_else(refused)
    }
}

/// How specifically a media range matches a type: not at all, `*/*`, `application/*`, by name.
fn exactness(range: &str, name: &str) -> Option<u8> {
    let of_kind = |range: &str| {
        let kind = range.strip_suffix('*')?;
        (kind.ends_with('/') && name.starts_with(kind)).then_some(1)
    };
    match range {
        "*/*" => Some(0),
        range if range == name => Some(2),
        range => of_kind(range),
    }
}

/// The content codings that a request accepts (RFC 9110 section 12.5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Codings {
    /// The preferred coding.
    pub(crate) preferred: Coding,
    /// Whether identity is acceptable as well.
    accepts_identity: bool,
}

impl Codings {
    /// Reads `Accept-Encoding`. Prefers gzip to identity if their weights are equal.
    pub(crate) fn choose(headers: &HeaderMap) -> Result<Self, Problem> {
        let members = fields::weighted(headers, "accept-encoding").unwrap_or_default();
        let weight = |names: &[&str]| {
            members.iter().find(|(name, _)| names.contains(&name.as_str())).map(|&(_, weight)| weight)
        };
        let any = weight(&["*"]);
        let gzip = weight(&["gzip", "x-gzip"]).or(any).unwrap_or(0);
        let named_identity = weight(&["identity"]);
        let accepts_identity = named_identity.or(any) != Some(0);
        if gzip > 0 && gzip >= named_identity.unwrap_or(0) {
            Ok(Self { preferred: Coding::Gzip, accepts_identity })
        } else if accepts_identity {
            Ok(Self { preferred: Coding::Identity, accepts_identity })
        } else {
            Err(Problem::new(Code::NotAcceptable, "`Accept-Encoding` allows neither gzip nor identity"))
        }
    }

    /// The coding for a body of a known length. Compressing a small one gains nothing.
    pub(crate) fn for_length(self, length: u64) -> Coding {
        const WORTH_IT: u64 = 1024;
        if length < WORTH_IT && self.accepts_identity { Coding::Identity } else { self.preferred }
    }
}

/// Names the coding of a response's body in `Content-Encoding`.
pub(super) fn set_coding(response: &mut Response, coding: Coding) {
    if coding == Coding::Gzip {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        [(http::HeaderName::from_static(name), HeaderValue::from_static(value))].into_iter().collect()
    }

    #[test]
    fn accept_chooses_by_weight_then_exactness_then_order() {
        for (accept, expected) in [
            ("*/*", "application/json"),
            ("", "application/json"),
            ("application/*", "application/json"),
            ("text/csv", "text/csv; charset=utf-8; header=present"),
            ("text/*", "text/csv; charset=utf-8; header=present"),
            ("text/csv;q=0.9, */*;q=0.8", "text/csv; charset=utf-8; header=present"),
            ("text/csv, application/json", "application/json"),
            ("application/x-ndjson", "application/x-ndjson"),
            ("application/jsonl", "application/jsonl"),
            ("application/ndjson, */*", "application/ndjson"),
            ("application/json, application/x-ndjson", "application/json"),
            ("application/json;q=0.5, application/x-ndjson;q=0.9", "application/x-ndjson"),
            ("application/json;q=0, */*", "application/x-ndjson"),
            ("text/html, application/xhtml+xml, */*;q=0.8", "application/json"),
            ("Application/JSON; charset=utf-8", "application/json"),
        ] {
            let chosen = MediaType::choose(&FOR_ROWS, None, &headers("accept", accept)).unwrap();
            assert_eq!(chosen.header(), expected, "{accept}");
        }
    }

    #[test]
    fn refuses_an_accept_without_a_known_type_unless_format_is_given() {
        for accept in ["text/html", "*/*;q=0", "application/json;q=0"] {
            let headers = headers("accept", accept);
            assert_eq!(
                MediaType::choose(&FOR_ROWS, None, &headers).unwrap_err().code,
                Code::NotAcceptable,
                "{accept}"
            );
            let forced = MediaType::choose(&FOR_ROWS, Some(Format::Ndjson), &headers).unwrap();
            assert_eq!(forced.header(), "application/x-ndjson");
        }
    }

    #[test]
    fn chooses_the_coding_with_the_highest_weight() {
        for (value, expected) in [
            ("gzip", Coding::Gzip),
            ("gzip, deflate, br, zstd", Coding::Gzip),
            ("*", Coding::Gzip),
            ("x-gzip", Coding::Gzip),
            ("", Coding::Identity),
            ("br", Coding::Identity),
            ("gzip;q=0", Coding::Identity),
            ("gzip;q=0, *", Coding::Identity),
            ("identity, gzip;q=0.5", Coding::Identity),
            ("identity;q=0.5, gzip;q=0.5", Coding::Gzip),
            ("identity;q=0, gzip;q=0.1", Coding::Gzip),
        ] {
            let chosen = Codings::choose(&headers("accept-encoding", value)).unwrap();
            assert_eq!(chosen.preferred, expected, "{value}");
        }
        assert_eq!(Codings::choose(&HeaderMap::new()).unwrap().preferred, Coding::Identity);
    }

    #[test]
    fn refuses_a_request_that_allows_no_coding() {
        for value in ["identity;q=0", "*;q=0", "gzip;q=0, identity;q=0", "br, identity;q=0"] {
            let refused = Codings::choose(&headers("accept-encoding", value));
            assert_eq!(refused.unwrap_err().code, Code::NotAcceptable, "{value}");
        }
    }

    #[test]
    fn compresses_a_small_body_only_if_identity_is_not_acceptable() {
        let choose = |value| Codings::choose(&headers("accept-encoding", value)).unwrap();
        assert_eq!(choose("gzip").for_length(100), Coding::Identity);
        assert_eq!(choose("gzip").for_length(100_000), Coding::Gzip);
        assert_eq!(choose("gzip, identity;q=0").for_length(100), Coding::Gzip);
    }
}
