//! The words of the field as types: what an execution, a page, a span of time, a filter is.
//!
//! Nothing here knows HTTP, a clock or a file; whatever is built from these types was checked once, at the edge.

mod agent;
mod caller;
mod credential;
mod entry;
mod filters;
mod length;
mod row;
mod span;
mod status;
mod timestamp;

pub use agent::{AgentId, NotAnAgentId};
pub use caller::{Caller, CallerId, PeerGroup};
pub use credential::{Credential, CredentialId};
pub use entry::{DerivedBudget, DerivedStats, Digest, Entry, EntryRow, EntrySlice, LineBreaks, NewRow, Runs};
pub use filters::{BatchId, CallType, Filters, NotAFilterValue, Provider};
pub use length::parse_length;
pub use row::{AgentFacts, MAX_PAGE_SIZE, Page, PageOf, Row, RowId};
pub use span::Span;
pub use status::{Status, Statuses};
pub use timestamp::{Rounding, Timestamp};
