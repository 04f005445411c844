//! One execution as upstream writes it, from some 2 KB for a call that nobody took to 40 KB for a long talk.
//!
//! A row is a pure function of its draft: the same draft gives the same bytes. It is written by hand into a string,
//! because what matters is what upstream really sends and serializers avoid: numbers such as `1e-7`, integers past
//! 2^53, `\/`, `\u` escapes next to the letters they stand for, strings where numbers are meant.

use std::fmt::Write as _;

use super::dice::Dice;
use super::facts::{Facts, PROVIDERS};
use super::life::{CallStatus, Standing};
use super::quirks::StampForm;
use super::rows::Edit;
use super::transcript;
use crate::domain::{AgentId, CallType, Provider, Timestamp};

/// What calls that went wrong say of it.
const ERRORS: [(CallStatus, &str); 3] = [
    (CallStatus::Failed, r#""SIP 503: carrier\/trunk unavailable""#),
    (CallStatus::Error, r#""LLM provider returned an error (1e-7 tokens left?)""#),
    (CallStatus::BalanceLow, r#""Insufficient balance: \u20b90.00""#),
];

/// How calls end that nobody talked in.
const HANGUPS: [(CallStatus, &str); 3] = [
    (CallStatus::Busy, r#","hangup_by":"Carrier","hangup_reason":"Busy Line","hangup_provider_code":3010"#),
    (
        CallStatus::NoAnswer,
        r#","hangup_by":"Carrier","hangup_reason":"No Answer","hangup_provider_code":3020"#,
    ),
    (
        CallStatus::Failed,
        r#","hangup_by":"Carrier","hangup_reason":"Network Error","hangup_provider_code":5010"#,
    ),
];

/// How the others end: the code is a number or a string.
const TALKED_HANGUPS: [&str; 2] = [
    r#","hangup_by":"Caller","hangup_reason":"Normal Hangup","hangup_provider_code":4000"#,
    r#","hangup_by":"Agent","hangup_reason":"inactivity timeout \u2192 end_call","hangup_provider_code":"4010""#,
];

const NO_HANGUP: &str = r#","hangup_by":null,"hangup_reason":null,"hangup_provider_code":null"#;

/// All that a row depends on.
#[derive(Debug)]
pub(super) struct RowDraft<'a> {
    pub(super) agent: AgentId,
    pub(super) agent_seed: u64,
    pub(super) serial: u32,
    pub(super) id: &'a str,
    pub(super) created_at: i64,
    pub(super) facts: Facts,
    /// What was changed by hand and outranks the facts.
    pub(super) edit: Option<&'a Edit>,
    /// The word that the row carries; may be one that the simulator does not know.
    pub(super) status: &'a str,
    pub(super) standing: Standing,
    pub(super) stamps: StampForm,
}

/// Writes a row at the end of `out`.
pub(super) fn write(draft: &RowDraft<'_>, out: &mut String) {
    let mut dice = Dice::of(&[draft.agent_seed, u64::from(draft.serial), 7]);
    let call = Call::of(draft, &mut dice);
    head(draft, &call, out);
    costs(draft, &call, &mut dice.clone(), out);
    telephony(draft, &call, out);
    extraction(draft, &mut dice.clone(), out);
    transcript_of(draft, &call, &mut dice.clone(), out);
    usage(draft, &call, &mut dice.clone(), out);
    latency(draft, &call, &mut dice, out);
    out.push('}');
}

/// What several parts of a row must agree upon.
struct Call {
    turns: u64,
    seconds: i64,
    person: u64,
    line: u64,
    is_priced: bool,
}

impl Call {
    fn of(draft: &RowDraft<'_>, dice: &mut Dice) -> Self {
        let standing = &draft.standing;
        let talked = standing.status.has_conversation();
        let seconds = match (standing.initiated_at, standing.ended_at) {
            (Some(start), Some(end)) if talked => ((end - start) / 1_000_000 - 8).clamp(3, 620),
            _ => 0,
        };
        // A turn takes some nine seconds; while the call is going on, there is a little of it already.
        let all_turns = if draft.facts.voice_mail { 1 } else { 1 + (seconds as u64 / 9).min(55) };
        let turns = match (standing.status, talked) {
            (CallStatus::InProgress, _) => 2,
            (_, true) => all_turns,
            (_, false) => 0,
        };
        Self {
            turns,
            seconds,
            person: 7_000_000_000 + dice.below(2_999_999_999),
            line: 8_000_000_000 + dice.below(20),
            is_priced: standing.status == CallStatus::Completed,
        }
    }
}

fn head(draft: &RowDraft<'_>, call: &Call, out: &mut String) {
    let standing = &draft.standing;
    let _ = write!(out, "{{\"id\":\"{}\",\"agent_id\":\"{}\",\"batch_id\":", draft.id, draft.agent);
    match (draft.edit.and_then(|edit| edit.batch_id.as_ref()), draft.facts.batch) {
        (Some(batch), _) => quoted(batch.as_str(), out),
        (None, Some(batch)) => quoted(&batch.id(draft.agent_seed), out),
        (None, None) => out.push_str("null"),
    }
    out.push_str(",\"campaign_id\":null,\"status\":");
    quoted(draft.status, out);
    stamp(",\"created_at\":", Some(draft.created_at), draft.stamps, out);
    stamp(",\"updated_at\":", Some(standing.changed_at), draft.stamps, out);
    stamp(",\"initiated_at\":", standing.initiated_at, draft.stamps, out);
    let _ = write!(out, ",\"scheduled_at\":null,\"conversation_duration\":{}", call.seconds);
    // One in four is a float in the data that was seen.
    if draft.serial.is_multiple_of(4) {
        out.push_str(".0");
    }
    let _ = write!(out, ",\"conversation_time\":{}", call.seconds);
    let rescheduled =
        if standing.status == CallStatus::Rescheduled { Some(standing.changed_at) } else { None };
    stamp(",\"rescheduled_at\":", rescheduled, draft.stamps, out);
    let _ = write!(out, ",\"retry_count\":{},\"retry_history\":", standing.retries);
    if standing.retries == 0 {
        out.push_str("null");
    } else {
        out.push('[');
        for attempt in 1..=standing.retries {
            let comma = if attempt > 1 { "," } else { "" };
            let _ = write!(
                out,
                "{comma}{{\"attempt\":{attempt},\"status\":\"no-answer\",\"retry_after_minutes\":{}}}",
                15 << attempt
            );
        }
        out.push(']');
    }
    out.push_str(",\"error_message\":");
    out.push_str(text_for(&ERRORS, standing.status).unwrap_or("null"));
    let drawn = standing.status.is_over().then_some(draft.facts.voice_mail);
    let voice_mail = match draft.edit.and_then(|edit| edit.voice_mail).or(drawn) {
        None => "null",
        Some(true) => "true",
        Some(false) => "false",
    };
    let _ = write!(out, ",\"answered_by_voice_mail\":{voice_mail},\"deleted\":false");
}

fn costs(draft: &RowDraft<'_>, call: &Call, dice: &mut Dice, out: &mut String) {
    // Hundredths of a cent per second, so that the legs are rounded and the total is their sum.
    let mut leg = |low: i64, high: i64| {
        if call.is_priced { dice.between(low, high) * call.seconds / 10 } else { 0 }
    };
    let (llm, network, synthesizer, transcriber) = (leg(1, 40), leg(80, 170), leg(60, 260), leg(10, 40));
    let platform = if call.is_priced { (call.seconds + 59) / 60 * 200 } else { 0 };
    // Settlement comes after the end and corrects what the carrier charged.
    let network = network + i64::from(draft.standing.amendments) * 125;
    let total = llm + network + platform + synthesizer + transcriber;
    out.push_str(",\"total_cost\":");
    cents(total, out);
    for (name, leg) in [
        (",\"cost_breakdown\":{\"llm\":", llm),
        (",\"network\":", network),
        (",\"platform\":", platform),
        (",\"synthesizer\":", synthesizer),
        (",\"transcriber\":", transcriber),
    ] {
        out.push_str(name);
        cents(leg, out);
    }
    let _ =
        write!(out, ",\"transcriber_breakdown\":{{\"stt\":{}.39994,\"redaction\":1e-7}}}}", dice.below(90));
}

fn telephony(draft: &RowDraft<'_>, call: &Call, out: &mut String) {
    let facts = &draft.facts;
    let direction = draft.edit.and_then(|edit| edit.call_type).unwrap_or(facts.call_type);
    let (to, from) = match direction {
        CallType::Outbound => (call.person, call.line),
        CallType::Inbound => (call.line, call.person),
    };
    let drawn = PROVIDERS[usize::from(facts.provider) % PROVIDERS.len()];
    let provider = draft.edit.and_then(|edit| edit.provider.as_ref()).map_or(drawn, Provider::as_str);
    let _ = write!(
        out,
        ",\"user_number\":\"+91{}\",\"agent_number\":\"+91{}\",\"provider\":\"{provider}\"",
        call.person, call.line
    );
    if matches!(draft.standing.status, CallStatus::Scheduled | CallStatus::Prepared) {
        out.push_str(",\"telephony_data\":null");
        return;
    }
    let call_type = direction.as_str();
    let _ = write!(
        out,
        ",\"telephony_data\":{{\"duration\":\"{}{}\",\"to_number\":\"+91{to}\",\"from_number\":\"+91{from}\",\"call_type\":\"{call_type}\",\"provider\":\"{provider}\",\"hosted_telephony\":true,\"provider_call_id\":\"{:016x}\",\"ring_duration\":{},\"post_dial_delay\":null,\"to_number_carrier\":\"Reliance Jio Infocomm Ltd (RJIL)\",\"recording_url\":",
        call.seconds,
        if draft.serial.is_multiple_of(3) { ".0" } else { "" },
        u64::from(draft.serial).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ draft.agent_seed,
        call.person % 27,
    );
    let status = draft.standing.status;
    if call.is_priced {
        let _ = write!(out, "\"https:\\/\\/recordings.example.com\\/{}\\/{}.wav\"", draft.agent, call.person);
    } else {
        out.push_str(if status.is_over() { "\"\"" } else { "null" });
    }
    let hangup = match (text_for(&HANGUPS, status), status) {
        (None, CallStatus::Completed | CallStatus::CallDisconnected) => {
            TALKED_HANGUPS[draft.serial as usize % TALKED_HANGUPS.len()]
        }
        (found, _) => found.unwrap_or(NO_HANGUP),
    };
    out.push_str(hangup);
    out.push('}');
}

fn extraction(draft: &RowDraft<'_>, dice: &mut Dice, out: &mut String) {
    let form = if draft.standing.status == CallStatus::Completed { dice.below(4) } else { 0 };
    match form {
        0 => out.push_str(",\"extracted_data\":null,\"summary\":null"),
        1 | 2 => {
            let _ = write!(
                out,
                ",\"extracted_data\":{{\"Appointment confirmed?\":\"{}\",\"preferred day / time\":\"Tuesday, after 4 pm\",\"ग्राहक की भाषा\":\"हिंदी\",\"lead score\":{},\"call id (external)\":{}}},\"summary\":",
                if dice.happens(600) { "yes" } else { "no" },
                dice.below(100),
                9_007_199_254_740_993 + dice.below(1 << 60),
            );
            quoted(dice.pick(&transcript::SUMMARIES), out);
        }
        _ => {
            let _ = write!(
                out,
                ",\"extracted_data\":{{\"Lead quality\":{{\"Is the user interested\":{{\"subjective\":\"The user asked for the price\\/discount twice.\",\"objective\":\"Yes\",\"confidence\":0.{}}},\"budget (lakhs)\":{{\"subjective\":null,\"objective\":\"{}\",\"confidence\":1e-7}}}},\"Follow up\":{{\"when?\":{{\"objective\":\"\\u0915\\u0932 \\/ tomorrow\"}}}}}},\"summary\":",
                dice.between(10, 99),
                dice.between(20, 150),
            );
            quoted(dice.pick(&transcript::SUMMARIES), out);
        }
    }
}

fn transcript_of(draft: &RowDraft<'_>, call: &Call, dice: &mut Dice, out: &mut String) {
    match call.turns {
        0 => out.push_str(",\"transcript\":null"),
        turns => {
            out.push_str(",\"transcript\":\"");
            if draft.facts.voice_mail {
                transcript::write_voice_mail(out);
            } else {
                transcript::write_turns(out, dice, turns);
            }
            out.push('"');
        }
    }
    let _ = write!(
        out,
        ",\"context_details\":{{\"recipient_data\":{{\"timezone\":\"Asia\\/Kolkata\",\"name\":\"{}\",\"account ref\":\"{:08x}\",\"notes\":\"{}\"}},\"recipient_phone_number\":\"+91{}\"}}",
        dice.pick(&["Asha Menon", "आशा मेनन", "Vikram R.", "\\u0930\\u0935\\u093f", "Jos\\u00e9 D'Souza"]),
        dice.bits() as u32,
        dice.pick(&["prefers calls in the evening", "VIP \\u2b50", "do not mention the old plan", ""]),
        call.person,
    );
    out.push_str(",\"transfer_call_data\":null,\"batch_run_details\":");
    match draft.facts.batch {
        Some(_) => {
            let _ = write!(
                out,
                "{{\"status\":\"{}\",\"retried\":{}}}",
                draft.standing.status.as_str(),
                draft.standing.retries
            );
        }
        None => out.push_str("null"),
    }
    out.push_str(",\"workflow_retries\":null,\"custom_extractions\":null,\"smart_status\":null,\"rating\":null,\"feedback\":null,\"webhook_status\":null,\"agent_extraction\":null,\"language\":\"hi\",\"deployment\":\"shared\",\"prompt_version\":3,\"is_test_call\":false");
}

fn usage(draft: &RowDraft<'_>, call: &Call, dice: &mut Dice, out: &mut String) {
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

fn latency(draft: &RowDraft<'_>, call: &Call, dice: &mut Dice, out: &mut String) {
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

/// What a table has for a status.
fn text_for(table: &[(CallStatus, &'static str)], status: CallStatus) -> Option<&'static str> {
    table.iter().find_map(|(of, text)| (*of == status).then_some(*text))
}

/// Writes a text that needs no escaping, or has been escaped.
fn quoted(text: &str, out: &mut String) {
    out.push('"');
    out.push_str(text);
    out.push('"');
}

/// Writes hundredths as Python does: at least one decimal, none more than needed, but plain `0` for what has no price.
fn cents(hundredths: i64, out: &mut String) {
    let (whole, part) = (hundredths / 100, hundredths % 100);
    let _ = match (whole, part) {
        (0, 0) => write!(out, "0"),
        (_, part) if part % 10 == 0 => write!(out, "{whole}.{}", part / 10),
        (_, part) => write!(out, "{whole}.{part:02}"),
    };
}

fn stamp(name: &str, at: Option<i64>, form: StampForm, out: &mut String) {
    out.push_str(name);
    match at {
        Some(at) => {
            out.push('"');
            form.write(Timestamp::from_micros(at), out);
            out.push('"');
        }
        None => out.push_str("null"),
    }
}
