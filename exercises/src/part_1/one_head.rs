//! 1.2 One head (fill in, 15 minutes, ●●○)
//!
//! Each of T tokens, a row of x, has a query x W_q, a key x W_k and a value x W_v, of D numbers
//! each. Q, K and V have them as rows.
//!
//!     weights = softmax(Q Kᵀ / √D + mask)        row i sums to 1, the future has weight 0
//!     output  = weights V
//!
//! Return the weights and the output. `ops::softmax` works on the last dimension.
//!
//! Hint: `matmul` is the matrix product, `q.matmul(&k.t()?)?` has shape (T, T): a row per query.
//! Hint: D is the number of columns of W_q. `(tensor / number)?` divides all elements.
//! Hint: `let scores = (q.matmul(&k.t()?)? / (d as f64).sqrt())?;`, then `ops::softmax(&(scores +
//! mask)?)?` are the weights, and `weights.matmul(&v)?` the output.
//! Read: book/src/01_attention.md: ## The idea in words
//! Read: crates/part_1_attention/src/head.rs: pub fn causal_scores
//! Read: book/src/01_attention.md: ## The numbers by hand

use attention::causal_mask;
use candle_core::{Result, Tensor};
use tensor_core::ops;

/// Attention weights (T, T) and output (T, D) for `x: (T, C)`; the matrices are (C, D).
pub fn one_head(x: &Tensor, w_q: &Tensor, w_k: &Tensor, w_v: &Tensor) -> Result<(Tensor, Tensor)> {
    let (t, _c) = x.dims2()?;
    let (_c, d) = w_q.dims2()?;
    let mask = causal_mask(t, x.dtype(), x.device())?; // (T, T): 0, and −∞ in the future
    // SOLUTION: 5 lines: queries, keys, values; scores; weights; output
    let (q, k, v) = (x.matmul(w_q)?, x.matmul(w_k)?, x.matmul(w_v)?); // (T, D) each
    let scores = (q.matmul(&k.t()?)? / (d as f64).sqrt())?; // (T, T)
    let weights = ops::softmax(&(scores + mask)?)?;
    let output = weights.matmul(&v)?; // (T, T) x (T, D) -> (T, D)
    Ok((weights, output))
    // END
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Head = fn(&Tensor, &Tensor, &Tensor, &Tensor) -> Result<(Tensor, Tensor)>;

/// Grader. The reference is part 1's.
pub const GRADE: Fill<Head> = Fill {
    cases,
    reference: |x, w_q, w_k, w_v| {
        let (q, k, v) = (x.matmul(w_q)?, x.matmul(w_k)?, x.matmul(w_v)?);
        Ok((attention::attention_weights(&q, &k)?, attention::causal_attention(&q, &k, &v)?))
    },
    tolerance: 1e-6,
    wrong: &[
        Wrong {
            f: |x, w_q, w_k, w_v| {
                let (_c, d) = w_q.dims2()?;
                one_head(x, &(w_q * (d as f64).sqrt())?, w_k, w_v)
            },
            says: "the scores are not divided by √D",
            read: "book/src/01_attention.md: ## Why divide by √D",
        },
        Wrong {
            f: |x, w_q, w_k, w_v| {
                let (_c, d) = w_q.dims2()?;
                one_head(x, &(w_q / (d as f64).sqrt())?, w_k, w_v)
            },
            says: "the scores are divided by D; it is its root",
            read: "book/src/01_attention.md: ## Why divide by √D",
        },
        Wrong {
            f: |x, w_q, w_k, w_v| {
                let (c, d) = w_q.dims2()?;
                one_head(x, &(w_q * (d as f64 / c as f64).sqrt())?, w_k, w_v)
            },
            says: "the scores are divided by √C, the width of a token; a query has D numbers",
            read: "book/src/01_attention.md: ## Why divide by √D",
        },
        Wrong {
            f: |x, w_q, w_k, w_v| one_head(x, w_k, w_q, w_v),
            says: "queries and keys are exchanged, or the scores transposed: row i has to be the \
                   query of token i",
            read: "",
        },
        Wrong {
            f: |x, w_q, w_k, w_v| {
                let (weights, _) = one_head(x, w_q, w_k, w_v)?;
                let output = weights.t()?.matmul(&x.matmul(w_v)?)?;
                Ok((weights, output))
            },
            says: "the output takes the weights by column; a token's weights are its row",
            read: "",
        },
        Wrong {
            f: |x, w_q, w_k, w_v| {
                let (_t, d) = x.matmul(w_q)?.dims2()?;
                let scores = (x.matmul(w_q)?.matmul(&x.matmul(w_k)?.t()?)? / (d as f64).sqrt())?;
                let weights = ops::softmax(&scores)?;
                let output = weights.matmul(&x.matmul(w_v)?)?;
                Ok((weights, output))
            },
            says: "the mask is missing: a token sees its future",
            read: "book/src/01_attention.md: ## The mask, and why training is cheap",
        },
        Wrong {
            f: |x, w_q, w_k, w_v| {
                with_weights(x, [w_q, w_k, w_v], |scores, mask| {
                    let masked = (scores + mask)?.t()?.contiguous()?;
                    ops::softmax(&masked)?.t()?.contiguous()
                })
            },
            says: "softmax runs down the columns; each row is one query's distribution",
            read: "",
        },
        Wrong {
            f: |x, w_q, w_k, w_v| {
                with_weights(x, [w_q, w_k, w_v], |scores, mask| {
                    ops::softmax(&(scores + mask)?.t()?.contiguous()?)
                })
            },
            says: "the scores are transposed after the mask: a token sees itself and its future",
            read: "book/src/01_attention.md: ## The mask, and why training is cheap",
        },
        Wrong {
            f: |x, w_q, w_k, w_v| {
                with_weights(x, [w_q, w_k, w_v], |scores, mask| ops::softmax(&(scores * mask)?))
            },
            says: "scores are multiplied with the mask; it is added: 0 leaves a score as it is, \
                   −∞ takes it away",
            read: "book/src/01_attention.md: ## The mask, and why training is cheap",
        },
        Wrong {
            f: |x, w_q, w_k, w_v| {
                with_weights(x, [w_q, w_k, w_v], |scores, mask| {
                    ops::softmax(scores)? * mask.exp()?
                })
            },
            says: "the future is set to 0 after the softmax: it is still in the denominator, and a \
                   row sums to less than 1",
            read: "book/src/01_attention.md: ## The mask, and why training is cheap",
        },
    ],
};

/// Weights and output where `weights` makes the weights of scores and mask; the matrices are those
/// of queries, keys and values.
fn with_weights(
    x: &Tensor,
    [w_q, w_k, w_v]: [&Tensor; 3],
    weights: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<(Tensor, Tensor)> {
    let (q, k) = (x.matmul(w_q)?, x.matmul(w_k)?); // (T, D)
    let (t, d) = q.dims2()?;
    let scores = (q.matmul(&k.t()?)? / (d as f64).sqrt())?; // (T, T)
    let weights = weights(&scores, &causal_mask(t, x.dtype(), x.device())?)?;
    let output = weights.matmul(&x.matmul(w_v)?)?;
    Ok((weights, output))
}

fn cases(f: Head, answers: &mut Answers) {
    for (t, c, d) in [(1, 3, 2), (3, 4, 2), (5, 6, 8)] {
        let x = answers.normal(&[t, c]);
        let [w_q, w_k, w_v] = [0, 1, 2].map(|_| answers.normal(&[c, d]));
        let call = |x: &Tensor| f(x, &w_q, &w_k, &w_v);
        answers.record(format!("weights, T = {t}"), || Ok(call(&x)?.0));
        answers.record(format!("output, T = {t}"), || Ok(call(&x)?.1));
        answers.gradient(format!("gradient of the output, T = {t}"), &x, |x| Ok(call(x)?.1));
    }
}
