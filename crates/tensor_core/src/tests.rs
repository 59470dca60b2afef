//! The claims that this crate makes, one module per topic.

mod adamw;
mod ops;
mod parameters;
mod rng;
mod files;
mod fused;
mod golden;
mod testing;
