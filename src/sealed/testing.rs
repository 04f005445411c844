//! Folders, secrets, scopes and cells for tests.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::secret::TierSecret;
use crate::domain::{
    AgentId, CredentialId, Digest, Entry, EntryIndex, FilterFacts, NewRow, Row, Span, Timestamp,
};
use crate::store::EntryKey;
use crate::tier::{Cell, CellEntry, CellSegment, TierScope};

/// A temporary folder. Dropping it removes the folder.
#[derive(Debug)]
pub(crate) struct TempFolder(PathBuf);

impl TempFolder {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("fanfold-tier-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A secret with a line for each digit, which repeats it.
pub(crate) fn secret(digits: &[u8]) -> TierSecret {
    let lines: Vec<_> = digits.iter().map(|digit| digit.to_string().repeat(40)).collect();
    TierSecret::parse(lines.join("\n").as_bytes()).unwrap()
}

pub(crate) fn scope(number: u8) -> TierScope {
    TierScope {
        key: [number; 16],
        agent: AgentId::new(uuid::Uuid::from_bytes([number; 16])),
        credential: CredentialId::new([7; 16]),
    }
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

pub(crate) fn span(from: i64, to: i64) -> Span {
    Span::new(at(from), at(to)).unwrap()
}

/// An entry of rows that were created at these seconds, which must be in descending order.
pub(crate) fn entry(created: &[i64], read: i64) -> Arc<Entry> {
    let rows: Vec<_> = created.iter().map(|created| new_row(*created, read)).collect();
    Arc::new(Entry::new(&rows))
}

pub(crate) fn new_row(created: i64, read: i64) -> NewRow {
    let text = format!("{{\"id\":\"row-{created}\",\"said\":\"{}\"}}", "so it was said ".repeat(5));
    let row = Row {
        id: format!("row-{created}").as_str().into(),
        created_at: Some(at(created)),
        updated_at: None,
        facts: FilterFacts::default(),
        status: None,
        bytes: text.into(),
    };
    let digest = Digest(u128::from(created.unsigned_abs()));
    NewRow { row, created_at: at(created), read_at: at(read), is_doubted: false, digest }
}

/// A cell with one segment, which holds all rows of an entry.
pub(crate) fn cell(of: &TierScope, number: u128, span: Span, index: &Arc<EntryIndex>, read: i64) -> Cell {
    let key = EntryKey { scope: of.key, number };
    let rows = (!index.is_empty()).then(|| (0, 0..index.len()));
    let segment =
        CellSegment { span, read_at: at(read), latest_read_at: at(read), is_provisional: false, rows };
    let entries =
        if index.is_empty() { Vec::new() } else { vec![CellEntry { key, index: Arc::clone(index) }] };
    Cell { week: crate::tier::week_of(span.from()), segments: vec![segment], entries, head: None }
}
