//! The loss on held-out tokens, window after window, so that neither file nor logits need fit into memory.

use anyhow::{Result, ensure};
use candle_core::DType;
use modern::GptModern;
use tensor_core::ops::cross_entropy;
use tiny_gpt::loss::bits_per_byte;
use tiny_gpt::{Batch, LmEvalMetrics};

use crate::TokenFile;

/// How much to measure, and how many windows at a time.
#[derive(Debug, Clone, Copy)]
pub struct LmEvalConfig {
    /// Windows at a time.
    pub batch_size: usize,
    /// Windows in all, from the first on; `None`: every one.
    pub max_windows: Option<usize>,
}

/// Measures `model` (an inference twin: no graph is built) on `tokens`. Bytes are counted in the text, not in decoded
/// tokens; of a part of the tokens, in proportion.
///
/// # Errors
/// When there are not two tokens, or they are damaged.
pub fn evaluate(
    model: &GptModern,
    tokens: &TokenFile,
    extent: LmEvalConfig,
) -> Result<LmEvalMetrics> {
    let n = tokens.len();
    ensure!(n > 1, "{n} tokens are too few to predict any");
    let t = model.config().context_len;
    let end =
        extent.max_windows.map_or(n, |windows| n.min(windows.saturating_mul(t).saturating_add(1)));
    let (mut nats, mut predicted) = (0., 0);
    while predicted + 1 < end {
        let last = end.min(predicted + extent.batch_size * t + 1);
        let stretch = tokens.read(predicted..last)?;
        for batch in Batch::consecutive(&stretch, extent.batch_size, t, model.device()) {
            let batch = batch?;
            let logits = model.forward(&batch.inputs)?.to_dtype(DType::F32)?;
            let loss = cross_entropy(&logits, &batch.targets)?;
            nats += f64::from(loss.to_scalar::<f32>()?) * batch.targets.elem_count() as f64;
        }
        predicted += stretch.len() - 1;
    }
    let loss = nats / predicted as f64;
    let bytes = tokens.n_text_bytes() as f64 * (predicted + 1) as f64 / n as f64;
    let bits_per_byte = bits_per_byte(loss, predicted, bytes.round() as usize);
    Ok(LmEvalMetrics { loss, bits_per_byte, tokens: predicted })
}
