//! Usage and latencies: a large part of the bytes, growing with the turns.

use std::fmt::Write as _;

use super::{Call, RowDraft};
use crate::simulator::dice::Dice;
use crate::simulator::status::CallStatus;

pub(super) fn usage(draft: &RowDraft<'_>, call: &Call, dice: &mut Dice, out: &mut String) {
    let turns = call.turns;
    let _ = write!(
        out,
        ",\"usage_breakdown\":{{\"synthesizer_model\":\"polyglot-v2\",\"synthesizer_characters\":{},\"transcriber_model\":\"nova-2\",\"transcriber_duration\":{},\"transcriber_language\":\"hi\",\"voice_provider\":\"elevenlabs\",\"llmModel\":{{\"gpt-4.1-mini\":{{\"input\":{},\"output\":{},\"cached\":{}}}}},\"llmTokens\":{},\"buffered_output_tokens\":1e-7,\"checksum\":{},\"api_tools\":[",
        turns * 143,
        call.seconds,
        turns * 912 + dice.below(400),
        turns * 47,
        dice.below(300),
        turns * 959,
        dice.bits() | 1 << 63,
    );
    for tool in 0..2 + turns / 16 {
        let comma = if tool > 0 { "," } else { "" };
        let _ = write!(
            out,
            "{comma}{{\"name\":\"{}\",\"url\":\"https:\\/\\/hooks.example.com\\/v1\\/agents\\/{}\\/tools\\/{tool}\",\"method\":\"POST\",\"headers\":{{\"Authorization\":\"Bearer tok_{:016x}{:016x}\",\"Content-Type\":\"application\\/json\"}},\"param\":\"{{\\\"customer_id\\\": \\\"%(customer_id)s\\\", \\\"slot\\\": \\\"%(slot)s\\\"}}\",\"description\":\"Looks the customer up \\u2014 call it once the user has said who they are, and never twice in a row.\",\"calls\":{}}}",
            dice.pick(&["check_availability", "book_slot", "lookup_customer", "transfer_call"]),
            draft.agent,
            dice.bits(),
            dice.bits(),
            dice.below(3),
        );
    }
    out.push_str("]}");
}

pub(super) fn latency(draft: &RowDraft<'_>, call: &Call, dice: &mut Dice, out: &mut String) {
    if call.turns == 0 {
        out.push_str(",\"latency_data\":null");
        return;
    }
    let _ = write!(
        out,
        ",\"latency_data\":{{\"stream_id\":{},\"region\":\"in\",\"time_to_first_audio\":{},\"transcriber\":{{\"time_to_connect\":{},\"turns\":[",
        dice.below(2_000),
        dice.below(1_000),
        dice.below(300),
    );
    for turn in 1..=call.turns {
        let comma = if turn > 1 { "," } else { "" };
        let _ = write!(
            out,
            "{comma}{{\"turn\":{turn},\"turn_latency\":[{{\"sequence_id\":{turn},\"audio_to_text_latency\":0.{:03}}},{{\"sequence_id\":{},\"audio_to_text_latency\":1e-7}}]}}",
            dice.below(1_000),
            turn + 1,
        );
    }
    let _ = write!(out, "]}},\"llm\":{{\"time_to_connect\":{},\"turns\":[", dice.below(300));
    for turn in 1..=call.turns {
        let comma = if turn > 1 { "," } else { "" };
        let (first, last) = (dice.below(600), dice.below(900));
        let _ = write!(
            out,
            "{comma}{{\"turn\":{turn},\"time_to_first_token\":{first}.{:02},\"time_to_last_token\":{}}}",
            dice.below(100),
            first + last,
        );
    }
    let _ = write!(out, "]}},\"synthesizer\":{{\"time_to_connect\":{},\"turns\":[", dice.below(300));
    for turn in 1..=call.turns {
        let comma = if turn > 1 { "," } else { "" };
        let _ = write!(
            out,
            "{comma}{{\"turn\":{turn},\"time_to_first_token\":{},\"time_to_last_token\":{}}}",
            dice.below(500),
            500 + dice.below(1_000),
        );
    }
    let _ = write!(out, "]}},\"rag\":null,\"checked\":{}}}", draft.standing.status == CallStatus::Completed);
}
