//! Functions of rows that are computed a chunk of rows at a time, so that intermediate results that
//! are much larger than their inputs and results never stand in memory whole.
//!
//! The logits of a language model are such: 1,000 hidden states of 576 numbers become 1,000 rows of
//! 49,152 logits, and then one loss, or one log-probability each. Two forms:
//!
//! ```text
//! sum     Σ f(chunk)     the gradient of each chunk is computed with its value, up to the factor
//!                        that the backward pass brings: no more work than without chunks
//! rows    f(chunk)       a row of results per row of x; their gradients are not known yet, so the
//!                        backward pass computes f a second time, as gradient checkpointing does
//! ```
//!
//! The first is what Liger's fused linear cross-entropy does (Hsu et al.,
//! <https://arxiv.org/abs/2410.10989>).

use std::ops::Range;
use std::sync::{Arc, Mutex};

use candle_core::backprop::GradStore;
use candle_core::{DType, Result, Tensor, Var};

use super::backward::backward;
use super::grad_sum::GradSum;
use super::gradient_checkpoint::{as_result_of, store_gradients};
use super::node::{Node, Source, lock};
use crate::Dropout;

/// Σ `f(rows, x[rows])` over chunks of `chunk_len` rows of `x: (N, ..)`; each value of `f` is a
/// scalar: ().
///
/// `f` may use any parameters. The gradients are computed here, not in the backward pass, so 16-bit
/// gradients that need loss scaling are out of place.
///
/// # Errors
/// Those of `f`, and when N is 0.
pub fn sum_row_chunks(
    x: &Tensor,
    chunk_len: usize,
    f: impl Fn(Range<usize>, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let (mut total, mut x_grads, mut grads) = (None, Vec::new(), GradSum::default());
    for rows in chunks(x.dim(0)?, chunk_len) {
        let chunk = Chunk::new(x, &rows)?;
        let y = f(rows, chunk.tensor())?; // ()
        if y.track_op() {
            let mut of_chunk = backward(&y)?; // frees what f allocated
            x_grads.extend(chunk.take_grad(&mut of_chunk)?);
            grads.add(of_chunk)?;
        }
        let y = y.detach();
        total = Some(total.map_or(Ok(y.clone()), |total: Tensor| total + y)?);
    }
    let Some(total) = total else { candle_core::bail!("sum_row_chunks: there are no rows") };
    let (source, grads) = (Source::of(x), grads.finish());
    if source.is_none() && grads.is_none() {
        return Ok(total);
    }
    let grad_x = if x_grads.is_empty() { None } else { Some(Tensor::cat(&x_grads, 0)?) };
    let scaled = move |grad: &Tensor| {
        let scale: f64 = grad.to_dtype(DType::F64)?.to_scalar()?;
        let grad_x = grad_x.map(|grad_x| scaled(grad_x, scale)).transpose()?;
        Ok((vec![grad_x], grads.map(|grads| scaled_all(grads, scale)).transpose()?))
    };
    as_result_of(&total, Node::new("sum_row_chunks", &().into(), vec![source], scaled))
}

/// Results of `f(rows, x[rows])` over chunks of `chunk_len` rows of `x: (N, ..)`, each (n, ..) for
/// n rows, concatenated. The backward pass calls `f` again, chunk by chunk, and `dropout` generates
/// the same masks again.
///
/// `f` may use any parameters; all of them get the same gradients as without chunks.
///
/// # Errors
/// Those of `f`, and when N is 0.
pub fn map_row_chunks(
    x: &Tensor,
    chunk_len: usize,
    dropout: &Dropout,
    f: impl Fn(Range<usize>, &Tensor) -> Result<Vec<Tensor>> + Send + 'static,
) -> Result<Vec<Tensor>> {
    let (n, rng_state) = (x.dim(0)?, dropout.rng_state());
    let (mut all, mut is_tracked) = (Vec::new(), x.track_op());
    for rows in chunks(n, chunk_len) {
        let of_chunk = f(rows.clone(), &x.detach().narrow(0, rows.start, rows.len())?)?;
        is_tracked |= of_chunk.iter().any(Tensor::track_op);
        // Detached, or the graph would keep what f allocated.
        all.push(of_chunk.iter().map(Tensor::detach).collect::<Vec<_>>());
    }
    let n_results = all.first().map_or(0, Vec::len);
    let results = (0..n_results)
        .map(|i| Tensor::cat(&all.iter().map(|of_chunk| &of_chunk[i]).collect::<Vec<_>>(), 0))
        .collect::<Result<Vec<_>>>()?;
    if !is_tracked {
        return Ok(results);
    }
    let (x, source, dropout) = (x.detach(), Source::of(x), dropout.clone());
    let needs_x = source.is_some();
    let result_grads: Arc<Mutex<Vec<Option<Tensor>>>> = Arc::new(Mutex::new(vec![None; n_results]));
    let stored = result_grads.clone();
    let recompute = move |_: &Tensor| {
        let result_grads: Vec<Option<Tensor>> = lock(&stored).drain(..).collect();
        dropout.with_rng_state(rng_state, || recompute(&x, needs_x, chunk_len, &result_grads, &f))
    };
    let node = Node::new("map_row_chunks", &().into(), vec![source], recompute);
    store_gradients("map_row_chunks", &results, &node, &result_grads)
}

/// Gradients of x and of the parameters of `f`, given those of its results.
fn recompute(
    x: &Tensor,
    needs_x: bool,
    chunk_len: usize,
    result_grads: &[Option<Tensor>],
    f: &impl Fn(Range<usize>, &Tensor) -> Result<Vec<Tensor>>,
) -> Result<(Vec<Option<Tensor>>, Option<GradStore>)> {
    let (mut x_grads, mut grads) = (Vec::new(), GradSum::default());
    for rows in chunks(x.dim(0)?, chunk_len) {
        let chunk = Chunk::with_gradient(x, &rows, needs_x)?;
        let results = f(rows.clone(), chunk.tensor())?;
        let mut sum = Tensor::zeros((), DType::F32, x.device())?;
        for (y, grad) in results.iter().zip(result_grads) {
            if let Some(grad) = grad {
                // The gradient of this term with respect to y is that of these rows.
                let grad = grad.narrow(0, rows.start, rows.len())?.to_device(y.device())?;
                let term = (y * grad)?.sum_all()?;
                sum = (sum + term.to_dtype(DType::F32)?)?;
            }
        }
        let mut of_chunk = backward(&sum)?;
        x_grads.extend(chunk.take_grad(&mut of_chunk)?);
        grads.add(of_chunk)?;
    }
    let grad_x = if needs_x { Some(Tensor::cat(&x_grads, 0)?) } else { None };
    Ok((vec![grad_x], grads.finish()))
}

/// Rows of x, as a variable if x needs a gradient.
enum Chunk {
    Variable(Var),
    Constant(Tensor),
}

impl Chunk {
    fn new(x: &Tensor, rows: &Range<usize>) -> Result<Self> {
        Self::with_gradient(&x.detach(), rows, x.track_op())
    }

    fn with_gradient(x: &Tensor, rows: &Range<usize>, needs_x: bool) -> Result<Self> {
        let chunk = x.narrow(0, rows.start, rows.len())?;
        Ok(if needs_x { Self::Variable(Var::from_tensor(&chunk)?) } else { Self::Constant(chunk) })
    }

    fn tensor(&self) -> &Tensor {
        match self {
            Self::Variable(chunk) => chunk.as_tensor(),
            Self::Constant(chunk) => chunk,
        }
    }

    /// Gradient of a variable, 0 if nothing depends on it; `None` of a constant.
    fn take_grad(&self, grads: &mut GradStore) -> Result<Option<Tensor>> {
        let Self::Variable(chunk) = self else { return Ok(None) };
        Ok(Some(grads.remove(chunk.as_tensor()).map_or_else(|| chunk.zeros_like(), Ok)?.detach()))
    }
}

/// Ranges of `chunk_len` of `n` rows; the last may be shorter.
fn chunks(n: usize, chunk_len: usize) -> impl Iterator<Item = Range<usize>> {
    let chunk_len = chunk_len.max(1);
    (0..n).step_by(chunk_len).map(move |start| start..n.min(start + chunk_len))
}

fn scaled(grad: Tensor, scale: f64) -> Result<Tensor> {
    if scale == 1. { Ok(grad) } else { grad * scale }
}

fn scaled_all(mut grads: GradStore, scale: f64) -> Result<GradStore> {
    for id in grads.get_ids().copied().collect::<Vec<_>>() {
        if let Some(grad) = grads.get_id(id) {
            let grad = scaled(grad.clone(), scale)?;
            grads.insert_id(id, grad);
        }
    }
    Ok(grads)
}
