//! Program of part 10.

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

fn main() -> std::process::ExitCode {
    experiment::program::run(dpo::command::parse_and_run)
}
