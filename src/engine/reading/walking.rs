//! Walks over the pages of a span, and repairs failed proofs.

use std::collections::HashSet;
use std::pin::pin;

use futures_util::stream::StreamExt;

use super::buffer::Buffer;
use super::numbered::Walked;
use super::reader::{REPEATS, Reader, inconsistent, within_dates};
use super::sink::{Ended, PagesAsked, Sink};
use crate::domain::{Page, PageOf, RowId, Span, Timestamp};
use crate::engine::proof::{DateSupport, Walk, WalkGoal, cut_at};

/// How often a list of everything is walked before it is read in rounds.
const MAX_WALKS: usize = 4;

/// What a second page shows about a first page that seemed truncated.
enum Second {
    /// The first page is valid.
    Fits,
    /// Pages are smaller than requested; the first is to be requested with that size.
    Smaller,
    /// There is no second page, although there should be.
    Missing,
}

/// How often the page size is determined before a span is read in another way.
const MAX_SIZES: usize = 3;

impl Reader<'_> {
    /// Reads all of `region`, and passes what is proven to the sink as it arrives.
    ///
    /// # Errors
    /// What was emitted until then stays proven.
    pub(in crate::engine) async fn read(&self, region: Span, sink: &dyn Sink) -> Result<(), Ended> {
        match self.learned.dates() {
            DateSupport::Kept => self.dated(region, sink).await,
            DateSupport::Ignored => self.undated(region, sink).await,
        }
    }

    /// Reads a region of a list that respects the dates.
    async fn dated(&self, region: Span, sink: &dyn Sink) -> Result<(), Ended> {
        sink.room(PagesAsked::default()).await?;
        let (mut first, mut asked, mut asked_at) = match self.opened(region, sink).await? {
            Some((page, asked, asked_at)) => {
                within_dates(&page, asked, DateSupport::Kept)?;
                (page, asked, asked_at)
            }
            None => {
                let asked = region.outward();
                let (page, asked_at) = self.page(self.first(asked), DateSupport::Kept, sink).await?;
                (page, asked, asked_at)
            }
        };
        for _ in 0..MAX_SIZES {
            match self.second(&first, asked, DateSupport::Kept, sink).await? {
                Second::Fits => break,
                Second::Smaller => {
                    asked = region.outward();
                    (first, asked_at) = self.page(self.first(asked), DateSupport::Kept, sink).await?;
                }
                Second::Missing => return self.cut(region, Some((first, asked_at)), sink).await,
            }
        }
        let beliefs = self.learned.beliefs();
        let dates = DateSupport::Kept;
        if !Walk::suits(&first, dates, &beliefs, &self.subject.filters) {
            return self.cut(region, Some((first, asked_at)), sink).await;
        }
        let goal = WalkGoal { region, dates, ending: self.learned.ending(), asked_at };
        let mut walk = Walk::new(goal, self.learned.order(), beliefs);
        match self.number(&mut walk, asked, first, sink).await? {
            Walked::Whole => Ok(()),
            Walked::Broken { rest, seen } => self.repair(rest, seen, sink).await.map(|_| ()),
            Walked::Repeated { rest } => self.cut(rest, None, sink).await,
            Walked::Short => self.short(&walk, sink).await,
        }
    }

    /// Requests a second page if the first has fewer rows than requested although `has_more` or `total` says
    /// that there are more, or although nothing says that there are none: pages may be smaller than they
    /// should be.
    async fn second(
        &self,
        first: &Page,
        asked: Span,
        dates: DateSupport,
        sink: &dyn Sink,
    ) -> Result<Second, Ended> {
        let beliefs = self.learned.beliefs();
        let rows = first.rows.len();
        let promises = beliefs.has_more && first.has_more;
        let lacks = beliefs.lacks(first.total, rows as u64);
        let is_silent = beliefs.has_more && beliefs.numbers && !first.has_flag;
        if rows == 0 || rows >= beliefs.size() as usize || !(promises || lacks || is_silent) {
            return Ok(Second::Fits);
        }
        if promises || lacks {
            self.follow_up(asked, "its pages are cut off")?;
        }
        let of = PageOf { number: 2, ..self.first(asked) };
        let (second, _) = self.page(of, dates, sink).await?;
        let seen: HashSet<&RowId> = first.rows.iter().map(|row| &row.id).collect();
        if second.rows.iter().any(|row| !seen.contains(&row.id)) {
            if !first.has_more {
                self.learned.disbelieve_has_more();
            }
            self.is_smaller(rows, asked, dates, sink).await?;
            return Ok(Second::Smaller);
        }
        if second.rows.is_empty() && (promises || is_silent) {
            self.learned.disbelieve_has_more();
        } else if promises {
            return Err(inconsistent(asked, REPEATS));
        } else if is_silent && second.rows.len() == rows {
            // The number of a page means nothing: the list is on one page.
            self.learned.disbelieve_numbers();
        } else {
            return Ok(Second::Missing);
        }
        Ok(if lacks { Second::Missing } else { Second::Fits })
    }

    /// Handles a walk that ended before its total was reached. Reads the part that it did not emit in smaller
    /// spans. If that does not explain the difference, checks the part that it did emit.
    async fn short(&self, walk: &Walk, sink: &dyn Sink) -> Result<(), Ended> {
        // A waiter that has all pieces leaves, so the last ones are emitted when everything is explained.
        let left = Buffer::of(sink);
        let mut given = Some(walk.region());
        if let Some(rest) = walk.rest() {
            let found = self.repair(rest, walk.seen(), &left).await?.saturating_sub(walk.held());
            if found > 0 {
                self.learned.disbelieve_has_more();
            }
            given = walk.region().after(rest.to()).filter(|_| (found as u64) < walk.missing());
        }
        if let Some(given) = given.filter(|_| self.learned.beliefs().total) {
            self.look_again(walk, given, sink).await?;
        }
        left.into_pieces().into_iter().for_each(|piece| sink.give(piece));
        Ok(())
    }

    /// Looks for rows that a walk omitted from a span that it emitted.
    ///
    /// # Errors
    /// There are some.
    async fn look_again(&self, walk: &Walk, given: Span, sink: &dyn Sink) -> Result<(), Ended> {
        let asked = given.outward();
        let (page, asked_at) = self.page(self.first(asked), DateSupport::Kept, sink).await?;
        if !self.learned.beliefs().lacks(page.total, walk.seen_within(asked) as u64) {
            return Ok(());
        }
        let buffer = Buffer::of(sink);
        self.cut(given, Some((page, asked_at)), &buffer).await?;
        let rows: usize = buffer.into_pieces().iter().map(|piece| piece.rows.len()).sum();
        if rows > walk.seen_within(given) {
            self.learned.disbelieve_numbers();
            return Err(Ended::Disordered);
        }
        Ok(())
    }

    /// Reads a region of a list of everything. Walks it again if the proof fails, because no part of it can
    /// be requested separately. Without totals, or after several walks, reads it in rounds.
    async fn undated(&self, region: Span, sink: &dyn Sink) -> Result<(), Ended> {
        let mut left = region;
        for _ in 0..MAX_WALKS {
            let asked = left.outward();
            sink.room(PagesAsked::default()).await?;
            let (first, asked_at) = self.page(self.first(asked), DateSupport::Ignored, sink).await?;
            let dates = DateSupport::Ignored;
            let is_silent = !first.has_flag && !first.has_more;
            if is_silent && matches!(self.second(&first, asked, dates, sink).await?, Second::Smaller) {
                continue;
            }
            let beliefs = self.learned.beliefs();
            if !Walk::suits(&first, dates, &beliefs, &self.subject.filters) {
                break;
            }
            let goal = WalkGoal { region: left, dates, ending: self.learned.ending(), asked_at };
            let mut walk = Walk::new(goal, self.learned.order(), beliefs);
            match self.number(&mut walk, asked, first, sink).await? {
                Walked::Whole => return Ok(()),
                Walked::Broken { rest, .. } | Walked::Repeated { rest } => left = rest,
                Walked::Short => match walk.rest() {
                    Some(rest) => left = rest,
                    None => return Ok(()),
                },
            }
            self.learned.repaired();
        }
        self.rounds(left, left.outward(), DateSupport::Ignored, sink).await
    }

    /// Reads the rest of a broken walk: cut where rows were seen, several pieces at once, emitted in order.
    /// Returns the number of rows.
    async fn repair(&self, rest: Span, seen: Vec<Timestamp>, sink: &dyn Sink) -> Result<usize, Ended> {
        self.learned.repaired();
        let pieces = cut_at(rest, seen, self.learned.beliefs().rows_a_piece());
        let reads = pieces.into_iter().map(|piece| async move {
            let buffer = Buffer::of(sink);
            let end = self.cut(piece, None, &buffer).await;
            (end, buffer.into_pieces())
        });
        let mut done = pin!(futures_util::stream::iter(reads).buffered(self.fan_out));
        let mut rows = 0;
        while let Some((end, pieces)) = done.next().await {
            rows += pieces.iter().map(|piece| piece.rows.len()).sum::<usize>();
            pieces.into_iter().for_each(|piece| sink.give(piece));
            end?;
        }
        Ok(rows)
    }
}
