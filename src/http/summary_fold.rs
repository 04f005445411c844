//! Totals of an answer's rows, which are released as they are added up.

use std::io;
use std::sync::Arc;

use crate::domain::{AgentId, Entry, Timestamp};
use crate::encode::CompressionPool;
use crate::engine::{Answer, AskError, Gathered, Verdict};
use crate::shape::Zone;
use crate::shape::totals::{Facts, SummaryQuestion, Totals, TotalsError};

/// How to make totals of an answer. Clones are equal.
#[derive(Clone, Debug)]
pub(super) struct TotalsFold {
    pub(super) totals: Arc<SummaryQuestion>,
    pub(super) zone: Zone,
}

/// The totals of all rows.
#[derive(Debug)]
pub(super) struct Folded {
    pub(super) totals: Totals,
    pub(super) verdict: Verdict,
    /// When the newest row was created.
    pub(super) newest: Timestamp,
}

impl TotalsFold {
    /// Totals of nothing.
    pub(super) fn none(&self) -> Totals {
        Totals::new(Arc::clone(&self.totals), self.zone.clone())
    }

    /// Adds up all rows.
    pub(super) async fn fold(
        &self,
        mut answer: Answer,
        agent: AgentId,
        pool: &CompressionPool,
    ) -> Result<Result<Folded, TotalsError>, AskError> {
        let (mut totals, mut newest) = (self.none(), Timestamp::MIN);
        while let Some(gathered) = answer.gather().await? {
            match gathered {
                Gathered::Rows(slice) => {
                    // Fails only if the runtime ends.
                    let facts = self.facts(&slice.entry, pool).await.map_err(|_| AskError::ShuttingDown)?;
                    let rows = slice.positions().map(|position| {
                        let row = slice.entry.rows().at(position);
                        (position, row.is_dated.then_some(row.created_at))
                    });
                    if let Err(error) = totals.add(agent, &facts, rows) {
                        return Ok(Err(error));
                    }
                    newest = slice.rows().map(|row| row.created_at).max().unwrap_or(newest).max(newest);
                }
                Gathered::Restarted => (totals, newest) = (self.none(), Timestamp::MIN),
            }
        }
        Ok(Ok(Folded { totals, verdict: answer.verdict(), newest }))
    }

    /// The values of an entry's rows that the totals need: from stored columns, or from the bytes, which are
    /// parsed off the workers unless they are few.
    async fn facts(&self, entry: &Arc<Entry>, pool: &CompressionPool) -> io::Result<Facts> {
        if let Some(columns) = entry.columns(self.totals.columns()) {
            return Ok(Facts::of_columns(&self.totals, columns));
        }
        let (entry, totals, work) = (Arc::clone(entry), Arc::clone(&self.totals), entry.byte_len());
        let read = move || {
            // Rows were read as JSON objects when they arrived.
            let facts = entry.read_rows(|rows| Facts::read(&totals, rows))?.map_err(io::Error::other)?;
            for (id, column) in facts.columns(&totals) {
                entry.index().keep_column(id, Arc::clone(column));
            }
            Ok(facts)
        };
        pool.run(work, read).await
    }
}
