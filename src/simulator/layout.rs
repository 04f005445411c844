//! The times of the seeded calls: more by day than by night, fewer on two days of seven, batches all at once.
//!
//! Everything is relative to the epoch, never to the calendar, so that runs on different days have the same
//! calls at the same distances.

use super::dice::Dice;
use super::facts::{BATCH_BLOCK, Facts};

const HOUR: i64 = 3_600_000_000;

/// How busy each hour of a day is, counted back from the epoch, which counts as an afternoon.
const HOURS: [u64; 24] =
    [90, 95, 80, 60, 70, 90, 100, 85, 40, 15, 5, 2, 1, 1, 1, 1, 1, 2, 4, 8, 20, 40, 60, 80];

/// The instants of `count` calls within `span` microseconds before `epoch`, by serial; not sorted.
pub(super) fn created_at(agent_seed: u64, epoch: i64, count: u32, span: i64) -> Vec<i64> {
    let hours = busy_hours(span);
    let total = hours.last().map_or(1, |h| h.busy_until).max(1);
    let mut dice = Dice::of(&[agent_seed, 5]);
    let mut hour = 0;
    let mut instants = Vec::with_capacity(count as usize);
    for serial in 0..count {
        // One call in every equal part of the total, so that they come out in order and no sorting is needed
        // here.
        let point = (f64::from(serial) + dice.fraction()) / f64::from(count.max(1)) * total as f64;
        while hour + 1 < hours.len() && point >= hours[hour].busy_until as f64 {
            hour += 1;
        }
        let here = &hours[hour];
        let part = ((point - here.busy_before as f64) / (here.busy_until - here.busy_before).max(1) as f64)
            .clamp(0.0, 1.0);
        instants.push(epoch - span + here.starts + (part * here.lasts as f64) as i64);
    }
    gather_batches(agent_seed, &mut instants);
    instants
}

/// An hour, or what the span has of it, with the calls before and until its end in arbitrary units.
struct BusyHour {
    starts: i64,
    lasts: i64,
    busy_before: u64,
    busy_until: u64,
}

fn busy_hours(span: i64) -> Vec<BusyHour> {
    let mut hours = Vec::new();
    let (mut starts, mut busy_before) = (0, 0);
    while starts < span {
        let back = (span - starts - 1) / HOUR;
        let lasts = (span - back * HOUR - starts).max(1);
        let day_off = matches!(back / 24 % 7, 2 | 3);
        let weight = HOURS[(back % 24) as usize] * if day_off { 1 } else { 5 };
        // In proportion to its length: the first hour of a span may be a part of one.
        let busy_until = busy_before + weight * (lasts / 1000) as u64 + 1;
        hours.push(BusyHour { starts, lasts, busy_before, busy_until });
        (starts, busy_before) = (starts + lasts, busy_until);
    }
    if hours.is_empty() {
        hours.push(BusyHour { starts: 0, lasts: 0, busy_before: 0, busy_until: 1 });
    }
    hours
}

/// The calls of a batch are made within seconds of its first, three at a time at the very same instant.
fn gather_batches(agent_seed: u64, instants: &mut [i64]) {
    for (block, instants) in (0u32..).zip(instants.chunks_mut(BATCH_BLOCK as usize)) {
        let first_serial = block * BATCH_BLOCK;
        if Facts::of(agent_seed, first_serial).batch.is_none() {
            continue;
        }
        let (first, mut step) = (instants[0], 0);
        let mut dice = Dice::of(&[agent_seed, u64::from(block), 6]);
        // Never later than the last call of the batch would have been, so that no call is in the future.
        let last = instants[instants.len() - 1];
        for (serial, instant) in
            (first_serial..).zip(instants).take_while(|(s, _)| Facts::of(agent_seed, *s).batch.is_some())
        {
            if serial % 3 == 0 {
                step += dice.between(4_000, 60_000);
            }
            *instant = (first + step).min(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_lie_within_the_span_and_relative_to_the_epoch() {
        for span in [0, 1, 1_000, HOUR, 90 * 24 * HOUR + 17] {
            let calls = created_at(1, 1_000_000_000_000_000, 3_000, span);
            assert!(calls.iter().all(|c| (1_000_000_000_000_000 - span..=1_000_000_000_000_000).contains(c)));
            let later = created_at(1, 1_000_000_000_000_777, 3_000, span);
            assert!(calls.iter().zip(later).all(|(a, b)| b - a == 777));
        }
    }

    #[test]
    fn batches_share_instants() {
        let mut calls = created_at(1, 0, 3_000, 30 * 24 * HOUR);
        calls.sort_unstable();
        assert!(calls.windows(3).any(|w| w[0] == w[2]));
    }
}
