//! The HTTP interface: paths, parameters, authorization, and the presentation of responses.
//!
//! A request passes [`access_log`] (which assigns its id, logs it, and is the one place where a
//! [`Problem`](problem::Problem) is rendered), CORS if configured, the [`router`], and a handler. A handler
//! authorizes the request ([`authorized`]), parses it, calls the engine and presents the answer. Only the
//! engine knows where a row came from.
//!
//! Nothing is spawned: a body is pulled by its reader and holds its place among the responses in progress.
//! Dropping it, at its end or because the client left, releases everything that it holds.

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
mod response_terms;
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

/// The OpenAPI description, as served at `/openapi.yaml`.
pub const OPENAPI: &str = include_str!("../../openapi.yaml");
