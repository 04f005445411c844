//! Carries HTTP/1.1 and h2c on one port to an axum router, and knows when to let go.
//!
//! # Flow
//! [`serve`] accepts, within a bound; each connection is a task of its own ([`connection`]) that hyper-util drives.
//! Beside it stands a [`watch`] over what the connection does, as its socket ([`io`]) and its answers ([`body`]) tell
//! through their [`flow`]: a client that takes nothing, sends half a head, or keeps an idle connection is let go. A stream of
//! HTTP/2 is judged by what its client takes of it alone ([`taking`]). Unfinished heads have one bound of memory ([`heads`]), and where
//! there are too many connections, idle ones make room ([`roster`]).
//! [`stop`] is the order of stopping, and [`drain_grace`] tells streams to slow readers to end while there is time to say so.
//!
//! # Why not `axum::serve`
//! It sets none of these limits, and its graceful shutdown waits for ever on a stream that nobody reads.
//!
//! # Why stalls are not found in the body
//! A body is polled only when there is room for what it gives. Once the socket (or the h2 stream's window) is full,
//! nobody polls it any more, and a timer inside it never fires.

mod accept;
mod body;
mod connection;
mod drain_grace;
mod flow;
mod heads;
mod io;
mod limits;
mod roster;
pub mod stop;
mod taking;
#[cfg(test)]
mod tests;
mod watch;
pub mod watchdog;

pub use accept::serve;
pub use limits::ServerLimits;
