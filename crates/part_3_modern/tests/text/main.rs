//! Text in and out: tokenizers, chat templates, and where they are downloaded from.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod chat_template;
mod conversation;
#[path = "../golden/tokenizers.rs"]
mod golden_tokenizers;
mod hub;
mod server;
mod tokenizer;
