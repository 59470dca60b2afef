//! Model that a run starts from: `--model`, or a small one that the run trains first and keeps in
//! `base/` in its folder.
//!
//! Training that model takes minutes. Until all arguments have been validated, a model of the same
//! shape with random weights stands in for it.

use std::path::Path;

use anyhow::{Result, ensure};
use candle_core::Device;
use experiment::RunSetup;
use experiment::program::as_usage_error;
use experiment::rank_folder::copy_from_first;
use model_io::ChatVariables;
use modern::Checkpoint;
use ranks::Ranks;

use crate::base_model::{BaseModelConfig, finetune_on_sums, pretrain};
use crate::finetuned::resolve_model_path;
use crate::merged_model::open_for_training;
use crate::model_flags::ModelFlags;

/// Model that a run starts from.
#[derive(Debug)]
pub struct InitialModel {
    /// Path of the model: `--model`, else `base/` in the run folder.
    pub path: String,
    /// Variables of its chat template.
    chat_variables: ChatVariables,
    /// Small model that a new run without `--model` trains.
    to_train: Option<BaseModelConfig>,
    /// Steps of its fine-tuning on sums after its pretraining.
    sft_steps: usize,
}

impl InitialModel {
    /// Initial model of the run of `setup`. A small model is fine-tuned for `sft_steps` steps, by
    /// default `default_sft_steps`.
    ///
    /// # Errors
    /// A [`UsageError`](experiment::program::UsageError) when the sizes of a small model do not fit
    /// each other or are given beside `--model`, or an error when the one of a resumed run is
    /// missing.
    pub fn new(
        flags: &ModelFlags,
        sft_steps: Option<usize>,
        default_sft_steps: usize,
        setup: &RunSetup<'_>,
    ) -> Result<Self> {
        if !setup.is_resumed {
            flags.ensure_base_is_used(sft_steps)?; // runs of earlier versions stored the defaults
        }
        let own = setup.out.join("base");
        let own_path = own.to_string_lossy().into_owned();
        let (path, to_train) = match (&flags.model, setup.is_resumed) {
            (Some(model), _) => (resolve_model_path(model)?, None),
            (None, true) => {
                ensure!(
                    own.is_dir(),
                    "cannot resume: the base model {own_path} is missing: start a new run"
                );
                (own_path, None)
            }
            (None, false) => {
                let config = flags.base.config();
                as_usage_error(config.check())?;
                (own_path, Some(config))
            }
        };
        let chat_variables = flags.chat_template.variables();
        let sft_steps = sft_steps.unwrap_or(default_sft_steps);
        Ok(Self { path, chat_variables, to_train, sft_steps })
    }

    /// Opens the model for training; one that the run trains first has random weights from `seed`.
    ///
    /// # Errors
    /// When the model cannot be opened.
    pub fn open(&self, seed: u64, device: &Device) -> Result<Checkpoint> {
        let checkpoint = match self.to_train {
            Some(config) => pretrain(BaseModelConfig { steps: 0, ..config }, seed, device),
            None => open_for_training(&self.path, device),
        };
        Ok(checkpoint?.with_chat_variables(&self.chat_variables))
    }

    /// Trains the small model of a new run and saves it in the run folder; `None` if the run starts
    /// from an existing model. Of several ranks the first trains it, and the others get a copy.
    ///
    /// # Errors
    /// When the run folder cannot be written, or another rank has ended.
    pub fn train_and_save(&self, seed: u64, device: &Device) -> Result<Option<Checkpoint>> {
        let Some(config) = self.to_train else { return Ok(None) };
        match self.sft_steps {
            0 => println!("pretraining a small base model for {} steps", config.steps),
            sft_steps => println!(
                "training a small base model: {} steps of pretraining, {sft_steps} steps of \
                 fine-tuning on sums",
                config.steps
            ),
        }
        let (ranks, folder) = (Ranks::of_process()?, Path::new(&self.path));
        let mut trained = None;
        if ranks.is_first() {
            let base = pretrain(config, seed, device)?;
            let checkpoint = finetune_on_sums(base, self.sft_steps, seed)?;
            checkpoint.save(folder)?;
            trained = Some(checkpoint);
        }
        copy_from_first(&ranks, folder)?;
        match trained {
            Some(checkpoint) => Ok(Some(checkpoint)),
            None => open_for_training(&self.path, device).map(Some),
        }
    }
}
