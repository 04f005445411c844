//! Serves HTTP/1.1 and h2c on one port with an axum router, and closes connections that misbehave.
//!
//! # Flow
//! [`serve`] accepts a bounded number of connections. Each runs in its own task ([`connection`]), driven by hyper-util.
//! The socket ([`io`]) and the responses ([`body`]) of a connection record what they do in its [`flow`]. [`watch`] reads the
//! flow and closes the connection of a client that reads nothing, sends half a head, or stays idle. An HTTP/2 stream is
//! judged only by what its client reads of that stream ([`stream_progress`]). One bound limits the memory of all unfinished
//! heads ([`heads`]). When there are too many connections, idle ones are closed ([`roster`]). [`stop`] defines the order of
//! stopping, and [`drain_grace`] ends streams to slow readers while there is still time to send an end record.
//!
//! # Why not `axum::serve`
//! It sets none of these limits, and its graceful shutdown waits forever for a stream that nobody reads.
//!
//! # Why stalls are not detected in the body
//! A body is polled only when there is room for its next bytes. Once the socket or the h2 stream's window is full, nobody
//! polls it, and a timer inside it never fires.

mod accept;
mod body;
mod connection;
mod drain_grace;
mod flow;
mod flushes;
mod heads;
mod io;
mod limits;
mod roster;
pub mod stop;
mod stream_progress;
#[cfg(test)]
mod tests;
mod watch;
pub mod watchdog;

pub use accept::serve;
pub use limits::ServerLimits;
