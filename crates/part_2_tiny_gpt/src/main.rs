//! Program of part 2.

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

fn main() -> std::process::ExitCode {
    experiment::program::run(tiny_gpt::command::parse_and_run)
}
