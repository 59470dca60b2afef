//! Causal self-attention over packed queries, keys and values: softmax(q kᵀ / √D) v, no token seeing its future.
//!
//! The weights of a block of queries are computed, used and forgotten, so memory grows with T and not with T²; blocks
//! in the future are never touched. The backward pass computes them again from the saved log-sum of each row
//! (FlashAttention, Dao et al., <https://arxiv.org/abs/2205.14135>).

use candle_core::{D, DType, Device, IndexOp, Result, Tensor, bail};
use rayon::prelude::*;

use super::cpu::{
    Real, by_type, for_each_part, has_fused_loops, largest, rows_per_task, sum, vectorized,
};
use super::node::{attach, values};
use super::product::{Matrix, product_here};
use super::softmax;

/// Queries that are worked on at a time.
const BLOCK: usize = 64;

/// Attention of `qkv: (B, T, 3C)`, packed as Q|K|V and by head within each, giving `(B, T, C)`.
///
/// # Errors
/// When the last dimension is not three times a multiple of `n_head`.
pub fn self_attention(qkv: &Tensor, n_head: usize) -> Result<Tensor> {
    let (_b, _t, packed) = qkv.dims3()?;
    if n_head == 0 || packed % (3 * n_head) != 0 || packed == 0 {
        bail!(
            "self_attention: {:?} holds no queries, keys and values of {n_head} heads",
            qkv.dims()
        );
    }
    if has_fused_loops(qkv) { by_type!(qkv, fused(qkv, n_head)) } else { reference(qkv, n_head) }
}

/// The same from plain tensor operations.
pub fn reference(qkv: &Tensor, n_head: usize) -> Result<Tensor> {
    let (b, t, packed) = qkv.dims3()?;
    let (c, d) = (packed / 3, packed / 3 / n_head);
    let split = qkv.reshape((b, t, 3, n_head, d))?.permute((2, 0, 3, 1, 4))?; // (3, B, H, T, D)
    let take = |part: usize| split.i(part)?.contiguous(); // (B, H, T, D)
    let (q, k, v) = (take(0)?, take(1)?, take(2)?);
    let scores = (q.matmul(&k.transpose(D::Minus2, D::Minus1)?)? / (d as f64).sqrt())?; // (B, H, T, T)
    let scores = scores.broadcast_add(&future(t, qkv.dtype(), qkv.device())?)?;
    softmax(&scores)?.matmul(&v)?.transpose(1, 2)?.reshape((b, t, c))
}

/// −∞ above the diagonal, 0 elsewhere: (T, T).
fn future(t: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    let cell = |at: usize| if at % t > at / t { f32::NEG_INFINITY } else { 0. };
    Tensor::from_iter((0..t * t).map(cell), device)?.reshape((t, t))?.to_dtype(dtype)
}

fn fused<T: Real>(qkv: &Tensor, n_head: usize) -> Result<Tensor> {
    let qkv = &qkv.contiguous()?;
    let (b, t, packed) = qkv.dims3()?;
    let shape = Heads { t, h: n_head, d: packed / 3 / n_head };
    let (output, log_sums) = forward(&values::<T>(qkv)?, shape);
    let kept = output.clone();
    attach("self_attention", [qkv], output, (b, t, packed / 3), move |[qkv], grad| {
        let grad = backward(&values::<T>(qkv)?, &kept, &log_sums, &values::<T>(grad)?, shape);
        Ok([Some(Tensor::from_vec(grad, qkv.shape(), qkv.device())?)])
    })
}

/// The sizes of one sequence.
#[derive(Clone, Copy)]
struct Heads {
    t: usize,
    h: usize,
    d: usize,
}

impl Heads {
    fn c(self) -> usize {
        self.h * self.d
    }

    fn scale<T: Real>(self) -> T {
        T::real(1. / (self.d as f64).sqrt())
    }

    /// Queries (0), keys (1) or values (2) of head `h` of sequence `b`, from `first` to `end`: (end − first, D).
    fn part<T>(
        self,
        qkv: &[T],
        b: usize,
        h: usize,
        part: usize,
        (first, end): (usize, usize),
    ) -> Matrix<'_, T> {
        let stride = 3 * self.c();
        let start = (b * self.t + first) * stride + part * self.c() + h * self.d;
        Matrix::strided(&qkv[start..], end - first, self.d, stride)
    }

    /// Head `h` of rows `first` to `end` of `(B, T, C)`.
    fn rows<T>(self, x: &[T], b: usize, h: usize, (first, end): (usize, usize)) -> Matrix<'_, T> {
        let start = (b * self.t + first) * self.c() + h * self.d;
        Matrix::strided(&x[start..], end - first, self.d, self.c())
    }

    /// The blocks of queries.
    fn blocks(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.t).step_by(BLOCK).map(move |first| (first, self.t.min(first + BLOCK)))
    }
}

/// The outputs (B, T, C), and the logarithm of each softmax's denominator by (B, H, T).
fn forward<T: Real>(qkv: &[T], heads: Heads) -> (Vec<T>, Vec<T>) {
    let Heads { t, h, d } = heads;
    let tokens = qkv.len() / (3 * heads.c());
    let mut by_head = vec![T::ZERO; tokens * heads.c()]; // (B, H, T, D)
    let mut log_sums = vec![T::ZERO; tokens * h]; // (B, H, T)
    let tasks = by_head.par_chunks_mut(t * d).zip(log_sums.par_chunks_mut(t)).enumerate();
    tasks.for_each(|(task, (output, log_sums))| {
        let (b, head) = (task / h, task % h);
        let mut weights = vec![T::ZERO; BLOCK.min(t) * t];
        for (first, end) in heads.blocks() {
            let weights = &mut weights[..(end - first) * end]; // (queries, keys)
            let q = heads.part(qkv, b, head, 0, (first, end));
            let k = heads.part(qkv, b, head, 1, (0, end));
            product_here((weights, end), T::ZERO, (q, k.transposed()), heads.scale());
            vectorized(|| {
                for (row, query) in weights.chunks_exact_mut(end).zip(first..) {
                    let (past, future) = row.split_at_mut(query + 1);
                    log_sums[query] = softmax_with_log_sum(past);
                    future.fill(T::ZERO);
                }
            });
            let v = heads.part(qkv, b, head, 2, (0, end));
            let weights = Matrix::new(weights, end - first, end);
            product_here((&mut output[first * d..end * d], d), T::ZERO, (weights, v), T::ONE);
        }
    });
    (interleave(&by_head, heads, 1), log_sums)
}

/// Softmax of a row in place; gives log Σ exp.
#[inline(always)]
fn softmax_with_log_sum<T: Real>(row: &mut [T]) -> T {
    let max = largest(row);
    row.iter_mut().for_each(|x| *x = (*x - max).exp());
    let total = sum(row.len(), |i| row[i]);
    let scale = T::ONE / total;
    row.iter_mut().for_each(|x| *x *= scale);
    max + total.ln()
}

/// The gradient of `qkv`, laid out alike.
fn backward<T: Real>(qkv: &[T], output: &[T], log_sums: &[T], grad: &[T], heads: Heads) -> Vec<T> {
    let Heads { t, h, d } = heads;
    let mut by_head = vec![T::ZERO; qkv.len()]; // (B, H, 3, T, D)
    by_head.par_chunks_mut(3 * t * d).enumerate().for_each(|(task, grads)| {
        let (b, head) = (task / h, task % h);
        let (grad_q, rest) = grads.split_at_mut(t * d);
        let (grad_k, grad_v) = rest.split_at_mut(t * d);
        let mut weights = vec![T::ZERO; BLOCK.min(t) * t];
        let mut grad_scores = vec![T::ZERO; BLOCK.min(t) * t];
        for (first, end) in heads.blocks() {
            let size = (end - first) * end;
            let (weights, grad_scores) = (&mut weights[..size], &mut grad_scores[..size]);
            let q = heads.part(qkv, b, head, 0, (first, end));
            let k = heads.part(qkv, b, head, 1, (0, end));
            let v = heads.part(qkv, b, head, 2, (0, end));
            let grad_out = heads.rows(grad, b, head, (first, end));
            product_here((weights, end), T::ZERO, (q, k.transposed()), heads.scale());
            product_here((grad_scores, end), T::ZERO, (grad_out, v.transposed()), T::ONE);
            vectorized(|| {
                let rows = weights.chunks_exact_mut(end).zip(grad_scores.chunks_exact_mut(end));
                for ((weights, grad_scores), query) in rows.zip(first..) {
                    let at = (b * t + query) * heads.c() + head * d;
                    let (grad, output) = (&grad[at..at + d], &output[at..at + d]);
                    let mean = sum(d, |i| grad[i] * output[i]); // what softmax takes off each row
                    let log_sum = log_sums[task * t + query];
                    let (past, future) = weights.split_at_mut(query + 1);
                    for (weight, grad) in past.iter_mut().zip(&mut *grad_scores) {
                        *weight = (*weight - log_sum).exp();
                        *grad = *weight * (*grad - mean);
                    }
                    future.fill(T::ZERO);
                    grad_scores[query + 1..].fill(T::ZERO);
                }
            });
            let weights = Matrix::new(weights, end - first, end);
            let grad_scores = Matrix::new(grad_scores, end - first, end);
            let keys = end * d;
            let scale = heads.scale();
            product_here(
                (&mut grad_v[..keys], d),
                T::ONE,
                (weights.transposed(), grad_out),
                T::ONE,
            );
            product_here((&mut grad_k[..keys], d), T::ONE, (grad_scores.transposed(), q), scale);
            product_here((&mut grad_q[first * d..keys], d), T::ZERO, (grad_scores, k), scale);
        }
    });
    interleave(&by_head, heads, 3)
}

/// From (B, H, P, T, D) to (B, T, P, H, D), P parts.
fn interleave<T: Real>(by_head: &[T], heads: Heads, parts: usize) -> Vec<T> {
    let Heads { t, h, d } = heads;
    let width = parts * heads.c();
    let mut result = vec![T::ZERO; by_head.len()];
    for_each_part(&mut result, rows_per_task(width) * width, |start, rows| {
        for (row, token) in rows.chunks_exact_mut(width).zip(start / width..) {
            let (b, time) = (token / t, token % t);
            for (piece, at) in row.chunks_exact_mut(d).zip(0..) {
                let (part, head) = (at / h, at % h);
                let from = (((b * h + head) * parts + part) * t + time) * d;
                piece.copy_from_slice(&by_head[from..from + d]);
            }
        }
    });
    result
}
