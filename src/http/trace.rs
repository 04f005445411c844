use http::HeaderMap;

use crate::source::Trace;

/// The longest `tracestate` that is passed on; the specification asks for at least 512 characters.
const MAX_STATE: usize = 1024;

/// A request's W3C trace context, where it is well formed; otherwise the trace begins anew, as the specification says.
pub(super) fn read(headers: &HeaderMap) -> Trace {
    let mut parents = headers.get_all("traceparent").iter();
    let parent = match (parents.next().and_then(|value| value.to_str().ok()), parents.next()) {
        (Some(text), None) if is_parent(text) => text,
        _ => return Trace::default(),
    };
    let states: Vec<_> = headers.get_all("tracestate").iter().filter_map(|v| v.to_str().ok()).collect();
    let state = states.join(",");
    let is_sound = !state.is_empty() && state.len() <= MAX_STATE && state.contains('=');
    Trace { parent: Some(parent.into()), state: is_sound.then(|| state.into()) }
}

/// `{version}-{trace}-{span}-{flags}` in lowercase hex, neither identifier all zeros; a version to come may have more.
fn is_parent(text: &str) -> bool {
    let is_hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |part: &str, length| is_hex(part, length) && part.bytes().any(|b| b != b'0');
    let parts: Vec<_> = text.split('-').collect();
    let [version, trace, span, flags, more @ ..] = &parts[..] else { return false };
    is_hex(version, 2)
        && *version != "ff"
        && is_id(trace, 32)
        && is_id(span, 16)
        && is_hex(flags, 2)
        && (more.is_empty() || *version != "00")
        && text.len() <= 256
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn trace(parent: &str, state: &'static str) -> Trace {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::try_from(parent).unwrap());
        headers.insert("tracestate", HeaderValue::from_static(state));
        read(&headers)
    }

    #[test]
    fn a_sound_context_is_passed_on_as_it_came() {
        let trace = trace(PARENT, "rojo=00f067aa0ba902b7");
        assert_eq!(trace.parent.as_deref(), Some(PARENT));
        assert_eq!(trace.state.as_deref(), Some("rojo=00f067aa0ba902b7"));
    }

    #[test]
    fn a_malformed_context_is_dropped_with_its_state() {
        for parent in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        ] {
            let trace = trace(parent, "a=b");
            assert!(trace.parent.is_none() && trace.state.is_none(), "{parent}");
        }
        assert!(trace(&PARENT.replacen("00", "01", 1), "").parent.is_some());
    }
}
