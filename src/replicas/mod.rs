//! A tier in Redis or Valkey, which several replicas share.

#![expect(dead_code, reason = "nothing opens it yet")]

mod backoff;
mod connection;
mod link;
mod reply;
mod server;
mod settings;
#[cfg(test)]
mod testing;

pub use self::settings::{ServerAddress, ServerSettings};
