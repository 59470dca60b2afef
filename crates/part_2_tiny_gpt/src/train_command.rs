//! The command `train` of parts 2 and 3: trains a new model on a text file and writes a run folder.

use std::path::Path;

use anyhow::Result;
use candle_core::DType;
use experiment::flags::ComputeFlags;
use experiment::training_memory;
use serde_json::{Value, json};
use tensor_core::{Parameters, Scope};

use crate::flags::TrainFlags;
use crate::{ByteCorpus, LanguageModel, train};

/// Arguments of the `train` command that parts 2 and 3 share.
#[derive(Debug, Clone, Copy)]
pub struct TrainCommand<'a> {
    /// Text file, whose bytes are the tokens.
    pub data: &'a Path,
    /// Run folder.
    pub out: &'a Path,
    /// Training, evaluation and sampling flags.
    pub train: &'a TrainFlags,
    /// Device, threads and seed.
    pub compute: &'a ComputeFlags,
    /// Prints the result as a JSON object on the last line.
    pub json: bool,
}

impl TrainCommand<'_> {
    /// Trains the model that `build` creates from new parameters, `parameter_count` of them.
    /// `context_len` is its context length, and `config` describes it in the run folder.
    ///
    /// # Errors
    /// When a step has too many tokens, memory is short, the text is missing or too short, and
    /// those of [`train`].
    pub fn run<M: LanguageModel>(
        &self,
        context_len: usize,
        parameter_count: f64,
        config: &Value,
        build: impl FnOnce(Scope<'_>) -> candle_core::Result<M>,
    ) -> Result<()> {
        let settings = self.train.config(context_len)?;
        let device = self.compute.open_device()?;
        training_memory::ensure_fits_in_memory(parameter_count, &device)?;
        let corpus = ByteCorpus::open(self.data)?;
        corpus.ensure_fits_context(context_len)?;
        let seed = self.compute.seed;
        let mut parameters = Parameters::seeded(seed, DType::F32, &device);
        let model = build(parameters.root())?;
        println!("{} parameters, {} training bytes", parameters.n_parameters(), corpus.train.len());
        let run_config = json!({
            "data": self.data, "seed": seed, "device": self.compute.device.to_string(),
            "model": config, "train": settings,
        });
        let mut log = self.train.train_log()?.with_run_folder(self.out, &run_config)?;
        let best = train(&model, &parameters, &corpus, &settings, seed, &mut log)?;
        let tokens_per_second = log.tokens_per_second();
        drop(log); // clears the progress line before the result is printed
        let model_folder = self.out.join("model");
        println!("best validation loss {:.4}, {tokens_per_second:.0} tokens/s", best.loss);
        println!("the model is in {}", model_folder.display());
        if self.json {
            let report = json!({
                "loss": best.loss, "bits_per_byte": best.bits_per_byte, "tokens": best.tokens,
                "tokens_per_s": tokens_per_second,
                "parameters": parameters.n_parameters(), "model": model_folder,
            });
            println!("{report}");
        }
        Ok(())
    }
}
