//! `config.json` and `generation_config.json`: what is read is written and read again equal.
#![no_main]

use std::cell::RefCell;

use fuzz::{Scratch, json_target};
use model_io::config_json::{add_custom_keys, from_json, to_custom_json, to_json};
use model_io::gpt2_folder::Gpt2Config;
use model_io::{GenerationConfig, model_folder};
use serde_json::Value;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new("config_json"));
}

fn run(document: Value) {
    let json = &document["config.json"];
    if let Ok(config) = from_json(json) {
        config.validate().expect("a configuration that was read is valid");
        assert!(config.parameter_count() > 0. && config.training_flops_per_token() > 0.);
        if config.n_layer < 1000 {
            for written in [to_json(&config), to_custom_json(&config)] {
                let again = from_json(&written).expect("what was written can be read");
                assert_eq!(again, config, "{written}");
            }
        }
        add_custom_keys(&mut json.clone(), &config);
    }
    if let Ok(config) = Gpt2Config::from_json(json) {
        let again = Gpt2Config::from_json(&config.to_json()).expect("what was written can be read");
        assert_eq!(again, config);
    }
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.write_files(&document);
        if let Ok(Some(config)) = GenerationConfig::open(scratch.path()) {
            assert!(config.temperature.is_finite() && config.repetition_penalty > 0.);
        }
        let _ = model_folder::read_special_token_ids(scratch.path());
    });
}

json_target!("config_json.dict", run);
