//! Tokenizers, chat templates, and downloads from the Hub.
#![allow(clippy::unwrap_used, reason = "test helpers may unwrap")]

mod added_tokens;
mod chat_template;
mod conversation;
#[path = "../golden/tokenizers.rs"]
mod golden_tokenizers;
mod hub;
mod jinja;
mod server;
mod tokenizer;
