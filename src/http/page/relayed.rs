//! Pages that are requested upstream with the caller's own query, and returned byte for byte.
//!
//! If the gateway holds the key, upstream sees only the parameters that it documents, written by the gateway:
//! a token is limited to its agents, and an undocumented parameter might name another agent.

use http::request::Parts;

use super::cut::PAGE_PARAMETERS;
use super::ready::{ReadyPage, deadline};
use crate::domain::{Rounding, Timestamp};
use crate::engine::RelayQuestion;
use crate::http::App;
use crate::http::authorized::AuthorizedRequest;
use crate::http::body::WholeBody;
use crate::http::params::{Params, invalid};
use crate::http::prefer::directives;
use crate::http::present::{Etag, Storable};
use crate::http::problem::{KeyOwner, Problem};

/// The longest value of a parameter that is sent upstream with a held key; a date with an offset has some 32
/// characters.
const LONGEST_VALUE: usize = 64;

/// The filters on values that change while an execution exists.
const CHANGING: [&str; 2] = ["status", "answered_by_voice_mail"];

pub(super) async fn relayed(
    app: &App,
    authorized: &AuthorizedRequest,
    parts: &Parts,
    params: &Params,
) -> Result<ReadyPage, Problem> {
    let canonical_query = params.canonical();
    let query = match authorized.renderer.key {
        KeyOwner::Callers => parts.uri.query().unwrap_or_default().to_owned(),
        KeyOwner::Held => {
            documented(params)?;
            // Send exactly what was checked, not another reading of the same bytes.
            canonical_query.clone()
        }
    };
    let directives = directives(&parts.headers);
    let question = RelayQuestion {
        caller: authorized.caller,
        credential: authorized.credential.clone(),
        agent: authorized.agent,
        query,
        canonical_query,
        to: params.only("to").and_then(|text| Timestamp::parse(text, Rounding::Up)),
        has_changing_filter: CHANGING.iter().any(|name| params.has(name)),
        directives,
        deadline: deadline(app, parts),
        trace: authorized.request_log.trace.clone(),
    };
    let relayed = app
        .unless_ended(Box::pin(app.engine.relay(question)))
        .await
        .map_err(|e| authorized.renderer.problem(&e))?;
    Ok(ReadyPage {
        etag: Etag::of(relayed.digest, relayed.body.len() as u64),
        // The rows are not examined; they are returned as upstream sent them.
        rows: 0,
        whole: WholeBody::verbatim(relayed.body),
        freshness: relayed.freshness,
        report: relayed.report,
        storable: Storable::under(&directives),
    })
}

/// Checks that a query has only parameters that upstream documents, each once, with values that contain no
/// further parameter however often they are decoded. Whether a value is meaningful is for upstream to decide.
fn documented(params: &Params) -> Result<(), Problem> {
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'+' | b' ');
    params.allow_only(&PAGE_PARAMETERS)?;
    for name in PAGE_PARAMETERS {
        if let Some(value) = params.single(name)?
            && !(value.len() <= LONGEST_VALUE && value.bytes().all(is_plain))
        {
            return Err(invalid(format!(
                "`{name}` is not valid; accepted: up to {LONGEST_VALUE} letters, digits, `-`, `_`, `.`, `:`, `+` and spaces"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn held(query: &str) -> Result<String, String> {
        let params = Params::read(Some(query)).map_err(|problem| problem.detail)?;
        documented(&params).map(|()| params.canonical()).map_err(|problem| problem.detail)
    }

    #[test]
    fn sends_only_documented_parameters_with_a_held_key() {
        for (query, name) in [
            ("from=2026-01-01T00:00:00Z&agent_id=b", "`agent_id`"),
            ("from=2026-01-01T00:00:00Z&%61gent_id=b", "`agent_id`"),
            ("from=a&agent%5Fid=b", "`agent_id`"),
            ("from=a&Agent_Id=b", "`Agent_Id`"),
            ("from=a&FROM=b", "`FROM`"),
            ("from=a&agent_id[]=b", "`agent_id[]`"),
            ("from=a&status[]=busy", "`status[]`"),
            ("from=a&status%5B%5D=busy", "`status[]`"),
            ("from=a&agent_id", "`agent_id`"),
            ("from=a&=b", "``"),
            ("from=a&;agent_id=b", "`;agent_id`"),
            ("from=a;agent_id=b", "`from`"),
            ("from=a%3Bagent_id=b", "`from`"),
            ("from=a%26agent_id%3Db", "`from`"),
            ("from=a%2526agent_id%253Db", "`from`"),
            ("from=a%23agent_id", "`from`"),
            ("from=a%00&to=b", "`from`"),
            ("from=a%0d%0aagent_id", "`from`"),
            ("from=%C2%B2026&to=b", "`from`"),
            ("from=a&page_number=1&page_number=2", "`page_number`"),
            ("from=a&from=b", "`from`"),
            ("from=a&%66rom=b", "`from`"),
            ("from=a&batch_id=", ""),
        ] {
            match held(query) {
                Err(detail) => {
                    assert!(detail.contains(name) && detail.contains("accepted"), "{query}: {detail}");
                }
                Ok(sent) => assert_eq!((name, sent.as_str()), ("", "batch_id=&from=a"), "{query}"),
            }
        }
    }

    #[test]
    fn sends_exactly_what_was_checked_with_a_held_key() {
        let sent =
            held("to=2026-01-08T00%3a00:00%2B05:30&from=2026-01-01T00:00:00Z&page_number=%30&st%61tus=busy");
        assert_eq!(
            sent.unwrap(),
            "from=2026-01-01T00%3A00%3A00Z&page_number=0&status=busy&to=2026-01-08T00%3A00%3A00%2B05%3A30"
        );
    }

    proptest! {
        #[test]
        fn no_accepted_query_decodes_to_another_parameter_with_a_held_key(
            query in "((from|to|status|agent_id|%66rom|page_number)(=|%3D|;|&|%26|%2526|%3B|a|1|[ -~]){0,6}&?){0,4}",
        ) {
            if let Ok(mut sent) = held(&query) {
                for _ in 0..3 {
                    for pair in sent.split(['&', ';']).filter(|pair| !pair.is_empty()) {
                        let name = pair.split('=').next().unwrap();
                        prop_assert!(PAGE_PARAMETERS.contains(&name), "{query} became {sent}");
                    }
                    // Decode again, as a hop on the way may do.
                    sent = form_urlencoded::parse(sent.as_bytes())
                        .map(|(name, value)| format!("{name}={value}"))
                        .collect::<Vec<_>>()
                        .join("&");
                }
            }
        }
    }
}
