//! The hot loops, each by itself: `cargo bench`.
//!
//! What the whole program takes beside others is `scripts/bench`.

mod answers;
mod pages;
mod plans;

/// The program's own, see `main.rs`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion::criterion_group!(loops, pages::split, plans::plan, answers::warm);
criterion::criterion_main!(loops);
