//! Reads gaps together with the small known pieces between them where that saves requests.
//!
//! A gap costs at least one request, however small it is, and many small questions leave many gaps between
//! their results. Reading across a known piece costs one page per [`MAX_PAGE_SIZE`] rows and saves the
//! request that the next gap would start with.

use std::time::Duration;

use crate::domain::{MAX_PAGE_SIZE, Span};
use crate::engine::coverage::CoveragePart;

/// The most known rows that are read again to save one request.
///
/// Half a page: rows that are read together with an unknown number of others fill a page that is requested
/// anyway as often as they need another page, so at half a page both sides cost the same on average.
const ROWS_A_JOIN: usize = MAX_PAGE_SIZE / 2;

/// Runs of two or more gaps that are read as one, newest first. `parts` are the parts of a span, newest
/// first.
pub(super) fn joined_gaps(parts: &[CoveragePart<'_>], window: Duration) -> Vec<Span> {
    let mut runs = Vec::new();
    let mut run: Option<GapRun> = None;
    let mut rows = 0;
    for part in parts {
        match part {
            CoveragePart::Known(segment) => rows += segment.len(),
            CoveragePart::Gap(gap) => {
                let next = GapRun { span: *gap, gaps: 1 };
                run = Some(match run {
                    Some(run) if rows <= ROWS_A_JOIN && run.takes_no_more_windows_with(*gap, window) => {
                        GapRun { span: run.span.union(*gap), gaps: run.gaps + 1 }
                    }
                    Some(run) => {
                        runs.push(run);
                        next
                    }
                    None => next,
                });
                rows = 0;
            }
        }
    }
    runs.extend(run);
    runs.into_iter().filter(|run| run.gaps > 1).map(|run| run.span).collect()
}

#[derive(Clone, Copy)]
struct GapRun {
    span: Span,
    gaps: usize,
}

impl GapRun {
    /// Whether reading up to another gap saves the request that the gap would start with.
    fn takes_no_more_windows_with(self, gap: Span, window: Duration) -> bool {
        windows(self.span.union(gap), window) < windows(self.span, window) + windows(gap, window)
    }
}

/// The minimum number of requests for a span.
fn windows(span: Span, window: Duration) -> u128 {
    span.outward().width().as_micros().div_ceil(window.as_micros().max(1)).max(1)
}
