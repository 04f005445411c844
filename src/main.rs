//! Picks a command.

use fanfold::cli::{self, Exit};
use fanfold::config::Command;

/// Responses are short-lived large buffers of many sizes, for which the system's allocator keeps twice the memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Exit {
    match cli::command(std::env::args_os(), std::env::vars_os()) {
        Ok(Command::Serve(settings)) => cli::serve(&settings),
        Ok(Command::Simulate(settings)) => cli::simulate(&settings),
        Ok(Command::Demo(settings)) => cli::demo(&settings),
        Ok(Command::Export(settings)) => cli::export(&settings),
        Ok(Command::TokenNew(settings)) => cli::token_new(&settings),
        Ok(Command::TierCheck(settings)) => cli::tier_check(&settings),
        Err(exit) => exit,
    }
}
