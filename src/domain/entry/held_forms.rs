use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::kept_form::{DerivedForm, EvictionLevel, FormId, Fresh, KeptForm};
use crate::deflate::{Deflated, Separator};

/// Runs of positions in an entry; usually one.
pub type Runs = Vec<Range<usize>>;

/// The forms of one entry, shared with the budget, which may drop some.
pub(super) type SharedForms = Arc<Mutex<HeldForms>>;

/// An extract of an entry's rows, of any type.
pub(super) type AnyExtract = Arc<dyn Any + Send + Sync>;

/// What an entry holds of its rows.
#[derive(Debug, Default)]
pub(super) struct HeldForms {
    /// The rows as they arrived, with a line feed after each.
    pub(super) fresh: Option<Fresh>,
    pub(super) deflated: Option<Arc<Deflated>>,
    pub(super) lines: Option<KeptForm<Bytes>>,
    pub(super) commas: Option<KeptForm<Bytes>>,
    /// The deflated rows with commas between them.
    pub(super) blocks: Option<KeptForm<Bytes>>,
    /// The newest is last.
    pub(super) pieces: Vec<(Runs, KeptForm<Arc<Deflated>>)>,
    /// By name; the newest is last.
    pub(super) extracts: Vec<(Arc<str>, KeptForm<AnyExtract>)>,
}

impl HeldForms {
    pub(super) const fn kept(&mut self, separator: Separator) -> &mut Option<KeptForm<Bytes>> {
        match separator {
            Separator::Line => &mut self.lines,
            Separator::Comma => &mut self.commas,
        }
    }

    pub(super) fn plain(&mut self, separator: Separator) -> Option<Bytes> {
        if let Some(kept) = self.kept(separator) {
            return Some(kept.used());
        }
        match separator {
            Separator::Line => self.fresh.as_ref().map(Fresh::bytes),
            Separator::Comma => None,
        }
    }

    /// Whether the form with this id is still kept.
    pub(super) fn keeps(&mut self, derived: DerivedForm, id: FormId) -> bool {
        match derived {
            DerivedForm::Plain(separator) => self.kept(separator).as_ref().is_some_and(|kept| kept.is(id)),
            DerivedForm::Commas => self.blocks.as_ref().is_some_and(|kept| kept.is(id)),
            DerivedForm::Piece => self.pieces.iter().any(|(_, kept)| kept.is(id)),
            DerivedForm::Extract => self.extracts.iter().any(|(_, kept)| kept.is(id)),
        }
    }

    /// Examines the form with this id when room is needed. Returns whether it stays; otherwise it is dropped.
    pub(super) fn survives(&mut self, derived: DerivedForm, id: FormId, level: EvictionLevel) -> bool {
        match derived {
            DerivedForm::Plain(separator) => survives(self.kept(separator), id, level),
            DerivedForm::Commas => survives(&mut self.blocks, id, level),
            DerivedForm::Piece => {
                self.pieces.retain_mut(|(_, kept)| !kept.is(id) || kept.survives(level));
                self.pieces.iter().any(|(_, kept)| kept.is(id))
            }
            DerivedForm::Extract => {
                self.extracts.retain_mut(|(_, kept)| !kept.is(id) || kept.survives(level));
                self.extracts.iter().any(|(_, kept)| kept.is(id))
            }
        }
    }
}

fn survives<T>(kept: &mut Option<KeptForm<T>>, id: FormId, level: EvictionLevel) -> bool {
    let survives = match kept {
        Some(kept) if kept.is(id) => kept.survives(level),
        Some(_) | None => return false,
    };
    if !survives {
        *kept = None;
    }
    survives
}
