//! The command `train` of every part: a new model, a text file and flags in, a run folder out.

use std::path::Path;

use anyhow::Result;
use candle_core::DType;
use serde_json::{Value, json};
use tensor_core::{Parameters, Scope};

use crate::flags::{ComputeFlags, TrainFlags};
use crate::{ByteCorpus, LanguageModel, train, training_memory};

/// Arguments of a `train` command that part 2 and part 3 share.
#[derive(Debug, Clone, Copy)]
pub struct TrainCommand<'a> {
    /// The text, whose bytes are the tokens.
    pub data: &'a Path,
    /// The run folder.
    pub out: &'a Path,
    /// Training, evaluation and sampling flags.
    pub train: &'a TrainFlags,
    /// Where and how is computed.
    pub compute: &'a ComputeFlags,
    /// Whether the last line is to be a JSON object.
    pub json: bool,
}

impl TrainCommand<'_> {
    /// Trains the model that `build` makes of fresh parameters: `parameter_count` of them. It reads `block_size` tokens,
    /// and `config` is what the run folder says about it.
    ///
    /// # Errors
    /// When the flags ask for too much, memory is short, the text is missing or too short, or as [`train`].
    pub fn run<M: LanguageModel>(
        &self,
        block_size: usize,
        parameter_count: f64,
        config: &Value,
        build: impl FnOnce(Scope<'_>) -> candle_core::Result<M>,
    ) -> Result<()> {
        let settings = self.train.config(block_size)?;
        let device = self.compute.open_device()?;
        training_memory::ensure_fits_in_memory(parameter_count, &device)?;
        let corpus = ByteCorpus::open(self.data)?;
        corpus.ensure_fits_context(block_size)?;
        let seed = self.compute.seed;
        let mut parameters = Parameters::seeded(seed, DType::F32, &device);
        let model = build(parameters.root())?;
        println!("{} parameters, {} training bytes", parameters.n_parameters(), corpus.train.len());
        let about = json!({
            "data": self.data, "seed": seed, "device": self.compute.device.to_string(),
            "model": config, "train": settings,
        });
        let mut log = self.train.train_log()?.with_run_folder(self.out, &about)?;
        let best = train(&model, &parameters, &corpus, &settings, seed, &mut log)?;
        let tokens_per_second = log.tokens_per_second();
        drop(log); // the progress line ends before we speak
        let folder = self.out.join("model");
        println!("best validation loss {:.4}, {tokens_per_second:.0} tokens/s", best.loss);
        println!("the model is in {}", folder.display());
        if self.json {
            let report = json!({
                "loss": best.loss, "bits_per_byte": best.bits_per_byte, "tokens": best.tokens,
                "tokens_per_s": tokens_per_second,
                "parameters": parameters.n_parameters(), "model": folder,
            });
            println!("{report}");
        }
        Ok(())
    }
}
