//! 1.2 Self-attention by hand: one head on three tokens, in f64 and plain `ndarray`, every number printable.
//!
//! Q = X·W_q, K = X·W_k, V = X·W_v; S = Q·Kᵀ/√D, the future hidden; A = softmax(S) row by row; output = A·V.
//! [`SelfAttention::backward`] runs the same steps in reverse: it is the chain rule, also by hand.

use ndarray::{Array1, Array2, Axis, array};

/// The three matrices of a head, each (C, D).
#[derive(Debug, Clone)]
pub struct SelfAttention {
    /// Turns a token into what it looks for.
    pub w_q: Array2<f64>,
    /// Turns a token into what it offers to be found by.
    pub w_k: Array2<f64>,
    /// Turns a token into what it hands over when found.
    pub w_v: Array2<f64>,
}

/// Every intermediate result of a forward pass over T tokens.
#[derive(Debug, Clone)]
pub struct SelfAttentionTrace {
    /// Queries (T, D).
    pub q: Array2<f64>,
    /// Keys (T, D).
    pub k: Array2<f64>,
    /// Values (T, D).
    pub v: Array2<f64>,
    /// Q·Kᵀ/√D with the future at −∞, (T, T).
    pub scores: Array2<f64>,
    /// Softmax of the scores, (T, T): row t says how much token t takes from each token before it.
    pub weights: Array2<f64>,
    /// The weighted averages of the values, (T, D).
    pub output: Array2<f64>,
}

/// The gradient of a loss in the input and in each matrix.
#[derive(Debug, Clone)]
pub struct Gradients {
    /// (T, C)
    pub x: Array2<f64>,
    /// (C, D)
    pub w_q: Array2<f64>,
    /// (C, D)
    pub w_k: Array2<f64>,
    /// (C, D)
    pub w_v: Array2<f64>,
}

/// The example that the whole part follows: three tokens of four channels.
pub fn example_tokens() -> Array2<f64> {
    array![[0.1, 0.2, 0.3, 0.4], [0.5, 0.4, 0.3, 0.2], [0.0, 0.1, 0.0, 0.1]]
}

impl SelfAttention {
    /// A head with two channels whose numbers are small enough to follow with pencil and paper.
    pub fn example() -> Self {
        Self {
            w_q: array![[0.2, -0.1], [0.0, 0.1], [0.1, 0.2], [-0.1, 0.0]],
            w_k: array![[0.1, 0.1], [0.0, -0.1], [0.2, 0.0], [0.0, 0.2]],
            w_v: array![[0.1, 0.0], [-0.1, 0.1], [0.2, -0.1], [0.0, 0.2]],
        }
    }

    /// Attends over the tokens `x: (T, C)`.
    pub fn forward(&self, x: &Array2<f64>) -> SelfAttentionTrace {
        let (q, k, v) = (x.dot(&self.w_q), x.dot(&self.w_k), x.dot(&self.w_v)); // (T, D) each
        let mut scores = q.dot(&k.t()) / self.root_d(); // (T, T)
        for ((query, key), score) in scores.indexed_iter_mut() {
            if key > query {
                *score = f64::NEG_INFINITY; // a token must not see what comes after it
            }
        }
        let weights = softmax_rows(&scores); // (T, T)
        let output = weights.dot(&v); // (T, T) x (T, D) -> (T, D)
        SelfAttentionTrace { q, k, v, scores, weights, output }
    }

    /// The gradients of a loss whose gradient in the output is `grad_output: (T, D)`.
    pub fn backward(
        &self,
        x: &Array2<f64>,
        trace: &SelfAttentionTrace,
        grad_output: &Array2<f64>,
    ) -> Gradients {
        let SelfAttentionTrace { q, k, v, weights, .. } = trace;
        let grad_v = weights.t().dot(grad_output); // (T, D)
        let grad_weights = grad_output.dot(&v.t()); // (T, T)
        // Softmax: raising one score of a row lowers the others, so each row's average gain is taken off.
        let average: Array1<f64> = (&grad_weights * weights).sum_axis(Axis(1));
        let grad_scores = (&grad_weights - &average.insert_axis(Axis(1))) * weights; // (T, T)
        let grad_q = grad_scores.dot(k) / self.root_d(); // (T, D)
        let grad_k = grad_scores.t().dot(q) / self.root_d(); // (T, D)
        Gradients {
            x: grad_q.dot(&self.w_q.t()) + grad_k.dot(&self.w_k.t()) + grad_v.dot(&self.w_v.t()),
            w_q: x.t().dot(&grad_q),
            w_k: x.t().dot(&grad_k),
            w_v: x.t().dot(&grad_v),
        }
    }

    /// √D: without it, scores grow with the head's width and softmax saturates.
    fn root_d(&self) -> f64 {
        (self.w_q.ncols() as f64).sqrt()
    }
}

fn softmax_rows(scores: &Array2<f64>) -> Array2<f64> {
    let mut weights = scores.clone();
    for mut row in weights.rows_mut() {
        let max = row.fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        row.mapv_inplace(|score| (score - max).exp()); // exp(−∞) = 0 hides the future
        let sum = row.sum();
        row /= sum;
    }
    weights
}
