//! A tier in Redis or Valkey, which several replicas share.

#![expect(dead_code, reason = "nothing opens it yet")]

mod backoff;
mod budget;
mod connection;
mod link;
mod reply;
mod server;
mod settings;
#[cfg(test)]
mod testing;

pub use self::budget::{BudgetScope, BudgetTerms, SharedBudget};
pub use self::settings::{ServerAddress, ServerSettings};
