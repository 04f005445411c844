use std::any::Any;
use std::io;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;

use super::derived_budget::DerivedBudget;
use super::held_forms::{AnyExtract, HeldForms, Runs, SharedForms};
use super::kept_form::{DerivedForm, Fresh, KeptForm};
use crate::deflate::{Deflated, Effort, Separator};

/// The assumed compression ratio of rows that are not deflated yet.
pub(super) const USUAL_RATIO: usize = 5;

/// The most pieces that an entry keeps: the edges of ranges for a few dashboards, and the results of a filter or two.
const MOST_PIECES: usize = 4;

/// The most extracts that an entry keeps: the tables and totals of a few dashboards.
const MOST_EXTRACTS: usize = 8;

/// The forms in which an entry's bytes are held.
///
/// Rows arrive uncompressed, and are held deflated as soon as they are deflated. All other forms are derived on demand, and kept
/// while the [`DerivedBudget`] has room: plain bytes with either separator, blocks with commas, some of the rows deflated
/// separately, extracts. An entry that is not in a store has no budget, and keeps its rows as they arrived.
///
/// # Invariants
/// The rows are held uncompressed as they arrived, or deflated, or both; not at all in an entry without bytes.
#[derive(Debug)]
pub(super) struct Forms {
    held: SharedForms,
    /// Held while deflating, so that only one caller does it.
    deflating: Mutex<()>,
    derived_budget: OnceLock<Arc<DerivedBudget>>,
}

impl Forms {
    /// The bytes in memory that they take outside of this struct, without rows.
    pub(super) const SHARED: usize = size_of::<Mutex<HeldForms>>();

    /// Creates the forms from bytes as they arrived, with a line feed after each row.
    pub(super) fn of(lines: Bytes) -> Self {
        Self::new(HeldForms { fresh: Some(Fresh::new(lines)), ..HeldForms::default() })
    }

    /// The forms of rows that are deflated already.
    pub(super) fn of_deflated(deflated: Deflated) -> Self {
        Self::new(HeldForms { deflated: Some(Arc::new(deflated)), ..HeldForms::default() })
    }

    /// The forms of rows whose bytes are gone. Asking for one is an error.
    pub(super) fn none() -> Self {
        Self::new(HeldForms::default())
    }

    fn new(held: HeldForms) -> Self {
        Self { held: Arc::new(Mutex::new(held)), deflating: Mutex::new(()), derived_budget: OnceLock::new() }
    }

    pub(super) fn live_within(&self, derived_budget: &Arc<DerivedBudget>) {
        if self.derived_budget.set(Arc::clone(derived_budget)).is_err() {
            return;
        }
        if let Some(fresh) = &mut self.held.lock().fresh {
            fresh.count(derived_budget.room());
        }
        self.release_fresh();
    }

    /// Drops the bytes as they arrived once the rows are deflated, unless there is room for both.
    fn release_fresh(&self) {
        let Some(derived_budget) = self.derived_budget.get() else { return };
        let fresh = {
            let mut held = self.held.lock();
            if held.deflated.is_none() {
                return;
            }
            held.fresh.take()
        };
        // Never calls the budget while it holds this lock, because the budget takes it under its own lock.
        let kept = fresh.and_then(|fresh| {
            let (lines, derived) = (fresh.bytes(), DerivedForm::Plain(Separator::Line));
            let length = lines.len();
            derived_budget.keep_if_free(&self.held, derived, lines, length)
        });
        if let Some(kept) = kept {
            self.held.lock().lines.get_or_insert(kept);
        }
    }

    /// Returns every row with a line feed after it, without keeping the result.
    pub(super) fn lines(&self) -> io::Result<Bytes> {
        let deflated = {
            let held = self.held.lock();
            if let Some(fresh) = &held.fresh {
                return Ok(fresh.bytes());
            }
            match (&held.lines, &held.deflated) {
                (Some(lines), _) => return Ok(lines.form()),
                (None, Some(deflated)) => Arc::clone(deflated),
                (None, None) => return Err(io::Error::other("the rows of this entry have no bytes")),
            }
        };
        Ok(deflated.inflate()?.into())
    }

    pub(super) fn has_plain(&self, separator: Separator) -> bool {
        let mut held = self.held.lock();
        held.kept(separator).is_some() || (separator == Separator::Line && held.fresh.is_some())
    }

    pub(super) fn plain(&self, ends: &[usize], separator: Separator) -> io::Result<Bytes> {
        if let Some(plain) = self.held.lock().plain(separator) {
            return Ok(plain);
        }
        let lines = self.lines()?;
        let plain = match separator {
            Separator::Line => lines,
            Separator::Comma => {
                // Copied only if the lines are shared.
                let mut commas = Vec::from(lines);
                ends.iter().for_each(|&end| commas[end] = separator.byte());
                commas.into()
            }
        };
        if let Some(kept) = self.keep(DerivedForm::Plain(separator), plain.clone(), plain.len()) {
            self.held.lock().kept(separator).get_or_insert(kept);
        }
        Ok(plain)
    }

    pub(super) fn blocks(&self, deflated: &Deflated, separator: Separator) -> Bytes {
        match separator {
            Separator::Line => return deflated.blocks(separator),
            Separator::Comma => {}
        }
        // The rows may have been deflated with more effort in the meantime, which changes the length.
        let is_of = |blocks: &Bytes| blocks.len() == deflated.deflated_len();
        if let Some(kept) = self.held.lock().blocks.as_mut().map(KeptForm::used).filter(is_of) {
            return kept;
        }
        let blocks = deflated.blocks(separator);
        // They are cheap to make, so no other form is dropped for them.
        if let Some(budget) = self.derived_budget.get()
            && let Some(kept) =
                budget.keep_if_free(&self.held, DerivedForm::Commas, blocks.clone(), blocks.len())
        {
            self.held.lock().blocks = Some(kept);
        }
        blocks
    }

    pub(super) fn has_piece(&self, runs: &Runs) -> bool {
        self.held.lock().pieces.iter().any(|(kept, _)| kept == runs)
    }

    pub(super) fn piece(&self, ends: &[usize], runs: &Runs) -> io::Result<Arc<Deflated>> {
        let is_same = |(kept, _): &&mut (Runs, _)| kept == runs;
        if let Some((_, piece)) = self.held.lock().pieces.iter_mut().find(is_same) {
            return Ok(piece.used());
        }
        let all = self.lines()?;
        let (mut lines, mut line_ends) = (Vec::new(), Vec::new());
        for run in runs {
            let range = byte_range(ends, run.clone());
            line_ends.extend(ends[run.clone()].iter().map(|end| lines.len() + end - range.start));
            lines.extend_from_slice(&all[range]);
        }
        let piece = Arc::new(Deflated::new(&lines, &line_ends, Effort::Arrival)?);
        if let Some(kept) = self.keep(DerivedForm::Piece, Arc::clone(&piece), piece.weight()) {
            push_newest(&mut self.held.lock().pieces, MOST_PIECES, runs.clone(), kept);
        }
        Ok(piece)
    }

    pub(super) fn has_extract(&self, name: &str) -> bool {
        self.held.lock().extracts.iter().any(|(kept, _)| **kept == *name)
    }

    /// The extract of this name, if it is kept.
    pub(super) fn extract<T: Any + Send + Sync>(&self, name: &str) -> Option<Arc<T>> {
        let mut held = self.held.lock();
        let (_, kept) = held.extracts.iter_mut().find(|(kept, _)| **kept == *name)?;
        Arc::downcast(kept.used()).ok()
    }

    /// Keeps an extract of this many bytes if there is room.
    pub(super) fn keep_extract(&self, name: &Arc<str>, extract: AnyExtract, bytes: usize) {
        if let Some(kept) = self.keep(DerivedForm::Extract, extract, bytes) {
            push_newest(&mut self.held.lock().extracts, MOST_EXTRACTS, Arc::clone(name), kept);
        }
    }

    fn keep<T>(&self, derived: DerivedForm, form: T, bytes: usize) -> Option<KeptForm<T>> {
        self.derived_budget.get()?.keep(&self.held, derived, form, bytes)
    }

    pub(super) fn deflated_already(&self) -> Option<Arc<Deflated>> {
        self.held.lock().deflated.clone()
    }

    pub(super) fn deflated(&self, ends: &[usize], effort: Effort) -> io::Result<Arc<Deflated>> {
        let enough = |deflated: &Arc<Deflated>| deflated.effort() >= effort;
        if let Some(deflated) = self.deflated_already().filter(enough) {
            return Ok(deflated);
        }
        let _alone = self.deflating.lock();
        if let Some(deflated) = self.deflated_already().filter(enough) {
            return Ok(deflated);
        }
        let lines = self.lines()?;
        let deflated = Arc::new(Deflated::new(&lines, ends, effort)?);
        {
            let mut held = self.held.lock();
            held.deflated = Some(Arc::clone(&deflated));
            held.blocks = None;
        }
        self.release_fresh();
        Ok(deflated)
    }

    pub(super) fn weight(&self, plain: usize) -> usize {
        let held = self.held.lock();
        match (&held.deflated, self.derived_budget.get()) {
            (Some(deflated), _) => deflated.weight(),
            (None, Some(_)) => plain / USUAL_RATIO,
            (None, None) => plain,
        }
    }
}

/// Adds a form as the newest. It replaces one with the same key or, if there are too many, the oldest.
fn push_newest<K: PartialEq, T>(forms: &mut Vec<(K, KeptForm<T>)>, most: usize, key: K, form: KeptForm<T>) {
    forms.retain(|(other, _)| *other != key);
    if forms.len() == most {
        forms.remove(0);
    }
    forms.push((key, form));
}

/// The position of some rows' bytes among all bytes, including the separator after each row. `ends` are the
/// ends of all rows.
pub(super) fn byte_range(ends: &[usize], rows: Range<usize>) -> Range<usize> {
    let start = |row: usize| if row == 0 { 0 } else { ends[row - 1] + 1 };
    start(rows.start)..start(rows.end)
}
