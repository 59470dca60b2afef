//! 4.5 Loss on validation tokens, computed window by window, so that neither the file nor all
//! logits have to fit in memory.

use anyhow::{Result, ensure};
use datasets::TokenFile;
use model_io::ModelConfig;
use model_io::config::PositionEncoding;
use modern::GptModern;
use tiny_gpt::bits_per_byte::bits_per_byte;
use tiny_gpt::{Batch, LmEvalMetrics, Sampling};

/// Size of an evaluation.
#[derive(Debug, Clone, Copy)]
pub struct LmEvalConfig {
    /// Windows per forward pass.
    pub batch_size: usize,
    /// Maximum number of windows, counted from the start of the file; `None` for all.
    pub max_windows: Option<usize>,
    /// Tokens per window; `None` for the model's context length.
    pub window_len: Option<usize>,
}

impl LmEvalConfig {
    /// Checks that a model of learned positions has one for each token of a window. RoPE has no
    /// last position: it can be evaluated on windows that are longer than the context.
    ///
    /// # Errors
    /// When the windows are longer than the context of such a model.
    pub fn check(&self, config: &ModelConfig) -> Result<()> {
        let (t, context_len) = (self.window_len.unwrap_or(0), config.context_len);
        let is_learned = matches!(config.attention.position, PositionEncoding::Learned { .. });
        ensure!(
            !is_learned || t <= context_len,
            "--context-len {t}: the model's context is {context_len} tokens"
        );
        Ok(())
    }
}

/// Validations and samples during a run.
#[derive(Debug, Clone, Copy)]
pub struct ValidationConfig {
    /// Steps between validations; 0 validates only before and after training. The model is saved
    /// if its loss is the best so far.
    pub eval_interval: usize,
    /// Size of a validation.
    pub eval_config: LmEvalConfig,
    /// Steps between samples; 0 samples only at the end.
    pub sample_interval: usize,
    /// Sampling strategy of the samples.
    pub sampling: Sampling,
    /// Length of a sample in tokens.
    pub sample_len: usize,
}

/// Loss and bits per byte of `model` on `tokens`. Pass a model for inference, so that no graph is
/// built. Bytes are those of the original text; for part of the tokens, a proportional number.
///
/// # Errors
/// When there are fewer than two tokens, or they are damaged.
pub fn evaluate(
    model: &GptModern,
    tokens: &TokenFile,
    config: LmEvalConfig,
) -> Result<LmEvalMetrics> {
    let n = tokens.len();
    ensure!(n > 1, "too few tokens ({n}): a prediction needs at least 2");
    let t = config.window_len.unwrap_or(model.config().context_len);
    let end =
        config.max_windows.map_or(n, |windows| n.min(windows.saturating_mul(t).saturating_add(1)));
    let n_per_pass = config.batch_size.saturating_mul(t);
    let (mut total_nats, mut n_predicted) = (0., 0);
    while n_predicted + 1 < end {
        let last = end.min(n_predicted.saturating_add(n_per_pass).saturating_add(1));
        let ids = tokens.read(n_predicted..last)?;
        for batch in Batch::consecutive(&ids, config.batch_size, t, model.device()) {
            let batch = batch?;
            let hidden = model.hidden_states(&batch.inputs)?; // (B, T, C)
            let loss = model.cross_entropy(&hidden, &batch.targets)?;
            total_nats += f64::from(loss.to_scalar::<f32>()?) * batch.targets.elem_count() as f64;
        }
        n_predicted += ids.len() - 1;
    }
    let loss = total_nats / n_predicted as f64;
    let n_bytes = tokens.n_text_bytes() as f64 * (n_predicted + 1) as f64 / n as f64;
    let bits_per_byte = bits_per_byte(loss, n_predicted, n_bytes.round() as usize);
    Ok(LmEvalMetrics { loss, bits_per_byte, tokens: n_predicted })
}
