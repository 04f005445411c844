//! Tests of the whole crate, in one binary so that it links once.

mod imports;
mod layers;
mod log_targets;
mod openapi;
mod sizes;
mod type_names;
