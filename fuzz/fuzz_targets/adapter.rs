//! Adapters in peft's layout on a tiny model: those that open are written and opened again equal,
//! and the model with them computes.
#![no_main]

use std::cell::RefCell;

use candle_core::{Device, Tensor};
use fuzz::{Scratch, json_target, small_model};
use model_io::peft_folder;
use modern::GptModern;
use serde_json::Value;
use tensor_core::Parameters;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new("adapter"));
    static BASE: Parameters = small_model::parameters();
}

fn run(document: Value) {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.write_files(&document);
        let folder = scratch.path();
        let _ = peft_folder::is_adapter(folder);
        let _ = peft_folder::base_model(folder);
        let mut parameters = BASE.with(Parameters::for_inference);
        let Ok(config) = peft_folder::open(folder, &mut parameters) else { return };
        assert!(config.scale().is_finite() && (0. ..1.).contains(&config.dropout), "{config:?}");
        let model = GptModern::new(&small_model::config(), parameters.root());
        let ids = Tensor::new(&[[1u32, 2, 3]], &Device::Cpu).expect("memory suffices");
        let model = model.expect("the adapter fits the model");
        model.hidden_states(&ids).expect("a model that opens computes");
        let copy = folder.join("copy");
        peft_folder::save(&copy, &parameters, &config, "base").expect("it can be written");
        let mut again = BASE.with(Parameters::for_inference);
        let copied = peft_folder::open(&copy, &mut again).expect("what was written can be read");
        assert_eq!(
            (copied.rank, copied.alpha, copied.dropout),
            (config.rank, config.alpha, config.dropout,)
        );
        assert_eq!(again.adapters().keys().collect::<Vec<_>>(), {
            parameters.adapters().keys().collect::<Vec<_>>()
        });
        let _ = std::fs::remove_dir_all(&copy);
    });
}

json_target!("adapter.dict", run);
