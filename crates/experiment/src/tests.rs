//! Unit tests of this crate, file by file.

mod checkpoints;
mod alarms;
mod tensorboard;
mod wandb;
