use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::column::{ColumnId, ValueColumn};
use super::counted_memory::CountedMemory;

/// The columns of an index. The most recently used are at the end.
#[derive(Debug, Default)]
pub(super) struct HeldColumns(Mutex<Vec<HeldColumn>>);

#[derive(Debug)]
pub(super) struct HeldColumn {
    pub(super) id: ColumnId,
    pub(super) column: Arc<ValueColumn>,
    pub(super) bytes: usize,
    #[expect(dead_code, reason = "held for its drop")]
    pub(super) counted: Option<CountedMemory>,
}

/// Columns with their ids.
pub(super) type NamedColumns = Vec<(ColumnId, Arc<ValueColumn>)>;

impl HeldColumns {
    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<HeldColumn>> {
        self.0.lock()
    }

    pub(super) fn all(&self) -> NamedColumns {
        self.lock().iter().map(|held| (held.id, Arc::clone(&held.column))).collect()
    }
}
