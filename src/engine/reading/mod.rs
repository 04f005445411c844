//! A read that many may wait for: a task of its own, that outlives whoever began it.
//!
//! Flow: a plan registers a reading for every span it wants; whoever wants a span that is being read already waits
//! for that one. A reading starts when an answer first looks for it. It proves pieces from its newest instant
//! downwards, lays each out, puts it into what is known, and keeps it on its shelf until those who wait have taken
//! it. Who comes late, or dawdles, finds a piece gone from the shelf and looks in what is known instead.
//!
//! Bounds: while all who wait are streams, a reading stays no more than a fan-out of pages ahead of the fastest. When
//! the last of those who wait leaves, it is canceled at once, whatever it waits for. What it proved until then is kept.

mod cut;
mod first_page;
mod reader;
mod shared;
mod sink;
mod waiter;
mod walking;

pub(super) use self::first_page::Prefetch;
pub(super) use self::reader::Reader;
pub(super) use self::shared::{FoundPiece, Keep, Purpose, ReadAhead, Reading, ReadingSink, RequestStage};
pub(super) use self::sink::Ended;
pub(super) use self::waiter::ReadWaiter;
