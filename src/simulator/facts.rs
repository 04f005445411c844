use super::dice::Dice;
use super::status::CallStatus;
use crate::domain::CallType;

/// The values of a row that filters select and that never change. Small, because a million rows are stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// How the last attempt ends.
    pub(super) outcome: CallStatus,
    /// Who calls whom.
    pub(super) call_type: CallType,
    /// Through whom: a position in [`PROVIDERS`].
    pub(super) provider: u8,
    /// Whether voice mail answers.
    pub(super) voice_mail: bool,
    /// Which of the agent's batches the call belongs to.
    pub(super) batch: Option<Batch>,
}

/// One of an agent's batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch(std::num::NonZeroU32);

/// The telephony providers that rows name.
pub(super) const PROVIDERS: [&str; 7] =
    ["plivo", "twilio", "exotel", "vobiz", "sip-trunk", "websocket", "web-call"];

/// Of a thousand calls, how many go through each of [`PROVIDERS`].
const PROVIDER_SHARES: [u64; 7] = [450, 250, 120, 80, 40, 25, 35];

/// How a thousand outbound calls end. An inbound one has been answered by the agent, so it mostly completes.
const OUTCOMES: [(CallStatus, u64); 8] = [
    (CallStatus::Completed, 690),
    (CallStatus::NoAnswer, 160),
    (CallStatus::Busy, 60),
    (CallStatus::Failed, 40),
    (CallStatus::Canceled, 15),
    (CallStatus::Stopped, 15),
    (CallStatus::Error, 12),
    (CallStatus::BalanceLow, 8),
];

/// How many neighboring serials may form one batch.
pub(super) const BATCH_BLOCK: u32 = 128;

impl Facts {
    /// The facts of one row.
    pub(super) fn of(agent_seed: u64, serial: u32) -> Self {
        let mut dice = Dice::of(&[agent_seed, u64::from(serial), 1]);
        let batch = Batch::of(agent_seed, serial);
        let call_type =
            if batch.is_none() && dice.happens(280) { CallType::Inbound } else { CallType::Outbound };
        let outcome = match call_type {
            CallType::Inbound if dice.happens(970) => CallStatus::Completed,
            CallType::Inbound => CallStatus::Failed,
            CallType::Outbound => *draw(&mut dice, OUTCOMES.iter().map(|(status, share)| (status, *share)))
                .unwrap_or(&CallStatus::Completed),
        };
        let provider = draw(&mut dice, (0u8..).zip(PROVIDER_SHARES)).unwrap_or(0);
        let answered = matches!((call_type, outcome), (CallType::Outbound, CallStatus::Completed));
        Self { outcome, call_type, provider, voice_mail: answered && dice.happens(70), batch }
    }
}

impl Batch {
    fn of(agent_seed: u64, serial: u32) -> Option<Self> {
        let block = serial / BATCH_BLOCK;
        let mut dice = Dice::of(&[agent_seed, u64::from(block), 2]);
        let size = if dice.happens(350) { dice.between(20, i64::from(BATCH_BLOCK)) } else { 0 };
        if i64::from(serial % BATCH_BLOCK) < size {
            std::num::NonZeroU32::new(block + 1).map(Self)
        } else {
            None
        }
    }

    /// Its identifier, 32 hex digits.
    pub(super) fn id(self, agent_seed: u64) -> String {
        let mut dice = Dice::of(&[agent_seed, u64::from(self.0.get()), 3]);
        format!("{:016x}{:016x}", dice.bits(), dice.bits())
    }
}

/// Draws one of some values, each with its share of a thousand.
fn draw<T>(dice: &mut Dice, from: impl Iterator<Item = (T, u64)>) -> Option<T> {
    let mut left = dice.below(1000);
    for (thing, share) in from {
        if left < share {
            return Some(thing);
        }
        left -= share;
    }
    None
}
