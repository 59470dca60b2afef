//! Logits of many positions, computed for some of them at a time.
//!
//! A step on N tokens with a vocabulary of V needs N · V logits, as many gradients, and a softmax:
//! 1,000 tokens of SmolLM2 are 49 million logits, 200 MB each time, more than all of the model's
//! activations. What is learned from is one number per token. So the LM head, the softmax and their
//! gradients are computed for a chunk of the tokens before the next one's, and the logits of a
//! chunk are freed.

use std::ops::Range;

use candle_core::{DType, Module, Result, Tensor};
use tensor_core::ops::cross_entropy::IGNORE_INDEX;
use tensor_core::ops::{cross_entropy, token_log_probs};
use tensor_core::{at_least_f32, map_row_chunks, sum_row_chunks};

use crate::GptModern;

/// Logits in a chunk: 64 MB in f32.
const CHUNK_LOGITS: usize = 1 << 24;
/// Rows of the smallest chunk: with fewer, reading the LM head's weight and adding its gradient
/// would take longer than the products.
const MIN_CHUNK_ROWS: usize = 256;

impl GptModern {
    /// Number of positions whose logits are computed at a time.
    pub fn logits_chunk_len(&self) -> usize {
        (CHUNK_LOGITS / self.config().vocab_size.max(1)).max(MIN_CHUNK_ROWS)
    }

    /// Mean cross-entropy of the logits of `hidden: (.., W)` against `targets: (..)` (i64), where
    /// rows with [`IGNORE_INDEX`] are left out, in f32 or wider; 0 if all are.
    ///
    /// # Errors
    /// Those of [`cross_entropy`](fn@cross_entropy).
    pub fn cross_entropy(&self, hidden: &Tensor, targets: &Tensor) -> Result<Tensor> {
        self.cross_entropy_in_chunks(hidden, targets, self.logits_chunk_len())
    }

    /// [`GptModern::cross_entropy`] with chunks of `chunk_len` positions.
    pub(crate) fn cross_entropy_in_chunks(
        &self,
        hidden: &Tensor,
        targets: &Tensor,
        chunk_len: usize,
    ) -> Result<Tensor> {
        let (rows, targets) = (flat_rows(hidden)?, targets.flatten_all()?); // (N, W), (N)
        let n = rows.dim(0)?;
        if n <= chunk_len || targets.elem_count() != n {
            return cross_entropy(&at_least_f32(&self.logits(&rows)?)?, &targets);
        }
        let all_targets: Vec<i64> = targets.to_vec1()?; // waits for the device
        let n_targets = count(&all_targets).max(1) as f64;
        if hidden.dtype() == DType::F16 {
            // Gradients in f16 need the loss scale, which comes with the backward pass.
            let of_chunk = targets.clone();
            let log_probs = self.map_logits_in_chunks(&rows, chunk_len, move |rows, logits| {
                let targets = of_chunk.narrow(0, rows.start, rows.len())?;
                Ok(vec![token_log_probs(logits, &targets)?])
            })?;
            return log_probs[0].sum_all()?.neg()? / n_targets;
        }
        sum_row_chunks(&rows, chunk_len, |rows, hidden| {
            let targets = targets.narrow(0, rows.start, rows.len())?;
            let share = count(&all_targets[rows]) as f64 / n_targets;
            cross_entropy(&at_least_f32(&self.logits(hidden)?)?, &targets)? * share
        })
    }

    /// Results of `f(positions, logits)`, a number per position each, for the logits of `hidden:
    /// (N, W)`, which are (n, V), in f32 or wider, for n of the N positions at a time. If N is
    /// large, the backward pass computes them again.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn map_logits(
        &self,
        hidden: &Tensor,
        f: impl Fn(Range<usize>, &Tensor) -> Result<Vec<Tensor>> + Send + 'static,
    ) -> Result<Vec<Tensor>> {
        self.map_logits_in_chunks(hidden, self.logits_chunk_len(), f)
    }

    /// [`GptModern::map_logits`] with chunks of `chunk_len` positions.
    pub(crate) fn map_logits_in_chunks(
        &self,
        hidden: &Tensor,
        chunk_len: usize,
        f: impl Fn(Range<usize>, &Tensor) -> Result<Vec<Tensor>> + Send + 'static,
    ) -> Result<Vec<Tensor>> {
        let (n, _w) = hidden.dims2()?;
        if n <= chunk_len {
            return f(0..n, &at_least_f32(&self.logits(hidden)?)?);
        }
        let head = self.head();
        map_row_chunks(hidden, chunk_len, self.dropout(), move |rows, hidden| {
            f(rows, &at_least_f32(&head.forward(hidden)?)?)
        })
    }
}

/// Rows (N, W) of `hidden: (.., W)`.
fn flat_rows(hidden: &Tensor) -> Result<Tensor> {
    let w = hidden.dim(candle_core::D::Minus1)?;
    tensor_core::reshape(hidden, ((), w))
}

fn count(targets: &[i64]) -> usize {
    targets.iter().filter(|&&target| target != IGNORE_INDEX).count()
}
