//! Whole model folders: configuration, weights, tokenizer and template, opened as a command opens
//! them; a model that opens computes.
#![no_main]

use std::cell::RefCell;

use candle_core::{Device, Tensor};
use fuzz::{Scratch, json_target, small_model};
use model_io::LoadMode;
use modern::Checkpoint;
use serde_json::Value;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new("model_folder"));
    static TOKENIZER: String = small_model::tokenizer_json().to_string();
}

fn run(document: Value) {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.write_files(&document);
        if document["tokenizer.json"].is_null() {
            TOKENIZER.with(|tokenizer| scratch.write("tokenizer.json", tokenizer));
        }
        let source = scratch.path().display().to_string();
        let Ok(checkpoint) = Checkpoint::open(&source, LoadMode::Inference, &Device::Cpu) else {
            return;
        };
        let config = checkpoint.model.config();
        let n = config.context_len.min(3);
        let ids: Vec<u32> = (0..n).map(|id| (id % config.vocab_size) as u32).collect();
        let ids = Tensor::new(ids, &Device::Cpu).and_then(|ids| ids.unsqueeze(0));
        let hidden = checkpoint.model.hidden_states(&ids.expect("memory suffices"));
        let logits = checkpoint.model.logits(&hidden.expect("a model that opens computes"));
        let (_, _, v) = logits.and_then(|logits| logits.dims3()).expect("it has logits");
        assert_eq!(v, config.vocab_size);
    });
}

json_target!("model_folder.dict", run);
