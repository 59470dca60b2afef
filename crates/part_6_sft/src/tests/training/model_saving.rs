//! Saved state of a run: checkpoints, and the best model.

use anyhow::Result;
use candle_core::DType;
use datasets::Example;
use modern::GptModern;
use tensor_core::testing::assert_close;
use tensor_core::{AdamWConfig, Parameters};

use super::{adapters, log, train_state};
use crate::evaluation::GenerationEvalConfig;
use crate::lora::attach;
use crate::tests::{CPU, checkpoint, config};
use crate::train_state::TrainProgress;
use crate::{ChatFormat, ModelSaver, RunDestination, RunOutputs, SftValidator, TrainState};

#[test]
fn adapter_checkpoints_resume_only_with_their_own_base() -> Result<()> {
    let folder = tempfile::tempdir()?;
    train_state(true)?.save(folder.path(), "these")?;
    train_state(true)?.restore(folder.path(), "these")?;
    let mut other = Parameters::seeded(4, DType::F32, &CPU);
    GptModern::new(&config(16), other.root())?;
    attach(&mut other, &adapters(), 1)?;
    let mut other = TrainState::new(config(16), other, AdamWConfig::default())?;
    let error = other.restore(folder.path(), "these").expect_err("another base").to_string();
    assert!(error.contains("other frozen weights"), "{error}");
    Ok(())
}

#[test]
fn the_best_adapter_is_saved_and_merged() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut checkpoint = checkpoint(1)?;
    let base = folder.path().join("base");
    checkpoint.save(&base)?;
    let base = base.to_string_lossy();
    let chat_tokenizer =
        crate::ChatTokenizer::from_checkpoint(&mut checkpoint, Some(ChatFormat::Plain))?;
    let mut parameters = checkpoint.parameters;
    attach(&mut parameters, &adapters(), 1)?;
    let model_config = *checkpoint.model.config();
    let mut train_state = TrainState::new(model_config, parameters, AdamWConfig::default())?;
    let perturb = |train_state: &TrainState| -> Result<()> {
        for parameter in train_state.parameters.trainable() {
            parameter.var.set(&(parameter.var.as_detached_tensor() + 0.02)?)?;
        }
        Ok(())
    };
    let lora = adapters();
    let model_saver = ModelSaver {
        chat_tokenizer: &chat_tokenizer,
        special_ids: &checkpoint.special_ids,
        sampler: None,
        lora: Some((&lora, &base)),
    };
    let destination = RunDestination::new(folder.path(), &model_saver, "these");
    let outputs = RunOutputs { destination: Some(destination), ..RunOutputs::default() };
    let examples = [Example::new("What", "12")];
    let eval_config = GenerationEvalConfig { batch_size: 1, max_new_tokens: 2 };
    let validator = SftValidator {
        examples: &examples,
        chat_tokenizer: &chat_tokenizer,
        eval_config,
        interval: 0,
        target_exact_match: None,
    };
    let ids = candle_core::Tensor::new(&[[1u32, 9, 30, 4]], &CPU)?;
    let mut expected = None;
    for best in [None, Some(0.)] {
        perturb(&train_state)?;
        train_state.progress.best_loss = best; // first any loss is better, then none is
        let model = GptModern::new(&model_config, train_state.parameters.for_inference().root())?;
        expected.get_or_insert(model.forward(&ids)?);
        validator.run(&model, &mut train_state, &outputs, &mut log()?)?;
    }
    model_saver.save_merged(folder.path(), &CPU)?;
    let merged = folder.path().join("model");
    let load_mode = model_io::LoadMode::Inference;
    let merged = modern::Checkpoint::open(&merged.to_string_lossy(), load_mode, &CPU)?.model;
    assert_close(&merged.forward(&ids)?, &expected.expect("the best"), 1e-4)?;
    Ok(())
}

#[test]
fn the_best_loss_is_recorded_and_nan_is_never_the_best() {
    let mut progress = TrainProgress::default();
    let saves = [f64::NAN, 3., 4., f64::NAN, 2., 2.].map(|loss| progress.update_best_loss(loss));
    assert_eq!(saves, [false, true, false, false, true, false]);
    progress.target_reached = true;
    assert!(
        progress.update_best_loss(5.),
        "a model that reaches the target ends the run, so it is saved"
    );
    assert_eq!(progress, TrainProgress { step: 0, best_loss: Some(5.), target_reached: true });
}
