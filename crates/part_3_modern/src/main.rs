//! Program of part 3.

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

fn main() -> std::process::ExitCode {
    experiment::program::run(modern::command::parse_and_run)
}
