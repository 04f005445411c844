//! The vocabulary as types: execution rows, pages, spans of time, filters.
//!
//! Nothing here knows HTTP, clocks or files. Values of these types were validated once, at the edge, and can be trusted.

mod agent;
mod caller;
mod credential;
mod entry;
mod facts;
mod filters;
mod length;
mod row;
mod row_id;
mod span;
mod status;
mod timestamp;
mod words;

pub use agent::{AgentId, NotAnAgentId};
pub use caller::{Caller, CallerId, PeerGroup};
pub use credential::{Credential, CredentialId};
pub use entry::{
    ColumnId, DerivedBudget, DerivedStats, Digest, Entry, EntryIndex, EntryRow, EntryRows, EntrySlice,
    IndexRow, LineBreaks, NewRow, NumberCell, NumberColumn, RowChange, Runs, ValueColumn, WordColumn,
};
pub use facts::{BatchFact, FilterFacts, FilterMatch, StatedFacts};
pub use filters::{BatchId, CallType, Filters, NotAFilterValue, Provider};
pub use length::parse_length;
pub use row::{AgentFacts, MAX_PAGE_SIZE, Page, PageOf, Row};
pub use row_id::{RowId, RowIdForm};
pub use span::Span;
pub use status::{Status, Statuses};
pub use timestamp::{Rounding, Timestamp};
pub use words::WordTable;
