/// The requested page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageAsked {
    /// The number of the page, from 1.
    pub(super) number: usize,
    /// The most rows on a page.
    pub(super) size: usize,
}

impl PageAsked {
    /// One page with all rows.
    pub(super) const WHOLE: Self = Self { number: 1, size: usize::MAX };

    /// The number of rows before the page.
    pub(super) const fn start(self) -> usize {
        self.number.saturating_sub(1).saturating_mul(self.size)
    }

    /// The number of rows up to the end of the page, if it is full.
    pub(super) const fn end(self) -> usize {
        self.start().saturating_add(self.size)
    }
}
