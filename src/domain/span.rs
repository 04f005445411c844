use std::fmt;
use std::time::Duration;

use super::Timestamp;

/// An interval of `created_at`, both ends inclusive, as upstream's `from` and `to` are.
///
/// # Invariants
/// `from` is not after `to`. An empty interval is not a span.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    from: Timestamp,
    to: Timestamp,
}

impl Span {
    /// The span between two instants; `None` if it would be empty.
    pub fn new(from: Timestamp, to: Timestamp) -> Option<Self> {
        (from <= to).then_some(Self { from, to })
    }

    /// The span of a single instant.
    pub const fn at(instant: Timestamp) -> Self {
        Self { from: instant, to: instant }
    }

    /// The first instant in the span.
    pub const fn from(self) -> Timestamp {
        self.from
    }

    /// The last instant in the span.
    pub const fn to(self) -> Timestamp {
        self.to
    }

    /// The time from the first instant to the last.
    pub fn width(self) -> Duration {
        self.to.since(self.from)
    }

    /// Whether the span contains an instant.
    pub fn contains(self, instant: Timestamp) -> bool {
        self.from <= instant && instant <= self.to
    }

    /// Whether the span contains all of another span.
    pub fn covers(self, other: Self) -> bool {
        self.from <= other.from && other.to <= self.to
    }

    /// The part that both spans have in common.
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.from.max(other.from), self.to.min(other.to))
    }

    /// The smallest span that covers both.
    pub fn union(self, other: Self) -> Self {
        Self { from: self.from.min(other.from), to: self.to.max(other.to) }
    }

    /// The part before an instant.
    pub fn before(self, instant: Timestamp) -> Option<Self> {
        Self::new(self.from, self.to.min(instant.previous()))
    }

    /// The part after an instant.
    pub fn after(self, instant: Timestamp) -> Option<Self> {
        Self::new(self.from.max(instant.next()), self.to)
    }

    /// What is left after another span is removed: the part before it and the part after it.
    pub fn without(self, other: Self) -> impl Iterator<Item = Self> {
        [self.before(other.from), self.after(other.to)].into_iter().flatten()
    }

    /// What is left after other spans are removed.
    pub fn without_all(self, others: &[Self]) -> Vec<Self> {
        let left =
            |left: Vec<Self>, other: &Self| left.into_iter().flat_map(|span| span.without(*other)).collect();
        others.iter().fold(vec![self], left)
    }

    /// The same span with its ends moved outward to whole seconds.
    ///
    /// Upstream may compare microseconds, milliseconds or seconds. At whole seconds all of these agree, and rows outside the
    /// ends are trimmed.
    pub fn outward(self) -> Self {
        Self { from: self.from.floor_second(), to: self.to.ceil_second() }
    }

    /// Splits the span into spans no wider than `width` once moved [`outward`](Self::outward), newest first.
    ///
    /// A width under two seconds counts as two, because each part must end on a whole second.
    pub fn split(self, width: Duration) -> Vec<Self> {
        let width = width.max(Duration::from_secs(2));
        let mut pieces = Vec::new();
        let mut rest = Some(self);
        while let Some(span) = rest {
            let cut = span.to.ceil_second().minus(width).ceil_second();
            pieces.push(Self { from: span.from.max(cut), to: span.to });
            rest = span.before(cut);
        }
        pieces
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} … {}]", self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn span() -> impl Strategy<Value = Span> {
        (-50_000_000i64..50_000_000, 0i64..40_000_000).prop_map(|(from, width)| Span {
            from: Timestamp::from_micros(from),
            to: Timestamp::from_micros(from + width),
        })
    }

    proptest! {
        #[test]
        fn split_covers_everything_once_and_stays_within_the_width(span in span(), seconds in 2u64..20) {
            let width = Duration::from_secs(seconds);
            let pieces = span.split(width);
            prop_assert_eq!(pieces[0].to, span.to);
            prop_assert_eq!(pieces[pieces.len() - 1].from, span.from);
            for pair in pieces.windows(2) {
                prop_assert_eq!(pair[0].from, pair[1].to.next());
            }
            for piece in pieces {
                prop_assert!(piece.outward().width() <= width);
            }
        }

        #[test]
        fn without_and_intersection_are_a_partition(a in span(), b in span()) {
            let micros = |s: Span| s.to.as_micros() - s.from.as_micros() + 1;
            let common = a.intersection(b).map_or(0, micros);
            let rest: i64 = a.without(b).map(micros).sum();
            prop_assert_eq!(common + rest, if a.intersection(b).is_some() { micros(a) } else { rest });
            if a.intersection(b).is_some() {
                for piece in a.without(b) {
                    prop_assert!(piece.intersection(b).is_none() && a.covers(piece));
                }
            }
        }

        #[test]
        fn outward_is_a_superset_on_whole_seconds(span in span()) {
            let wide = span.outward();
            prop_assert!(wide.covers(span));
            prop_assert_eq!(wide.from.as_micros() % 1_000_000, 0);
            prop_assert_eq!(wide.to.as_micros() % 1_000_000, 0);
        }
    }
}
