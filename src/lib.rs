//! fanfold: every execution of a voice agent from one request.
//!
//! ARCHITECTURE.md explains how the modules fit together.

pub mod cache;
pub mod cli;
pub mod clock;
pub mod config;
#[cfg(test)]
mod corpus_tests;
pub mod deflate;
pub mod directory;
pub mod domain;
pub mod encode;
pub mod engine;
pub mod export;
pub mod forward;
pub mod http;
pub mod replicas;
pub mod sealed;
pub mod server;
pub mod shape;
pub mod shutdown;
pub mod simulator;
pub mod source;
pub mod store;
pub mod telemetry;
pub mod tier;
pub mod upstream;
