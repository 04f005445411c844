/// The requested page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageAsked {
    /// From 1.
    pub(super) number: usize,
    /// Rows on a page.
    pub(super) size: usize,
}

impl PageAsked {
    /// Everything on one page.
    pub(super) const WHOLE: Self = Self { number: 1, size: usize::MAX };

    /// How many rows come before the page.
    pub(super) const fn start(self) -> usize {
        self.number.saturating_sub(1).saturating_mul(self.size)
    }

    /// How many rows there are up to its end, if it is full.
    pub(super) const fn end(self) -> usize {
        self.start().saturating_add(self.size)
    }
}
