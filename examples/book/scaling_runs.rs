//! Chapter 4: a scaling law of one's own. Models of four sizes are trained on four amounts of text,
//! and the law is fitted to their losses.
//!
//! ```sh
//! cargo run --example book -- scaling --data tinystories.txt --threads 1   # minutes
//! cargo run --example book -- scaling --quick                              # seconds
//! ```

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device, Module};
use experiment::ensure_finite;
use experiment::flags::ComputeFlags;
use model_io::ModelConfig;
use modern::GptModern;
use scaling::LrSchedule;
use tensor_core::ops::cross_entropy;
use tensor_core::{AdamW, AdamWConfig, Parameters, Rng, backward, clip_grad_norm};
use tiny_gpt::{Batch, ByteCorpus, LanguageModel, evaluate};

use crate::scaling_law::{Law, Run};

/// Widths of the models, which have two layers and heads of 16 channels.
const WIDTHS: [usize; 4] = [16, 32, 64, 128];
/// Training tokens, here bytes, in powers of two.
const LOG2_TOKENS: [u32; 4] = [17, 18, 19, 20];
/// Sizes of `--quick`: too little text to see a law.
const QUICK_LOG2_TOKENS: [u32; 4] = [10, 11, 12, 13];
const CONTEXT_LEN: usize = 128;
const BATCH_SIZE: usize = 4;
/// Held-out bytes that a model is judged on.
const N_VALIDATION: usize = 100_000;
/// Peak learning rate of the widest model; it falls as 1/√C from narrow to wide.
const PEAK_LR: f64 = 3e-3;

/// Flags of the program.
#[derive(clap::Args)]
pub(crate) struct ScalingArgs {
    /// Text to train on; the last tenth is held out
    #[arg(long, value_name = "FILE", default_value = "data/tiny.txt")]
    data: PathBuf,
    /// Finish in seconds: too little text to see a law
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    compute: ComputeFlags,
}

/// Trains the models, prints their losses and the law that fits them.
pub(crate) fn run(args: &ScalingArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let mut corpus = ByteCorpus::open(&data_path(&args.data))?;
    corpus.ensure_fits_context(CONTEXT_LEN)?;
    corpus.validation.truncate(N_VALIDATION);
    let log2_tokens = if args.quick { QUICK_LOG2_TOKENS } else { LOG2_TOKENS };
    let mut runs = Vec::new();
    println!("      N         D       6 N D     loss  seconds  GFLOP/s");
    for width in WIDTHS {
        for log2 in log2_tokens {
            let start = Instant::now();
            let run = train(&corpus, width, 1 << log2, args.compute.seed, &device)?;
            let seconds = start.elapsed().as_secs_f64();
            let Run { n_weights, n_tokens, loss } = run;
            let work = run.operations();
            let speed = work / seconds / 1e9;
            println!(
                "{n_weights:7} {n_tokens:9} {work:11.2e} {loss:8.4} {seconds:8.1} {speed:8.1}"
            );
            runs.push(run);
        }
    }
    let (largest, others) = runs.split_last().unwrap_or((&runs[0], &runs));
    println!("\nall runs               {}", Law::fit(&runs));
    let law = Law::fit(others);
    println!("without the largest    {law}");
    println!("its loss: predicted {:.4}, measured {:.4}", law.loss(largest), largest.loss);
    let budget = 100. * largest.operations();
    println!("best size for {budget:.1e} operations: {:.0} weights", law.best_size(budget));
    Ok(())
}

/// Path of the built-in text from any folder, or `path` itself.
fn data_path(path: &Path) -> PathBuf {
    let is_built_in = path == Path::new("data/tiny.txt") && !path.exists();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    if is_built_in { root.join(path) } else { path.to_path_buf() }
}

// ANCHOR: train
/// A model of this width after one pass over `n_tokens` random windows of the training text, each
/// run with a learning-rate schedule of its own length.
fn train(
    corpus: &ByteCorpus,
    width: usize,
    n_tokens: usize,
    seed: u64,
    device: &Device,
) -> Result<Run> {
    let config = ModelConfig::byte_level(CONTEXT_LEN, 2, width / 16, width);
    let mut parameters = Parameters::seeded(seed, DType::F32, device);
    let model = GptModern::new(&config, parameters.root())?;
    let mut optimizer = AdamW::new(&parameters, AdamWConfig::default())?;
    let steps = n_tokens / (BATCH_SIZE * CONTEXT_LEN);
    let peak_lr = PEAK_LR * (128. / width as f64).sqrt();
    let (schedule, mut rng) = (LrSchedule::cosine(peak_lr, steps), Rng::new(seed));
    for step in 1..=steps {
        let batch = Batch::random(&corpus.train, BATCH_SIZE, CONTEXT_LEN, &mut rng, device)?;
        let loss = cross_entropy(&model.forward(&batch.inputs)?, &batch.targets)?;
        let mut grads = backward(&loss)?;
        let grad_norm = clip_grad_norm(&mut grads, &parameters, 1.)?;
        ensure_finite(step, f64::from(loss.to_scalar::<f32>()?), grad_norm, "the learning rate")?;
        optimizer.step(&grads, schedule.lr_at(step))?;
    }
    let inference = model.for_inference(&parameters)?;
    let loss = evaluate(&inference, &corpus.validation, 64, device)?.loss;
    Ok(Run { n_weights: parameters.n_parameters(), n_tokens, loss })
}
// ANCHOR_END: train

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_weights_and_more_text_lower_the_loss() -> Result<()> {
        let corpus = ByteCorpus::from_bytes(include_bytes!("../../data/tiny.txt"));
        let corpus = ByteCorpus { validation: corpus.validation[..4_000].to_vec(), ..corpus };
        let loss = |width, n_tokens| -> Result<f64> {
            Ok(train(&corpus, width, n_tokens, 1, &Device::Cpu)?.loss)
        };
        let start = loss(16, 8 * 1024)?;
        assert!(loss(16, 32 * 1024)? < start - 0.1);
        assert!(loss(32, 8 * 1024)? < start);
        Ok(())
    }
}
