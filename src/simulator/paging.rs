//! Selects the rows of one page from a list whose order is fixed except for ties.

use std::ops::Range;

use super::dice::Dice;
use super::page_asked::PageAsked;
use super::settings::TieOrder;

/// The places of a page's rows in a list of `len` rows that is sorted by `key`.
///
/// Rows with equal keys change places from request to request, as in a database without a tie-breaker: those
/// at a page's edge may appear twice in a walk, or never. Costs the page and the ties at its edges.
pub(super) fn cut<K: PartialEq>(
    page: PageAsked,
    len: usize,
    ties: TieOrder,
    request: u64,
    key: impl Fn(usize) -> K,
) -> Vec<usize> {
    let (start, end) = (page.start().min(len), page.end().min(len));
    if start == end {
        return Vec::new();
    }
    if ties == TieOrder::Stable {
        return (start..end).collect();
    }
    let wide = widen(start..end, len, &key);
    let mut places: Vec<usize> = wide.clone().collect();
    let mut dice = Dice::of(&[request, 9]);
    let mut group = 0;
    while group < places.len() {
        let same = key(places[group]);
        let next = (group + 1..places.len()).find(|&p| key(places[p]) != same).unwrap_or(places.len());
        shuffle(&mut places[group..next], &mut dice);
        group = next;
    }
    places.drain(..start - wide.start);
    places.truncate(end - start);
    places
}

/// The same places and all that tie with the first or the last.
fn widen<K: PartialEq>(mut places: Range<usize>, len: usize, key: impl Fn(usize) -> K) -> Range<usize> {
    while places.start > 0 && key(places.start - 1) == key(places.start) {
        places.start -= 1;
    }
    while places.end < len && key(places.end) == key(places.end - 1) {
        places.end += 1;
    }
    places
}

fn shuffle(places: &mut [usize], dice: &mut Dice) {
    for last in (1..places.len()).rev() {
        places.swap(last, dice.below(last as u64 + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [u32; 10] = [9, 8, 8, 8, 8, 8, 3, 2, 2, 1];

    fn page(number: usize, request: u64) -> Vec<usize> {
        cut(PageAsked { number, size: 3 }, KEYS.len(), TieOrder::Unstable, request, |p| KEYS[p])
    }

    #[test]
    fn pages_of_one_request_number_add_up_to_the_list() {
        for request in 0..50 {
            let mut all: Vec<_> = (1..=5).flat_map(|number| page(number, request)).collect();
            assert!(all.is_sorted_by_key(|&p| std::cmp::Reverse(KEYS[p])));
            all.sort_unstable();
            assert_eq!(all, (0..10).collect::<Vec<_>>());
        }
    }

    #[test]
    fn ties_change_places_between_requests() {
        assert!((0..50).any(|request| page(1, request) != page(1, request + 1)));
        let lost = (0..50).any(|request| {
            let walk: Vec<_> = (1..=4).flat_map(|number| page(number, request * 4 + number as u64)).collect();
            (0..10).any(|p| !walk.contains(&p))
        });
        assert!(lost, "a walk never lost a row at a page's edge");
    }

    #[test]
    fn a_page_past_the_end_is_empty() {
        assert!(page(5, 1).is_empty());
        assert!(cut(PageAsked { number: usize::MAX, size: 50 }, 3, TieOrder::Stable, 0, |p| p).is_empty());
    }
}
