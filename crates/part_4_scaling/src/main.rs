//! Program of part 4.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

fn main() -> ExitCode {
    experiment::program::exit_code(|| scaling::command::parse_and_run(std::env::args_os()))
}
