//! Identifiers that can be read back, so that finding an execution by its id needs no index of a million
//! strings.

use std::fmt::Write as _;

use uuid::Uuid;

use super::dice::{Dice, mix};
use crate::domain::AgentId;

/// Half of the 60 bits of a UUID before its variant, less the version.
const HALF: u64 = (1 << 30) - 1;

/// The agent with this number.
pub(super) fn agent_id(seed: u64, agent: u32) -> AgentId {
    let mut dice = Dice::of(&[seed, u64::from(agent), 10]);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&dice.bits().to_be_bytes());
    bytes[8..].copy_from_slice(&dice.bits().to_be_bytes());
    AgentId::new(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

/// The UUID of the row with this serial: looks random, and is a permutation of agent and serial.
pub(super) fn row_uuid(seed: u64, agent: u32, serial: u32) -> Uuid {
    let number = u64::from(agent & 0xff_ffff) << 32 | u64::from(serial);
    let mut halves = (number >> 30 & HALF, number & HALF);
    for round in 0..4 {
        halves = (halves.1, halves.0 ^ scramble(seed, round, halves.1));
    }
    let high = halves.0 << 30 | halves.1;
    let rest = mix(high ^ mix(seed));
    let high = (high >> 12) << 16 | 0x4000 | (high & 0xfff);
    Uuid::from_u64_pair(high, rest & (u64::MAX >> 2) | 1 << 63)
}

/// Which agent and serial a UUID belongs to, if it is one of [`row_uuid`]'s.
pub(super) fn read_row_uuid(seed: u64, id: Uuid) -> Option<(u32, u32)> {
    let (high, _) = id.as_u64_pair();
    let high = (high >> 16) << 12 | (high & 0xfff);
    let mut halves = (high >> 30 & HALF, high & HALF);
    for round in (0..4).rev() {
        halves = (halves.1 ^ scramble(seed, round, halves.0), halves.0);
    }
    let number = halves.0 << 30 | halves.1;
    let (agent, serial) = (u32::try_from(number >> 32).ok()?, number as u32);
    (row_uuid(seed, agent, serial) == id).then_some((agent, serial))
}

const fn scramble(seed: u64, round: u64, half: u64) -> u64 {
    mix(half ^ mix(seed.wrapping_add(round))) & HALF
}

/// The id of a row in the form of upstream's early days, `{agent_id}#{seconds}.{serial}`.
pub(super) fn old_row_id(agent: AgentId, created_at: i64, serial: u32) -> String {
    let mut id = String::with_capacity(64);
    let _ = write!(id, "{agent}#{}.{serial:09}", created_at.div_euclid(1_000_000));
    id
}

/// The serial in an id of [`old_row_id`]'s.
pub(super) fn read_old_row_id(id: &str) -> Option<u32> {
    id.split_once('#')?.1.split_once('.')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_wrote_and_nothing_else() {
        for (agent, serial) in [(0, 0), (1, 7), (65_535, u32::MAX), (3, 1 << 31)] {
            let id = row_uuid(5, agent, serial);
            assert_eq!(id.get_version_num(), 4);
            assert_eq!(read_row_uuid(5, id), Some((agent, serial)));
            assert_eq!(read_row_uuid(6, id), None);
        }
        assert_eq!(read_row_uuid(5, Uuid::nil()), None);
        assert_eq!(read_old_row_id(&old_row_id(agent_id(1, 1), -5, 42)), Some(42));
    }
}
