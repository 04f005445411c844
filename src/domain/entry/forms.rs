use std::any::Any;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

use super::derived_budget::{DerivedBudget, DerivedForm, EvictionLevel, FormId, Fresh, KeptForm};
use super::{Entry, Runs};
use crate::deflate::{Deflated, Effort, Separator};

/// The assumed compression ratio of rows that are not deflated yet.
pub(super) const USUAL_RATIO: usize = 5;

/// The most pieces of an entry that are kept: the edges of ranges for a few dashboards, and the results of a filter or two.
const MOST_PIECES: usize = 4;

/// The most extracts of an entry that are kept: the tables and totals of a few dashboards.
const MOST_EXTRACTS: usize = 8;

/// The forms in which an entry's bytes are held.
///
/// Rows arrive uncompressed. Once they are deflated, that is the form that is held. All other forms are derived from it on
/// demand, and kept while the [`DerivedBudget`] has room: plain bytes with either separator, blocks with commas, some of
/// the rows deflated separately. An entry that is not in a store has no budget, and stays as it arrived.
///
/// # Invariants
/// The rows are held uncompressed as they arrived, or deflated, or both.
#[derive(Debug)]
pub(super) struct Forms {
    held: Mutex<HeldForms>,
    /// Held while deflating, so that only one caller does it.
    deflating: Mutex<()>,
    derived_budget: OnceLock<Arc<DerivedBudget>>,
}

/// An extract of an entry's rows, of whatever type its maker gave it.
type AnyExtract = Arc<dyn Any + Send + Sync>;

#[derive(Debug)]
struct HeldForms {
    fresh: Option<Fresh>,
    deflated: Option<Arc<Deflated>>,
    lines: Option<KeptForm<Bytes>>,
    commas: Option<KeptForm<Bytes>>,
    /// The deflated rows with commas between them.
    blocks: Option<KeptForm<Bytes>>,
    /// The newest is last.
    pieces: Vec<(Runs, KeptForm<Arc<Deflated>>)>,
    /// By name; the newest is last.
    extracts: Vec<(Arc<str>, KeptForm<AnyExtract>)>,
}

impl HeldForms {
    const fn kept(&mut self, separator: Separator) -> &mut Option<KeptForm<Bytes>> {
        match separator {
            Separator::Line => &mut self.lines,
            Separator::Comma => &mut self.commas,
        }
    }

    fn plain(&mut self, separator: Separator) -> Option<Bytes> {
        if let Some(kept) = self.kept(separator) {
            return Some(kept.used());
        }
        match separator {
            Separator::Line => self.fresh.as_ref().map(Fresh::bytes),
            Separator::Comma => None,
        }
    }
}

impl Forms {
    /// Creates the forms from bytes as they arrived, with a line feed after each row.
    pub(super) const fn of(lines: Bytes) -> Self {
        let held = HeldForms {
            fresh: Some(Fresh::new(lines)),
            deflated: None,
            lines: None,
            commas: None,
            blocks: None,
            pieces: Vec::new(),
            extracts: Vec::new(),
        };
        Self { held: Mutex::new(held), deflating: Mutex::new(()), derived_budget: OnceLock::new() }
    }

    fn lock(&self) -> MutexGuard<'_, HeldForms> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn live_within(&self, entry: &Arc<Entry>, derived_budget: &Arc<DerivedBudget>) {
        if self.derived_budget.set(Arc::clone(derived_budget)).is_err() {
            return;
        }
        if let Some(fresh) = &mut self.lock().fresh {
            fresh.count(derived_budget);
        }
        self.let_fresh_go(entry);
    }

    /// Drops the bytes as they arrived if the rows are deflated, unless there is room for both.
    fn let_fresh_go(&self, entry: &Arc<Entry>) {
        let Some(derived_budget) = self.derived_budget.get() else { return };
        let fresh = {
            let mut held = self.lock();
            if held.deflated.is_none() {
                return;
            }
            held.fresh.take()
        };
        // The budget is never asked under this lock, because it asks entries under its own.
        let kept = fresh.and_then(|fresh| {
            let (lines, derived) = (fresh.bytes(), DerivedForm::Plain(Separator::Line));
            let length = lines.len();
            derived_budget.keep_if_free(entry, derived, lines, length)
        });
        if let Some(kept) = kept {
            self.lock().lines.get_or_insert(kept);
        }
    }

    /// Returns every row with a line feed after it, without keeping the result.
    pub(super) fn lines(&self) -> io::Result<Bytes> {
        let deflated = {
            let held = self.lock();
            if let Some(fresh) = &held.fresh {
                return Ok(fresh.bytes());
            }
            match (&held.lines, &held.deflated) {
                (Some(lines), _) => return Ok(lines.form()),
                (None, Some(deflated)) => Arc::clone(deflated),
                (None, None) => return Err(io::Error::other("an entry without bytes")),
            }
        };
        Ok(deflated.inflate()?.into())
    }

    pub(super) fn has_plain(&self, separator: Separator) -> bool {
        let mut held = self.lock();
        held.kept(separator).is_some() || (separator == Separator::Line && held.fresh.is_some())
    }

    pub(super) fn plain(&self, entry: &Arc<Entry>, separator: Separator) -> io::Result<Bytes> {
        if let Some(plain) = self.lock().plain(separator) {
            return Ok(plain);
        }
        let lines = self.lines()?;
        let plain = match separator {
            Separator::Line => lines,
            Separator::Comma => {
                // Copied only if the lines are shared.
                let mut commas = Vec::from(lines);
                entry.ends.iter().for_each(|&end| commas[end] = separator.byte());
                commas.into()
            }
        };
        let keep = |derived_budget: &Arc<DerivedBudget>| {
            derived_budget.keep(entry, DerivedForm::Plain(separator), plain.clone(), plain.len())
        };
        if let Some(kept) = self.derived_budget.get().and_then(keep) {
            self.lock().kept(separator).get_or_insert(kept);
        }
        Ok(plain)
    }

    pub(super) fn blocks(&self, entry: &Arc<Entry>, deflated: &Deflated, separator: Separator) -> Bytes {
        match separator {
            Separator::Line => return deflated.blocks(separator),
            Separator::Comma => {}
        }
        // The rows may have been deflated harder in the meantime; the content is the same, but the length differs.
        let is_of = |blocks: &Bytes| blocks.len() == deflated.deflated_len();
        if let Some(kept) = self.lock().blocks.as_mut().map(KeptForm::used).filter(is_of) {
            return kept;
        }
        let blocks = deflated.blocks(separator);
        // Cheap to make, so no other form is dropped for it.
        let keep = |derived_budget: &Arc<DerivedBudget>| {
            derived_budget.keep_if_free(entry, DerivedForm::Commas, blocks.clone(), blocks.len())
        };
        if let Some(kept) = self.derived_budget.get().and_then(keep) {
            self.lock().blocks = Some(kept);
        }
        blocks
    }

    pub(super) fn has_piece(&self, runs: &Runs) -> bool {
        self.lock().pieces.iter().any(|(kept, _)| kept == runs)
    }

    pub(super) fn piece(&self, entry: &Arc<Entry>, runs: &Runs) -> io::Result<Arc<Deflated>> {
        let is_it = |(kept, _): &&mut (Runs, _)| kept == runs;
        if let Some((_, piece)) = self.lock().pieces.iter_mut().find(is_it) {
            return Ok(piece.used());
        }
        let all = self.lines()?;
        let (mut lines, mut ends) = (Vec::new(), Vec::new());
        for run in runs {
            let range = entry.byte_range(run.clone());
            ends.extend(entry.ends[run.clone()].iter().map(|end| lines.len() + end - range.start));
            lines.extend_from_slice(&all[range]);
        }
        let piece = Arc::new(Deflated::new(&lines, &ends, Effort::Arrival)?);
        let bytes = piece.weight();
        let keep = |derived_budget: &Arc<DerivedBudget>| {
            derived_budget.keep(entry, DerivedForm::Piece, Arc::clone(&piece), bytes)
        };
        if let Some(kept) = self.derived_budget.get().and_then(keep) {
            let mut held = self.lock();
            held.pieces.retain(|(of, _)| of != runs);
            if held.pieces.len() == MOST_PIECES {
                held.pieces.remove(0);
            }
            held.pieces.push((runs.clone(), kept));
        }
        Ok(piece)
    }

    pub(super) fn has_extract(&self, name: &str) -> bool {
        self.lock().extracts.iter().any(|(kept, _)| **kept == *name)
    }

    /// The extract of this name, if it is kept.
    pub(super) fn extract<T: Any + Send + Sync>(&self, name: &str) -> Option<Arc<T>> {
        let mut held = self.lock();
        let (_, kept) = held.extracts.iter_mut().find(|(kept, _)| **kept == *name)?;
        Arc::downcast(kept.used()).ok()
    }

    /// Keeps an extract of this many bytes if there is room.
    pub(super) fn keep_extract(
        &self,
        entry: &Arc<Entry>,
        name: &Arc<str>,
        extract: Arc<dyn Any + Send + Sync>,
        bytes: usize,
    ) {
        let keep = |derived_budget: &Arc<DerivedBudget>| {
            derived_budget.keep(entry, DerivedForm::Extract, extract, bytes)
        };
        let Some(kept) = self.derived_budget.get().and_then(keep) else { return };
        let mut held = self.lock();
        held.extracts.retain(|(of, _)| of != name);
        if held.extracts.len() == MOST_EXTRACTS {
            held.extracts.remove(0);
        }
        held.extracts.push((Arc::clone(name), kept));
    }

    pub(super) fn deflated_already(&self) -> Option<Arc<Deflated>> {
        self.lock().deflated.clone()
    }

    pub(super) fn deflated(&self, entry: &Arc<Entry>, effort: Effort) -> io::Result<Arc<Deflated>> {
        let enough = |deflated: &Arc<Deflated>| deflated.effort() >= effort;
        if let Some(deflated) = self.deflated_already().filter(enough) {
            return Ok(deflated);
        }
        let _alone = self.deflating.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(deflated) = self.deflated_already().filter(enough) {
            return Ok(deflated);
        }
        let lines = self.lines()?;
        let deflated = Arc::new(Deflated::new(&lines, &entry.ends, effort)?);
        {
            let mut held = self.lock();
            held.deflated = Some(Arc::clone(&deflated));
            held.blocks = None;
        }
        self.let_fresh_go(entry);
        Ok(deflated)
    }

    /// Whether a form is the one with this ticket.
    pub(super) fn keeps(&self, derived: DerivedForm, id: FormId) -> bool {
        let mut held = self.lock();
        match derived {
            DerivedForm::Plain(separator) => held.kept(separator).as_ref().is_some_and(|kept| kept.is(id)),
            DerivedForm::Commas => held.blocks.as_ref().is_some_and(|kept| kept.is(id)),
            DerivedForm::Piece => held.pieces.iter().any(|(_, kept)| kept.is(id)),
            DerivedForm::Extract => held.extracts.iter().any(|(_, kept)| kept.is(id)),
        }
    }

    /// Whether a form stays although room is needed; otherwise it is dropped.
    pub(super) fn spares(&self, derived: DerivedForm, id: FormId, level: EvictionLevel) -> bool {
        let mut held = self.lock();
        match derived {
            DerivedForm::Plain(separator) => spares(held.kept(separator), id, level),
            DerivedForm::Commas => spares(&mut held.blocks, id, level),
            DerivedForm::Piece => {
                held.pieces.retain_mut(|(_, kept)| !kept.is(id) || kept.withstands(level));
                held.pieces.iter().any(|(_, kept)| kept.is(id))
            }
            DerivedForm::Extract => {
                held.extracts.retain_mut(|(_, kept)| !kept.is(id) || kept.withstands(level));
                held.extracts.iter().any(|(_, kept)| kept.is(id))
            }
        }
    }

    pub(super) fn weight(&self, plain: usize) -> usize {
        let held = self.lock();
        match (&held.deflated, self.derived_budget.get()) {
            (Some(deflated), _) => deflated.weight(),
            (None, Some(_)) => plain / USUAL_RATIO,
            (None, None) => plain,
        }
    }
}

fn spares<T>(kept: &mut Option<KeptForm<T>>, id: FormId, level: EvictionLevel) -> bool {
    let is_spared = match kept {
        Some(kept) if kept.is(id) => kept.withstands(level),
        Some(_) | None => return false,
    };
    if !is_spared {
        *kept = None;
    }
    is_spared
}
