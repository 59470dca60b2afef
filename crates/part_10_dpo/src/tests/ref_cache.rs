//! Log-probabilities under the reference: computed once, and refused when stale.

use std::fs;

use anyhow::Result;
use model_io::{LoraConfig, TargetModules};
use modern::GptModern;
use ranks::Ranks;
use sft::lora;

use super::{config, pair, pairs, parameters};
use crate::log_probs::log_probs_of_examples;
use crate::preference_example::{PreferenceDataset, PreferenceExample};
use crate::ref_cache::RefCache;

fn dataset(examples: Vec<PreferenceExample>) -> PreferenceDataset {
    PreferenceDataset { examples, mismatched: Vec::new() }
}

fn model(seed: u64) -> Result<GptModern> {
    Ok(GptModern::new(&config(), parameters(seed)?.for_inference().root())?)
}

fn ref_log_probs(dataset: &PreferenceDataset) -> Vec<f64> {
    dataset.examples.iter().flat_map(|example| example.ref_log_probs.clone()).collect()
}

#[test]
fn log_probs_under_the_reference_are_computed_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut first = dataset(pairs());
    let cache = RefCache::new(folder.path(), &[&first], &"a".repeat(64));
    cache.load_or_compute(&mut [&mut first], &model(1)?, 2, &Ranks::Alone)?;
    assert_eq!(ref_log_probs(&first), log_probs_of_examples(&model(1)?, &pairs(), 2)?.concat());
    // Another model would give other numbers, but is not run.
    let mut second = dataset(pairs());
    cache.load_or_compute(&mut [&mut second], &model(2)?, 2, &Ranks::Alone)?;
    assert_eq!(ref_log_probs(&first), ref_log_probs(&second));
    Ok(())
}

#[test]
fn stale_and_damaged_log_probs_are_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut data = dataset(pairs());
    let reference = model(1)?;
    let cache = RefCache::new(folder.path(), &[&data], &"a".repeat(64));
    cache.load_or_compute(&mut [&mut data], &reference, 2, &Ranks::Alone)?;
    let other_model = RefCache::new(folder.path(), &[&data], &"b".repeat(64));
    let mut other_data = dataset([pairs(), vec![pair(&[1], &[2, 0], &[3, 0])]].concat());
    let other_data_cache = RefCache::new(folder.path(), &[&other_data], &"a".repeat(64));
    let errors = [
        other_model.load_or_compute(&mut [&mut data], &reference, 2, &Ranks::Alone),
        other_data_cache.load_or_compute(&mut [&mut other_data], &reference, 2, &Ranks::Alone),
    ];
    for error in errors {
        let error = error.expect_err("a stale file").to_string();
        assert!(error.contains("the data or the reference model changed"), "{error}");
    }
    let file = fs::read_dir(folder.path())?.next().expect("a file")?.path();
    fs::write(&file, &fs::read(&file)?[..40])?;
    let error =
        cache.load_or_compute(&mut [&mut data], &reference, 2, &Ranks::Alone).expect_err("damaged");
    assert!(format!("{error:#}").contains("is damaged"), "{error:#}");
    Ok(())
}

#[test]
fn the_reference_of_adapters_is_the_policy_with_the_adapters_off() -> Result<()> {
    let mut parameters = parameters(3)?;
    let before = log_probs_of_examples(&model(3)?, &pairs(), 8)?;
    let target_modules = TargetModules::All;
    let lora = LoraConfig { target_modules, ..LoraConfig::new(2) };
    lora::attach(&mut parameters, &lora, 1)?;
    for parameter in parameters.iter().filter(|parameter| parameter.trainable) {
        parameter.var.set(&parameter.var.ones_like()?)?; // trained adapters
    }
    let trained = GptModern::new(&config(), parameters.for_inference().root())?;
    assert_ne!(log_probs_of_examples(&trained, &pairs(), 8)?, before);
    let off = ppo::reference::without_adapters(&config(), &parameters)?;
    assert_eq!(log_probs_of_examples(&off, &pairs(), 8)?, before);
    Ok(())
}
