//! The public face: paths, parameters, who may ask, what an answer looks like.
//!
//! A request goes through [`access_log`] (its id, its line in the log, and the one place where a [`Problem`] is written
//! down), perhaps CORS, the [`router`], and a handler. A handler finds out who asks about what ([`authorized`]), parses, calls the
//! engine and presents. Where a row came from is not known here but by what the engine says of it.
//!
//! Nothing is spawned: a body is pulled by its reader, holds its place among the questions under way, and whatever it
//! holds goes when it is dropped, be it at its end or because the client left.

pub mod auth;
pub mod problem;

mod access_log;
mod admin;
mod agent_list;
mod all;
mod all_sections;
mod app;
mod authorized;
mod body;
mod changes;
mod changes_body;
mod changes_params;
mod changes_sections;
mod console;
mod cors;
mod docs;
mod executions;
mod fields;
mod forward;
#[cfg(any(test, fuzzing))]
pub mod fuzzed;
mod host;
mod negotiate;
mod page;
mod params;
mod places;
mod prefer;
mod present;
mod projection;
mod question;
mod recheck;
mod router;
mod status;
mod summary;
mod summary_fold;
mod summary_params;
mod summary_sections;
#[cfg(test)]
mod testing;
mod unread;

pub use self::app::{AdminApp, App, HttpSettings, Observer};
pub use self::forward::{Forwarded, Forwarding};
pub use changes_params::CHANGES_PARAMETERS;
pub use page::PAGE_PARAMETERS;
pub use question::ALL_PARAMETERS;
pub use router::{admin, public};
pub use summary_params::SUMMARY_PARAMETERS;

/// The description of the public face, as it is served at `/openapi.yaml`.
pub const OPENAPI: &str = include_str!("../../openapi.yaml");
