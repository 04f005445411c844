//! The conversation, and the data that was extracted from it.

use std::fmt::Write as _;

use super::{Call, RowDraft, quoted};
use crate::simulator::dice::Dice;
use crate::simulator::status::CallStatus;
use crate::simulator::transcript;

pub(super) fn extraction(draft: &RowDraft<'_>, dice: &mut Dice, out: &mut String) {
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

pub(super) fn transcript_of(draft: &RowDraft<'_>, call: &Call, dice: &mut Dice, out: &mut String) {
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
