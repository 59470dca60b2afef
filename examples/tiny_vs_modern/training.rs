//! One training run of a model; the data and the training config are shared by all.

use std::path::Path;

use anyhow::{Result, ensure};
use candle_core::{DType, Device};
use experiment::loss_curve::Curve;
use experiment::{Interrupt, Run, RunLog};
use modern::GptModern;
use serde_json::json;
use tensor_core::Parameters;
use tiny_gpt::{ByteCorpus, Gpt, LanguageModel, TrainConfig, train};

use crate::table::VariantResults;
use crate::variant::Variant;

/// Settings shared by all models.
pub(crate) struct TrainingSetup<'a> {
    pub(crate) corpus: &'a ByteCorpus,
    pub(crate) config: &'a TrainConfig,
    pub(crate) device: &'a Device,
}

impl TrainingSetup<'_> {
    /// Trains a model from `seed`, adds its results to `row` and returns its validation curve.
    pub(crate) fn run(
        &self,
        variant: &Variant,
        seed: u64,
        folder: &Path,
        row: &mut VariantResults,
    ) -> Result<Curve> {
        let mut parameters = Parameters::seeded(seed, DType::F32, self.device);
        match variant {
            Variant::Tiny(config) => {
                let model = Gpt::new(config, parameters.root())?;
                self.train(&model, &parameters, seed, folder, row)
            }
            Variant::Modern(config) => {
                let model = GptModern::new(config, parameters.root())?;
                self.train(&model, &parameters, seed, folder, row)
            }
        }
    }

    fn train(
        &self,
        model: &impl LanguageModel,
        parameters: &Parameters,
        seed: u64,
        folder: &Path,
        row: &mut VariantResults,
    ) -> Result<Curve> {
        let settings = json!({ "model": row.name, "seed": seed, "train": self.config });
        let run = Run { interrupt: Interrupt::listen()?, ..Run::default() };
        let mut log = RunLog::create(self.config.log_config(), folder, &settings)?;
        let (corpus, config, saved) = (self.corpus, self.config, folder.join("model"));
        let best = train(model, parameters, corpus, config, seed, Some(&saved), &run, &mut log)?;
        let is_interrupted = run.interrupt.is_requested();
        ensure!(!is_interrupted, "interrupted; the finished runs are in the output folder");
        row.parameters = parameters.n_parameters();
        row.losses.push(best.loss);
        row.tokens_per_s = log.tokens_per_second();
        Ok(log.validation_curve().clone())
    }
}
