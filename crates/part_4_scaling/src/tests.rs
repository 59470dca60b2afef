//! Unit tests of this part, section by section.

mod bpe;
mod gpt2;
mod tokenizer_training;
mod text_files;
mod documents;
mod data;
mod precision;
mod schedule;
mod checkpoints;
mod settings;
mod alarms;
mod tensorboard;
mod wandb;
mod training;
