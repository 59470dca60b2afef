//! What this part claims, section by section.

mod bpe;
mod gpt2;
mod tensorboard;
mod text_files;
mod tokenizer_training;
mod documents;
mod schedule;
mod data;
mod precision;
mod checkpoints;
mod settings;
mod wandb;
