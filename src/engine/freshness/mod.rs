//! How long data stays fresh: pure functions of a row, a policy and the time.

mod policy;
mod stagger;
mod stretch;

pub(super) use self::policy::{Class, Due, Membership, Policy};
pub(super) use self::stagger::Stagger;
pub(super) use self::stretch::TtlStretch;
