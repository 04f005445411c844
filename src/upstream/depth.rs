/// The deepest accepted nesting: one level below the 128 at which serde_json and others refuse to parse.
///
/// Rows are sent to clients as they are. A row of 20,000 levels costs its sender 40 KB and overflows the
/// stack of recursive parsers; real rows have about five levels.
pub(super) const MOST: usize = 127;

/// Whether arrays and objects are nested deeper than [`MOST`] anywhere in a JSON text.
///
/// One pass without recursion. For a text that is not JSON the result is meaningless; the parser rejects such
/// a text.
pub(super) fn is_too_deep(json: &[u8]) -> bool {
    let mut depth = 0usize;
    let mut rest = json;
    while let Some(at) = rest.iter().position(|b| matches!(b, b'"' | b'[' | b'{' | b']' | b'}')) {
        let (found, after) = (rest[at], &rest[at + 1..]);
        rest = match found {
            b'"' => after_string(after),
            b'[' | b'{' => {
                depth += 1;
                after
            }
            _ => {
                depth = depth.saturating_sub(1);
                after
            }
        };
        if depth > MOST {
            return true;
        }
    }
    false
}

/// The rest after a string whose opening quote has been consumed.
fn after_string(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = rest.iter().position(|b| matches!(b, b'"' | b'\\')) {
        match rest[at] {
            b'"' => return &rest[at + 1..],
            _ => rest = rest.get(at + 2..).unwrap_or_default(),
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize) -> String {
        format!("{}1{}", "[{\"a\":".repeat(levels / 2), "}]".repeat(levels / 2))
    }

    #[test]
    fn counts_levels_and_not_brackets() {
        assert!(!is_too_deep(nested(MOST - 1).as_bytes()));
        assert!(is_too_deep(nested(MOST + 1).as_bytes()));
        assert!(!is_too_deep("[],".repeat(10_000).as_bytes()));
    }

    #[test]
    fn brackets_within_strings_do_not_nest() {
        let many = "[{".repeat(1_000);
        assert!(!is_too_deep(format!("{{\"a\\\\\":\"{many}\\\"{many}\"}}").as_bytes()));
        assert!(is_too_deep(format!("{{\"a\\\\\":{many}").as_bytes()));
    }

    #[test]
    fn terminates_on_truncated_texts() {
        for text in ["\"", "\"\\", "[\"\\\"", "]]]]", ""] {
            assert!(!is_too_deep(text.as_bytes()), "{text}");
        }
    }
}
