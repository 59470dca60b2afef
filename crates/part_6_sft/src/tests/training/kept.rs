//! What a run keeps: checkpoints, and the best model.

use anyhow::Result;
use candle_core::DType;
use modern::GptModern;
use tensor_core::testing::assert_close;
use tensor_core::{AdamWConfig, Parameters};

use super::{adapters, log, tuning};
use crate::evaluation::GenerationEvalConfig;
use crate::lora::attach;
use crate::tests::{CPU, checkpoint, config};
use crate::train_state::TrainProgress;
use crate::{
    ChatFormat, Example, ModelSaver, RunDestination, RunOutputs, SftValidator, TrainState,
};

#[test]
fn a_checkpoint_of_adapters_goes_on_beside_its_own_base_alone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    tuning(true)?.save(folder.path(), "these")?;
    tuning(true)?.restore(folder.path(), "these")?;
    let mut other = Parameters::seeded(4, DType::F32, &CPU);
    GptModern::new(&config(16), other.root())?;
    attach(&mut other, &adapters(), 1)?;
    let mut other = TrainState::new(config(16), other, AdamWConfig::default())?;
    let error = other.restore(folder.path(), "these").expect_err("another base").to_string();
    assert!(error.contains("other frozen weights"), "{error}");
    Ok(())
}

#[test]
fn the_best_is_saved_and_the_best_is_merged() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut begun = checkpoint(1)?;
    let base = folder.path().join("base");
    begun.save(&base)?;
    let base = base.to_string_lossy();
    let speech = crate::ChatTokenizer::from_checkpoint(&mut begun, Some(ChatFormat::Plain))?;
    let mut parameters = begun.parameters;
    attach(&mut parameters, &adapters(), 1)?;
    let model_config = *begun.model.config();
    let mut tuning = TrainState::new(model_config, parameters, AdamWConfig::default())?;
    let push = |tuning: &TrainState| -> Result<()> {
        for parameter in tuning.parameters.trainable() {
            parameter.var.set(&(parameter.var.as_detached_tensor() + 0.02)?)?;
        }
        Ok(())
    };
    let lora = adapters();
    let keeper = ModelSaver {
        chat_tokenizer: &speech,
        special_ids: &begun.special_ids,
        sampler: None,
        lora: Some((&lora, &base)),
    };
    let place = RunDestination::new(folder.path(), &keeper, "these");
    let outputs = RunOutputs { destination: Some(place), ..RunOutputs::default() };
    let asked = [Example::new("What", "12")];
    let extent = GenerationEvalConfig { batch_size: 1, max_new_tokens: 2 };
    let exam = SftValidator {
        examples: &asked,
        chat_tokenizer: &speech,
        eval_config: extent,
        interval: 0,
        target_exact_match: None,
    };
    let ids = candle_core::Tensor::new(&[[1u32, 9, 30, 4]], &CPU)?;
    let mut wanted = None;
    for best in [None, Some(0.)] {
        push(&tuning)?;
        tuning.progress.best_loss = best; // once anything is better, and once nothing is
        let twin = GptModern::new(&model_config, tuning.parameters.for_inference().root())?;
        wanted.get_or_insert(twin.forward(&ids)?);
        exam.run(&twin, &mut tuning, &outputs, &mut log()?)?;
    }
    keeper.save_merged(folder.path(), &CPU)?;
    let merged = folder.path().join("model");
    let purpose = modern::LoadMode::Inference;
    let merged = modern::Checkpoint::open(&merged.to_string_lossy(), purpose, &CPU)?.model;
    assert_close(&merged.forward(&ids)?, &wanted.expect("the best"), 1e-4)?;
    Ok(())
}

#[test]
fn the_least_bad_is_kept_and_what_is_no_number_never_is() {
    let mut state = TrainProgress::default();
    let kept = [f64::NAN, 3., 4., f64::NAN, 2., 2.].map(|badness| state.update_best_loss(badness));
    assert_eq!(kept, [false, true, false, false, true, false]);
    state.target_reached = true;
    assert!(state.update_best_loss(5.), "what is good enough ends the run, so it is kept");
    assert_eq!(state, TrainProgress { step: 0, best_loss: Some(5.), target_reached: true });
}
