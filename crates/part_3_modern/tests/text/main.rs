//! Text in and out: tokenizers, chat templates, and where they are downloaded from.

mod tokenizer;
