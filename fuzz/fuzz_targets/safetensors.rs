//! Weights of a model folder from descriptions of their files: one file, or an index and its
//! shards; and token files.
#![no_main]

use std::cell::RefCell;

use candle_core::{DType, Device, Tensor};
use datasets::TokenFile;
use fuzz::{Scratch, json_target, small_model};
use model_io::config::LmHead;
use model_io::{ModelConfig, gpt2_folder, model_folder};
use serde_json::Value;
use tensor_core::weights;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new("safetensors"));
}

fn run(document: Value) {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.write_files(&document);
        let folder = scratch.path().to_path_buf();
        for lm_head in [LmHead::Tied, LmHead::Untied] {
            let config = ModelConfig { lm_head, ..small_model::config() };
            let _ = model_folder::read_parameters(&folder, &config, DType::F32, &Device::Cpu);
        }
        let _ = gpt2_folder::read_parameters(&folder, 0, &Device::Cpu);
        let file = folder.join("model.safetensors");
        if let Ok(tokens) = TokenFile::open(&file, "") {
            let _ = tokens.read(0..tokens.len());
            for range in (0..tokens.n_documents()).filter_map(|i| tokens.document_range(i).ok()) {
                let _ = tokens.read(range);
            }
        }
        let Ok(tensors) = weights::load(&file) else { return };
        let copy = scratch.write("copy.safetensors", []);
        weights::save(&copy, &tensors).expect("tensors that were read can be written");
        let copies = weights::load(&copy).expect("a file that was written can be read");
        assert_eq!(tensors.len(), copies.len());
        for (name, tensor) in tensors {
            assert_eq!(bits(&tensor), bits(&copies[&name]), "{name}");
        }
    });
}

/// Dtype, shape and bytes: NaN is not equal to itself.
fn bits(tensor: &Tensor) -> (DType, Vec<usize>, Vec<u8>) {
    let mut bytes = Vec::new();
    tensor.write_bytes(&mut bytes).expect("a vector takes all bytes");
    (tensor.dtype(), tensor.dims().to_vec(), bytes)
}

json_target!("safetensors.dict", run);
