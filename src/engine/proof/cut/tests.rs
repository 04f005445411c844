use proptest::prelude::*;

use super::*;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

proptest! {
    #[test]
    fn pieces_cover_the_span_once_and_end_on_whole_seconds(
        from in 0i64..50_000_000,
        width in 0i64..90_000_000,
        seen in proptest::collection::vec(0i64..150_000_000, 0..300),
    ) {
        let span = Span::new(at(from), at(from + width)).unwrap();
        let pieces = cut_at(span, seen.into_iter().map(at).collect(), 42);
        prop_assert_eq!(pieces[0].to(), span.to());
        prop_assert_eq!(pieces[pieces.len() - 1].from(), span.from());
        for pair in pieces.windows(2) {
            prop_assert_eq!(pair[0].from(), pair[1].to().next());
            prop_assert_eq!(pair[0].from(), pair[0].from().floor_second());
        }
    }

    #[test]
    fn a_middle_leaves_two_narrower_halves(
        from in 0i64..50_000_000,
        width in 1_000_001i64..90_000_000,
        seen in proptest::collection::vec(0i64..150_000_000, 0..60),
    ) {
        let region = Span::new(at(from), at(from + width)).unwrap();
        prop_assume!(region.outward().width() > SECOND);
        let instants: Vec<Timestamp> = seen.into_iter().map(at).collect();
        let middle = middle(region, &instants);
        let (upper, lower) = (region.after(middle.previous()), region.before(middle));
        let width = |part: Option<Span>| part.map_or(Duration::ZERO, |part| part.outward().width());
        prop_assert!(upper.is_some() && lower.is_some(), "{middle}");
        prop_assert!(width(upper) < region.outward().width() && width(lower) < region.outward().width());
    }
}

fn minute() -> Span {
    Span::new(at(0), at(59_999_999)).unwrap()
}

#[test]
fn a_piece_without_rows_makes_the_next_one_twice_as_wide_however_small_pages_are() {
    for rows_a_piece in [1, 2, 42] {
        assert_eq!(fitting_width(minute(), 0, rows_a_piece), minute().width() * 2);
    }
    assert_eq!(fitting_width(minute(), 1, 1), minute().width());
    assert_eq!(fitting_width(minute(), 42, 1), minute().width() / 2);
}

#[test]
fn a_page_without_rows_was_not_cut_off() {
    let is_confirmed = |rows| Doubt { span: minute(), rows, found: 0 }.is_confirmed_by(minute(), rows + 1);
    assert!(!is_confirmed(0));
    assert!(is_confirmed(1) && is_confirmed(20));
}
