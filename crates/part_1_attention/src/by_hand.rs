//! 1.2 Self-attention by hand: one head on three tokens, in f64 and plain `ndarray`, every number
//! printable.
//!
//! Q = X·W_q, K = X·W_k, V = X·W_v; S = Q·Kᵀ/√D, with the future masked; A = softmax(S) row by row;
//! output = A·V. [`SelfAttention::backward`] applies the chain rule to the same steps in reverse.

use ndarray::{Array1, Array2, Axis, array};

/// Projection matrices of a head, each (C, D).
#[derive(Debug, Clone)]
pub struct SelfAttention {
    /// Query projection.
    pub w_q: Array2<f64>,
    /// Key projection.
    pub w_k: Array2<f64>,
    /// Value projection.
    pub w_v: Array2<f64>,
}

/// Intermediate results of a forward pass over T tokens.
#[derive(Debug, Clone)]
pub struct SelfAttentionTrace {
    /// Queries (T, D).
    pub q: Array2<f64>,
    /// Keys (T, D).
    pub k: Array2<f64>,
    /// Values (T, D).
    pub v: Array2<f64>,
    /// Scores Q·Kᵀ/√D with the future at −∞, (T, T).
    pub scores: Array2<f64>,
    /// Attention weights (T, T), the softmax of the scores: row t holds the weight of each token up
    /// to t in the output of token t.
    pub weights: Array2<f64>,
    /// Weighted averages of the values, (T, D).
    pub output: Array2<f64>,
}

/// Gradients of a loss with respect to the input and each matrix.
#[derive(Debug, Clone)]
pub struct Gradients {
    /// Gradient of the input, (T, C).
    pub x: Array2<f64>,
    /// Gradient of W_q, (C, D).
    pub w_q: Array2<f64>,
    /// Gradient of W_k, (C, D).
    pub w_k: Array2<f64>,
    /// Gradient of W_v, (C, D).
    pub w_v: Array2<f64>,
}

/// Example input of part 1: three tokens of four channels.
pub fn example_tokens() -> Array2<f64> {
    array![[0.1, 0.2, 0.3, 0.4], [0.5, 0.4, 0.3, 0.2], [0.0, 0.1, 0.0, 0.1]]
}

impl SelfAttention {
    /// Head with two channels, with numbers small enough to follow with pencil and paper.
    pub fn example() -> Self {
        Self {
            w_q: array![[0.2, -0.1], [0.0, 0.1], [0.1, 0.2], [-0.1, 0.0]],
            w_k: array![[0.1, 0.1], [0.0, -0.1], [0.2, 0.0], [0.0, 0.2]],
            w_v: array![[0.1, 0.0], [-0.1, 0.1], [0.2, -0.1], [0.0, 0.2]],
        }
    }

    /// Self-attention over the tokens `x: (T, C)`.
    pub fn forward(&self, x: &Array2<f64>) -> SelfAttentionTrace {
        let (q, k, v) = (x.dot(&self.w_q), x.dot(&self.w_k), x.dot(&self.w_v)); // (T, D) each
        let mut scores = q.dot(&k.t()) / self.root_d(); // (T, T)
        for ((query, key), score) in scores.indexed_iter_mut() {
            if key > query {
                *score = f64::NEG_INFINITY; // causal mask
            }
        }
        let weights = softmax_rows(&scores); // (T, T)
        let output = weights.dot(&v); // (T, T) x (T, D) -> (T, D)
        SelfAttentionTrace { q, k, v, scores, weights, output }
    }

    /// Gradients of a loss whose gradient with respect to the output is `grad_output: (T, D)`.
    pub fn backward(
        &self,
        x: &Array2<f64>,
        trace: &SelfAttentionTrace,
        grad_output: &Array2<f64>,
    ) -> Gradients {
        let SelfAttentionTrace { q, k, v, weights, .. } = trace;
        let grad_v = weights.t().dot(grad_output); // (T, D)
        let grad_weights = grad_output.dot(&v.t()); // (T, T)
        // Softmax: raising one score of a row lowers the other weights, so the weighted mean of the
        // gradients of each row is subtracted.
        let mean: Array1<f64> = (&grad_weights * weights).sum_axis(Axis(1));
        let grad_scores = (&grad_weights - &mean.insert_axis(Axis(1))) * weights; // (T, T)
        let grad_q = grad_scores.dot(k) / self.root_d(); // (T, D)
        let grad_k = grad_scores.t().dot(q) / self.root_d(); // (T, D)
        Gradients {
            x: grad_q.dot(&self.w_q.t()) + grad_k.dot(&self.w_k.t()) + grad_v.dot(&self.w_v.t()),
            w_q: x.t().dot(&grad_q),
            w_k: x.t().dot(&grad_k),
            w_v: x.t().dot(&grad_v),
        }
    }

    /// √D. Without it, scores grow with the head's width and softmax saturates.
    fn root_d(&self) -> f64 {
        (self.w_q.ncols() as f64).sqrt()
    }
}

fn softmax_rows(scores: &Array2<f64>) -> Array2<f64> {
    let mut weights = scores.clone();
    for mut row in weights.rows_mut() {
        let max = row.fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        row.mapv_inplace(|score| (score - max).exp()); // exp(−∞) = 0 masks the future
        let sum = row.sum();
        row /= sum;
    }
    weights
}
