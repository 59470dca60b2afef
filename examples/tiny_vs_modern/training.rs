//! One training run of a model; the data, the training config and the flags are shared by all.

use std::path::Path;

use anyhow::{Result, ensure};
use candle_core::{DType, Device};
use experiment::loss_curve::Curve;
use modern::GptModern;
use serde_json::json;
use tensor_core::Parameters;
use tiny_gpt::flags::TrainFlags;
use tiny_gpt::{ByteCorpus, Gpt, LanguageModel, TrainConfig, train};

use crate::table::VariantResults;
use crate::variant::Variant;

/// Settings shared by all models.
pub(crate) struct TrainingSetup<'a> {
    pub(crate) corpus: &'a ByteCorpus,
    pub(crate) config: &'a TrainConfig,
    pub(crate) flags: &'a TrainFlags,
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
        let mut log = self.flags.train_log()?.with_run_folder(folder, &settings)?;
        let best = train(model, parameters, self.corpus, self.config, seed, &mut log)?;
        ensure!(!log.is_interrupted(), "interrupted; the finished runs are in the output folder");
        row.parameters = parameters.n_parameters();
        row.losses.push(best.loss);
        row.tokens_per_s = log.tokens_per_second();
        Ok(log.validation_curve().clone())
    }
}
