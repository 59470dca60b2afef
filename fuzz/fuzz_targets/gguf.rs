//! GGUF files from a description: key values, tensors, the model and the tokenizer in them.
#![no_main]

use std::cell::RefCell;

use fuzz::{Scratch, gguf_file, json_target, opened_gguf};
use model_io::gguf::{Gguf, MetadataValue};
use serde_json::Value;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new("gguf"));
}

fn run(document: Value) {
    SCRATCH.with_borrow_mut(|scratch| {
        let path = scratch.write("model.gguf", gguf_file::bytes(&document));
        let has_all = document["counts"].is_null();
        if let Some(file) = Gguf::open(&path).ok().filter(|_| has_all) {
            check_metadata(&document["metadata"], &file);
        }
        opened_gguf::check(&path);
    });
}

/// The values of the description are those of the file.
fn check_metadata(metadata: &Value, file: &Gguf) {
    for (key, value) in metadata.as_object().into_iter().flatten() {
        match (value, file.metadata(key).expect("every key of the description is in the file")) {
            (Value::String(text), read) => assert_eq!(*read, MetadataValue::String(text.clone())),
            (Value::Bool(flag), read) => assert_eq!(*read, MetadataValue::Bool(*flag)),
            (Value::Number(number), read) if number.is_u64() => {
                assert_eq!(read.as_usize().map(|size| size as u64), number.as_u64());
            }
            _ => {}
        }
    }
}

json_target!("gguf.dict", run);
