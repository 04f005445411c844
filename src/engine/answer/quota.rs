//! Chooses the rows of an answer for a question that wants only some of the newest.

use crate::domain::{EntrySlice, MAX_PAGE_SIZE};
use crate::engine::terms::Newest;

/// Counts the rows of an answer, newest first, and passes on those that are wanted.
///
/// Looks for one row more than wanted, because the answer says whether there is one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Quota {
    newest: Option<Newest>,
    seen: u64,
}

impl Quota {
    /// All rows, or those that are wanted of the newest.
    pub(super) const fn new(newest: Option<Newest>) -> Self {
        Self { newest, seen: 0 }
    }

    /// Which of the newest rows are wanted; `None` if all are.
    pub(super) const fn newest(&self) -> Option<Newest> {
        self.newest
    }

    /// How many more rows have to be seen; `None` if all are wanted.
    pub(super) fn missing(&self) -> Option<u64> {
        self.newest.map(|newest| newest.end().saturating_add(1).saturating_sub(self.seen))
    }

    /// How many pages these take; `None` if all rows are wanted.
    pub(super) fn missing_pages(&self) -> Option<u64> {
        self.missing().map(|rows| rows.div_ceil(MAX_PAGE_SIZE as u64))
    }

    /// Whether more rows than wanted were seen.
    pub(super) fn is_met(&self) -> bool {
        self.missing() == Some(0)
    }

    /// The number of rows seen; `None` if there are more than wanted.
    pub(super) fn total(&self) -> Option<u64> {
        (!self.is_met()).then_some(self.seen)
    }

    /// Restarts from the newest row.
    pub(super) const fn restart(&mut self) {
        self.seen = 0;
    }

    /// Counts the next rows, and returns those that are wanted.
    pub(super) fn take(&mut self, slice: EntrySlice) -> Option<EntrySlice> {
        let first = self.seen;
        self.seen += slice.len() as u64;
        let Some(newest) = self.newest else { return Some(slice) };
        if newest.skip <= first && self.seen <= newest.end() {
            return Some(slice);
        }
        if self.seen <= newest.skip || newest.end() <= first {
            return None;
        }
        let mut at = first;
        slice.filtered(|_| {
            at += 1;
            newest.has(at - 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Digest, Entry, FilterFacts, NewRow, Row, Timestamp};

    fn entry(rows: usize) -> Arc<Entry> {
        let row = |number: usize| NewRow {
            row: Row {
                id: number.to_string().into(),
                created_at: None,
                updated_at: None,
                facts: FilterFacts::default(),
                status: None,
                bytes: "{}".into(),
            },
            created_at: Timestamp::from_micros(0),
            read_at: Timestamp::from_micros(0),
            is_doubted: false,
            digest: Digest(1),
        };
        Arc::new(Entry::new(&(0..rows).map(row).collect::<Vec<_>>()))
    }

    proptest! {
        #[test]
        fn pages_together_are_the_history(
            lengths in prop::collection::vec(1usize..30, 0..6),
            size in 1u64..12,
        ) {
            let slices: Vec<_> = lengths.iter().map(|&length| {
                // Every third row is left out, so that slices have several runs.
                let mut position = 0;
                EntrySlice::select(entry(length), 0..length, |_| { position += 1; position % 3 != 0 }).unwrap()
            }).collect();
            let ids = |slices: &[EntrySlice]| -> Vec<_> {
                slices.iter().flat_map(|s| s.rows().map(|r| r.id()).collect::<Vec<_>>()).collect()
            };
            let all = ids(&slices);
            let page = |number: u64| {
                let mut quota = Quota::new(Some(Newest { skip: number * size, take: size }));
                let given: Vec<_> = slices.iter().cloned().filter_map(|slice| quota.take(slice)).collect();
                (ids(&given), quota)
            };
            let rows = all.len() as u64;
            for number in 0..=rows.div_ceil(size) {
                let (given, quota) = page(number);
                let expected: Vec<_> =
                    all.iter().skip((number * size) as usize).take(size as usize).cloned().collect();
                prop_assert_eq!(given, expected);
                let has_more = rows > (number + 1) * size;
                prop_assert_eq!((quota.is_met(), quota.total()), (has_more, (!has_more).then_some(rows)));
            }
        }
    }
}
