//! The grammar that many header fields share: a list of members, each with an optional value and parameters.

use http::{HeaderMap, header};

/// The members of a list field as lowercase names with their values, parameters left out: `Prefer`,
/// `Cache-Control`.
pub(crate) fn directives(headers: &HeaderMap, field: &str) -> impl Iterator<Item = (String, Option<String>)> {
    members(headers, field).into_iter().filter_map(|member| {
        let (first, _) = split_outside_quotes(member, ';');
        let (name, value) = match first.split_once('=') {
            Some((name, value)) => (name, Some(unquoted(value.trim()))),
            None => (first, None),
        };
        let name = name.trim().to_ascii_lowercase();
        (!name.is_empty()).then_some((name, value))
    })
}

/// The members of a list field with their `q`, in thousandths (RFC 9110 section 12.4.2): `Accept`,
/// `Accept-Encoding`. `None` if the request has no such field. An invalid `q` counts as 1, because it is a
/// preference and not a condition.
pub(crate) fn weighted(headers: &HeaderMap, field: &str) -> Option<Vec<(String, u16)>> {
    headers.contains_key(field).then(|| {
        members(headers, field)
            .into_iter()
            .map(|member| {
                let (name, mut rest) = split_outside_quotes(member, ';');
                let mut weight = 1000;
                while let Some(text) = rest {
                    let (parameter, more) = split_outside_quotes(text, ';');
                    rest = more;
                    if let Some((name, value)) = parameter.split_once('=')
                        && name.trim().eq_ignore_ascii_case("q")
                    {
                        weight = thousandths(value.trim()).unwrap_or(1000);
                    }
                }
                (name.trim().to_ascii_lowercase(), weight)
            })
            .collect()
    })
}

/// The members of a list field, from all its lines. Commas within quotes don't separate.
pub(crate) fn members<'a>(headers: &'a HeaderMap, field: &str) -> Vec<&'a str> {
    let mut members = Vec::new();
    for line in headers.get_all(field).iter().filter_map(|line| line.to_str().ok()) {
        let mut rest = Some(line);
        while let Some(text) = rest {
            let (member, more) = split_outside_quotes(text, ',');
            rest = more;
            if !member.trim().is_empty() {
                members.push(member.trim());
            }
        }
    }
    members
}

/// Whether `If-None-Match` contains the response's entity tag, if it has one, by weak comparison, or is `*` (RFC 9110
/// section 13.1.2).
pub(crate) fn names_etag(headers: &HeaderMap, etag: Option<&str>) -> bool {
    let own = etag.map(opaque);
    let members = members(headers, header::IF_NONE_MATCH.as_str());
    members.into_iter().any(|member| member == "*" || Some(opaque(member)) == own)
}

fn opaque(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag)
}

fn split_outside_quotes(text: &str, separator: char) -> (&str, Option<&str>) {
    let mut is_quoted = false;
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        if is_escaped {
            is_escaped = false;
        } else if is_quoted && c == '\\' {
            is_escaped = true;
        } else if c == '"' {
            is_quoted = !is_quoted;
        } else if c == separator && !is_quoted {
            return (&text[..at], Some(&text[at + separator.len_utf8()..]));
        }
    }
    (text, None)
}

fn unquoted(value: &str) -> String {
    match value.strip_prefix('"').and_then(|v| v.strip_suffix('"')) {
        Some(inner) => inner.replace('\\', ""),
        None => value.to_owned(),
    }
}

fn thousandths(text: &str) -> Option<u16> {
    let weight: f32 = text.parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 1000 by the test before"
    )]
    (0.0..=1.0).contains(&weight).then(|| (weight * 1000.0).round() as u16)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn separators_within_quotes_do_not_separate() {
        let mut headers = HeaderMap::new();
        headers.append("x", HeaderValue::from_static(r#"a="1,\"2;3" , b ; q=0.5"#));
        headers.append("x", HeaderValue::from_static("c,,"));
        assert_eq!(members(&headers, "x"), [r#"a="1,\"2;3""#, "b ; q=0.5", "c"]);
        let weighted = weighted(&headers, "x").unwrap();
        assert_eq!(weighted[1], ("b".to_owned(), 500));
    }

    #[test]
    fn weights_have_three_decimals() {
        assert_eq!(thousandths("0.125"), Some(125));
        assert_eq!(thousandths("0"), Some(0));
        assert_eq!(thousandths("1.000"), Some(1000));
        assert_eq!(thousandths("2"), None);
        assert_eq!(thousandths("NaN"), None);
    }
}
