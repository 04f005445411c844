//! How the call went: status, dates, costs, lines.

use std::fmt::Write as _;

use super::{Call, RowDraft, quoted, stamp};
use crate::domain::CallType;
use crate::simulator::dice::Dice;
use crate::simulator::facts::PROVIDERS;
use crate::simulator::status::CallStatus;

/// The error messages of failed calls.
const ERRORS: [(CallStatus, &str); 3] = [
    (CallStatus::Failed, r#""SIP 503: carrier\/trunk unavailable""#),
    (CallStatus::Error, r#""LLM provider returned an error (1e-7 tokens left?)""#),
    (CallStatus::BalanceLow, r#""Insufficient balance: \u20b90.00""#),
];

/// The ends of calls without a conversation.
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

/// The ends of the other calls; the code is a number or a string.
const TALKED_HANGUPS: [&str; 2] = [
    r#","hangup_by":"Caller","hangup_reason":"Normal Hangup","hangup_provider_code":4000"#,
    r#","hangup_by":"Agent","hangup_reason":"inactivity timeout \u2192 end_call","hangup_provider_code":"4010""#,
];

const NO_HANGUP: &str = r#","hangup_by":null,"hangup_reason":null,"hangup_provider_code":null"#;

pub(super) fn head(draft: &RowDraft<'_>, call: &Call, out: &mut String) {
    let standing = &draft.standing;
    let _ = write!(out, "{{\"id\":\"{}\",\"agent_id\":\"{}\",\"batch_id\":", draft.id, draft.agent);
    match draft.facts.batch {
        Some(batch) => quoted(&batch.id(draft.agent_seed), out),
        None => out.push_str("null"),
    }
    out.push_str(",\"campaign_id\":null,\"status\":");
    quoted(draft.status, out);
    stamp(",\"created_at\":", Some(draft.created_at), out);
    stamp(",\"updated_at\":", Some(standing.changed_at), out);
    stamp(",\"initiated_at\":", standing.initiated_at, out);
    let _ = write!(out, ",\"scheduled_at\":null,\"conversation_duration\":{}", call.seconds);
    // One in four is a float in the data that was seen.
    if draft.serial.is_multiple_of(4) {
        out.push_str(".0");
    }
    let _ = write!(out, ",\"conversation_time\":{}", call.seconds);
    let rescheduled =
        if standing.status == CallStatus::Rescheduled { Some(standing.changed_at) } else { None };
    stamp(",\"rescheduled_at\":", rescheduled, out);
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
    let voice_mail = match standing.status.is_over().then_some(draft.facts.voice_mail) {
        None => "null",
        Some(true) => "true",
        Some(false) => "false",
    };
    let _ = write!(out, ",\"answered_by_voice_mail\":{voice_mail},\"deleted\":false");
}

pub(super) fn costs(draft: &RowDraft<'_>, call: &Call, dice: &mut Dice, out: &mut String) {
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

pub(super) fn telephony(draft: &RowDraft<'_>, call: &Call, out: &mut String) {
    let facts = &draft.facts;
    let direction = draft.edit.and_then(|edit| edit.call_type).unwrap_or(facts.call_type);
    let given = draft.edit.and_then(|edit| edit.recipient.as_deref());
    let person = given.map_or_else(|| format!("+91{}", call.person), str::to_owned);
    let line = format!("+91{}", call.line);
    let (to, from) = match direction {
        CallType::Outbound => (&person, &line),
        CallType::Inbound => (&line, &person),
    };
    let provider = PROVIDERS[usize::from(facts.provider) % PROVIDERS.len()];
    let _ =
        write!(out, ",\"user_number\":\"{person}\",\"agent_number\":\"{line}\",\"provider\":\"{provider}\"");
    if matches!(draft.standing.status, CallStatus::Scheduled | CallStatus::Prepared) {
        out.push_str(",\"telephony_data\":null");
        return;
    }
    let call_type = direction.as_str();
    let _ = write!(
        out,
        ",\"telephony_data\":{{\"duration\":\"{}{}\",\"to_number\":\"{to}\",\"from_number\":\"{from}\",\"call_type\":\"{call_type}\",\"provider\":\"{provider}\",\"hosted_telephony\":true,\"provider_call_id\":\"{:016x}\",\"ring_duration\":{},\"post_dial_delay\":null,\"to_number_carrier\":\"Reliance Jio Infocomm Ltd (RJIL)\",\"recording_url\":",
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

/// The entry of a table for a status.
fn text_for(table: &[(CallStatus, &'static str)], status: CallStatus) -> Option<&'static str> {
    table.iter().find_map(|(of, text)| (*of == status).then_some(*text))
}

/// Writes hundredths as Python does: at least one decimal and no more than needed, but plain `0` without a
/// price.
fn cents(hundredths: i64, out: &mut String) {
    let (whole, part) = (hundredths / 100, hundredths % 100);
    let _ = match (whole, part) {
        (0, 0) => write!(out, "0"),
        (_, part) if part % 10 == 0 => write!(out, "{whole}.{}", part / 10),
        (_, part) => write!(out, "{whole}.{part:02}"),
    };
}
