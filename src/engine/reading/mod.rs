//! Shared reads: each is a task of its own, which outlives the caller that started it.
//!
//! A plan registers a reading for every span that it wants, or joins a registered one. A reading starts when
//! an answer first needs it. It proves pieces from its newest instant downward, stores each as entries, adds
//! it to the coverage, and keeps it in its buffer until all waiters have taken it. A waiter that joins late,
//! or is slow, no longer finds a piece in the buffer and looks it up in the coverage instead.
//!
//! While all waiters are streams, a reading stays at most a fan-out of pages ahead of the fastest. When the
//! last waiter leaves, the reading is canceled at once, whatever it waits for. Everything that it has proven
//! is kept.

mod buffer;
mod cut;
mod first_page;
mod numbered;
mod reader;
mod shared;
mod sink;
mod turn;
mod waiter;
mod walking;

pub(super) use self::first_page::Prefetch;
pub(super) use self::reader::Reader;
pub(super) use self::shared::{FoundPiece, Keep, Purpose, ReadAhead, Reading, ReadingSink, RequestStage};
pub(super) use self::sink::Ended;
pub(super) use self::waiter::ReadWaiter;
