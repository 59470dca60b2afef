//! The work that the benchmarks time. `cargo bench -p benches` times our code alone;
//! `cargo x compare` times it against PyTorch, with one process per side that does the same work on
//! request.

pub mod generation;
pub mod memory;
pub mod train_step;
pub mod policy_update;
pub mod operation;
pub mod work;
