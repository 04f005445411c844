use http::{HeaderMap, header};

use crate::http::problem::{Code, Problem};

/// The longest accepted credential. Keys have 35 characters, OAuth tokens may have some thousands.
const MAX_LEN: usize = 8 * 1024;

/// The credential in `Authorization: Bearer …` (RFC 6750 section 2.1).
pub(super) fn read(headers: &HeaderMap) -> Result<&str, Problem> {
    let refuse =
        |why: &str| Problem::new(Code::Unauthenticated, format!("{why}; send `Authorization: Bearer <key>`"));
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let field = fields.next().ok_or_else(|| refuse("the request carries no credential"))?;
    if fields.next().is_some() {
        return Err(refuse("the request carries two credentials"));
    }
    let malformed = || refuse("the credential is malformed");
    let (scheme, rest) = field.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(malformed)?;
    let credential = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") && is_credential(credential) {
        Ok(credential)
    } else {
        Err(malformed())
    }
}

/// Whether a text is a valid credential: visible ASCII without spaces.
pub(super) fn is_credential(text: &str) -> bool {
    (1..=MAX_LEN).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|&v| (header::AUTHORIZATION, HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn reads_a_credential_with_its_scheme_in_any_case() {
        for value in ["Bearer bn-1", "bearer bn-1", "BEARER  bn-1"] {
            assert_eq!(read(&headers(&[value])).unwrap(), "bn-1");
        }
    }

    #[test]
    fn refuses_missing_repeated_and_malformed_credentials() {
        for values in [
            &[][..],
            &["Bearer"],
            &["Bearer "],
            &["Basic YTpi"],
            &["bn-1"],
            &["Bearer a b"],
            &["Bearer a"; 2],
        ] {
            let problem = read(&headers(values)).unwrap_err();
            assert_eq!(problem.code, Code::Unauthenticated, "{values:?}");
        }
    }
}
