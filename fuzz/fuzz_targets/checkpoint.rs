//! Checkpoint of a run, and its log: what is restored is saved and restored again equal.
#![no_main]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;

use candle_core::Tensor;
use experiment::{Checkpoints, RunFolder, TrainState};
use fuzz::scratch::content_bytes;
use fuzz::{Scratch, json_target, small_model};
use serde_json::{Value, json};
use tensor_core::{AdamWConfig, sha256};

/// Name of the training data in the checkpoint.
const DATA: &str = "data";
/// Step of the checkpoint.
const STEP: usize = 5;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new("checkpoint"));
}

fn run(document: Value) {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear_all();
        write_checkpoint(scratch, &document["checkpoint"]);
        for name in ["config.json", "metrics.jsonl"] {
            if !document[name].is_null() {
                scratch.write(name, content_bytes(name, &document[name]));
            }
        }
        let run = scratch.path();
        let _ = RunFolder::read_settings(run);
        if let Ok((folder, rows)) = RunFolder::resume(run, STEP) {
            drop(folder);
            let (_, again) = RunFolder::resume(run, STEP).expect("a run resumes twice");
            assert_eq!(rows, again);
        }
        let keep = NonZeroUsize::new(1).expect("it is not 0");
        let checkpoints = Checkpoints::new(run.join("checkpoints"), keep);
        if let Ok(Some((STEP, folder))) = checkpoints.latest() {
            restore(&checkpoints, &folder);
        }
    });
}

/// Restores the checkpoint `folder`, saves it, and restores what was saved.
fn restore(checkpoints: &Checkpoints, folder: &Path) {
    let mut state = new_state();
    if state.restore(folder, DATA).is_err() {
        return;
    }
    checkpoints.save(STEP + 1, |folder| state.save(folder, DATA)).expect("it can be saved");
    let latest = checkpoints.latest().expect("it was saved").expect("it was saved");
    assert_eq!(latest.0, STEP + 1);
    let mut again = new_state();
    again.restore(&latest.1, DATA).expect("a checkpoint that was saved is valid");
    let json = |state: &TrainState| serde_json::to_value(&state.progress).expect("it is JSON");
    assert_eq!(json(&again), json(&state));
    assert_eq!(tensors(&again), tensors(&state));
}

fn new_state() -> TrainState {
    let parameters = small_model::first_layer();
    TrainState::new(parameters, AdamWConfig::default()).expect("it has trainable parameters")
}

/// Bytes of all weights and of the optimizer's state, by name.
fn tensors(state: &TrainState) -> BTreeMap<String, Vec<u8>> {
    let bytes = |tensor: &Tensor| {
        let mut bytes = Vec::new();
        tensor.write_bytes(&mut bytes).expect("a vector takes all bytes");
        bytes
    };
    let weights = state.parameters.iter();
    let weights = weights.map(|p| (p.name.clone(), bytes(&p.var.as_detached_tensor())));
    let moments = state.optimizer.state_dict().expect("memory suffices").into_iter();
    weights.chain(moments.map(|(name, tensor)| (name, bytes(&tensor)))).collect()
}

/// Writes the files of a checkpoint, with their right checksums if `sums.json` is not among them.
fn write_checkpoint(scratch: &mut Scratch, files: &Value) {
    let mut sums = BTreeMap::new();
    for (name, content) in files.as_object().into_iter().flatten() {
        if ["state.json", "log.json", "model.safetensors", "optimizer.safetensors", "sums.json"]
            .contains(&name.as_str())
        {
            let bytes = content_bytes(name, content);
            sums.insert(name, sha256::hash_bytes(&bytes));
            scratch.write(&format!("checkpoints/step-{STEP}/{name}"), bytes);
        }
    }
    if !sums.contains_key(&"sums.json".to_string()) && !sums.is_empty() {
        let sums = json!(sums).to_string();
        scratch.write(&format!("checkpoints/step-{STEP}/sums.json"), sums);
    }
}

json_target!("checkpoint.dict", run);
