//! Unit tests of this crate, file by file.

mod run_folder;
mod model_runs;
mod checkpoints;
mod run;
mod ranks;
mod run_log;
mod selection;
mod train_progress;
mod train_state;
mod reward_history;
mod settings;
mod alarms;
mod tensorboard;
mod wandb;
mod training_memory;
mod statistics;
mod terminal;
