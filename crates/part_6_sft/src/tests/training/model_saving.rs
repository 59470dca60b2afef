//! Saved state of a run: checkpoints, and the best model.

use anyhow::Result;
use candle_core::{DType, Module};
use datasets::Example;
use experiment::selection::Validation;
use experiment::{Score, TrainState};
use model_io::ModelConfig;
use modern::{Checkpoint, GptModern};
use tensor_core::testing::assert_close;
use tensor_core::{AdamWConfig, Parameters};

use super::{adapters, log, train_state};
use crate::evaluation::GenerationEvalConfig;
use crate::lora::attach;
use crate::tests::{CPU, checkpoint, config};
use crate::{ChatFormat, ModelSaver, SftValidator};

#[test]
fn adapter_checkpoints_resume_only_with_their_own_base() -> Result<()> {
    let folder = tempfile::tempdir()?;
    train_state(true)?.save(folder.path(), "these")?;
    train_state(true)?.restore(folder.path(), "these")?;
    let mut other = Parameters::seeded(4, DType::F32, &CPU);
    GptModern::new(&config(16), other.root())?;
    attach(&mut other, &adapters(), 1)?;
    let mut other = TrainState::new(other, AdamWConfig::default())?;
    let error = other.restore(folder.path(), "these").expect_err("another base").to_string();
    assert!(error.contains("other frozen weights"), "{error}");
    Ok(())
}

/// GPT-2's files hold matrices transposed; the optimizer's moments are those of memory.
#[test]
fn a_checkpoint_of_gpt2_is_its_model_folder_and_resumes_the_same_weights() -> Result<()> {
    let gpt2 = model_io::testing::variants().into_iter().find(|(name, _)| *name == "gpt2");
    let model = ModelConfig { vocab_size: config(16).vocab_size, ..gpt2.expect("a variant").1 };
    let state = |seed| -> Result<TrainState> {
        let mut parameters = Parameters::seeded(seed, DType::F32, &CPU);
        GptModern::new(&model, parameters.root())?;
        TrainState::new(parameters, AdamWConfig::default())
    };
    let (folder, saved, mut resumed) = (tempfile::tempdir()?, state(1)?, state(2)?);
    let base = Checkpoint {
        model: GptModern::new(&model, Parameters::seeded(1, DType::F32, &CPU).root())?,
        ..checkpoint(1)?
    };
    let (saver, _) = ModelSaver::new(folder.path(), "base", base, Some(ChatFormat::Plain), None)?;
    saver.save_checkpoint(folder.path(), &saved, "these")?;
    resumed.restore(folder.path(), "these")?;
    let name = folder.path().to_string_lossy();
    let opened = Checkpoint::open(&name, model_io::LoadMode::Training(DType::F32), &CPU)?;
    let others = [&resumed.parameters, &opened.parameters];
    for (i, parameter) in saved.parameters.iter().enumerate() {
        for other in others {
            let other = other.iter().nth(i).expect("as many");
            assert_eq!(other.name, parameter.name);
            assert_close(other.var.as_tensor(), parameter.var.as_tensor(), 0.);
        }
    }
    Ok(())
}

#[test]
fn the_best_adapter_is_saved_and_merged() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let checkpoint = checkpoint(1)?;
    let base = folder.path().join("base");
    checkpoint.save(&base)?;
    let (template, lora) = (Some(ChatFormat::Plain), Some(adapters()));
    let base = base.to_string_lossy();
    let (model_saver, parameters) =
        ModelSaver::new(folder.path(), &base, checkpoint, template, lora)?;
    let optimizer = AdamWConfig::default().into();
    let mut train_state = model_saver.train_state(parameters, optimizer, DType::F32, 1)?;
    let perturb = |train_state: &TrainState| -> Result<()> {
        for parameter in train_state.parameters.trainable() {
            parameter.var.set(&(parameter.var.as_detached_tensor() + 0.02)?)?;
        }
        Ok(())
    };
    let examples = [Example::new("What", "12")];
    let eval_config = GenerationEvalConfig { batch_size: 1, max_new_tokens: 2, max_length: None };
    let validator = SftValidator {
        examples: &examples,
        chat_tokenizer: &model_saver.chat_tokenizer,
        eval_config,
        interval: 0,
        target_exact_match: None,
        model_saver: Some(&model_saver),
    };
    let ids = candle_core::Tensor::new(&[[1u32, 9, 30, 4]], &CPU)?;
    let mut expected = None;
    for best in [None, Some(Validation { step: 1, score: Score::Loss(0.) })] {
        perturb(&train_state)?;
        train_state.progress.step += 1;
        train_state.progress.selection.best = best; // first any loss is better, then none is
        let model =
            GptModern::new(&model_saver.config, train_state.parameters.for_inference().root())?;
        expected.get_or_insert(model.forward(&ids)?);
        validator.run(&model, &mut train_state, &mut log()?)?;
    }
    model_saver.save_merged(&CPU)?;
    let merged = folder.path().join("model");
    let load_mode = model_io::LoadMode::Inference;
    let merged = modern::Checkpoint::open(&merged.to_string_lossy(), load_mode, &CPU)?.model;
    assert_close(&merged.forward(&ids)?, expected.expect("the best"), 1e-4);
    Ok(())
}
