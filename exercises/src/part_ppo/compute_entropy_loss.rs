//! ppo.3 The entropy loss (fill in, 8 minutes, ●○○)
//!
//! The entropy −Σ p ln p of the next token's distribution says how open the policy still is. As a
//! loss, to be made small, it is taken with a minus: a uniform policy has the smallest entropy
//! loss. Return −(mean entropy over the tokens of `mask`).
//!
//! Minus the mean log-probability of the sampled tokens looks like an entropy and is not one: its
//! gradient is 0 on average.
//!
//! `masked_mean(&x, Some(mask), None)` is the mean over the tokens of `mask`, and
//! `ops::log_softmax(&logits)` is over the last dimension.
//!
//! Hint: With log-probabilities ℓ = log_softmax(logits), the entropy of a place is −Σ exp(ℓ) ℓ.
//! Hint: The sum runs over the vocabulary, the mean over the tokens, and the two minus signs
//! cancel.
//! Hint: `let l = ops::log_softmax(logits)?;` and the masked mean of `(l.exp()? *
//! l)?.sum(D::Minus1)?`
//! Read: book/src/08_trying.md: ## Entropy: staying curious

use candle_core::{D, Result, Tensor};
use exercises::part_ppo::given::masked_mean;
use tensor_core::ops;

/// Entropy loss, (), of `logits: (B, L, V)` over `mask: (B, L)`.
pub fn compute_entropy_loss(logits: &Tensor, mask: &Tensor) -> Result<Tensor> {
    // SOLUTION: 3 lines: log-probabilities, Σ p ln p of each place, the masked mean
    let log_probs = ops::log_softmax(logits)?; // (B, L, V)
    let negative_entropy = (log_probs.exp()? * log_probs)?.sum(D::Minus1)?; // (B, L)
    masked_mean(&negative_entropy, Some(mask), None)
    // END
}

// GRADE

use super::compute_policy_loss::ragged;
use crate::grading::{Answers, Fill, Wrong};

type EntropyLoss = fn(&Tensor, &Tensor) -> Result<Tensor>;

/// Grader. The reference is the crate's entropy.
pub const GRADE: Fill<EntropyLoss> = Fill {
    cases,
    reference: |logits, mask| ppo::masked_mean(&ops::entropy(logits)?, mask)?.neg(),
    tolerance: 1e-6,
    wrong: &[
        Wrong {
            f: |logits, mask| compute_entropy_loss(logits, mask)?.neg(),
            says: "that is the entropy; its loss has a minus, so that minimizing keeps it up",
            read: "",
        },
        Wrong {
            f: |logits, mask| compute_entropy_loss(logits, &mask.ones_like()?),
            says: "padding is averaged too; the mask is not used",
            read: "crates/part_8_ppo/src/masked.rs: pub fn masked_mean",
        },
        Wrong {
            f: |logits, mask| {
                let v = logits.dim(D::Minus1)? as f64;
                compute_entropy_loss(logits, mask)? / v
            },
            says: "the mean over the vocabulary; an entropy is a sum over it",
            read: "",
        },
        Wrong {
            f: |logits, mask| {
                let log_probs = ops::log_softmax(logits)?;
                masked_mean(&log_probs.mean(D::Minus1)?, Some(mask), None)
            },
            says: "each log-probability counts the same; it is weighted with its probability",
            read: "",
        },
        Wrong {
            f: |logits, mask| compute_entropy_loss(logits, mask)? / std::f64::consts::LN_2,
            says: "that is in bits; nats are wanted",
            read: "",
        },
        Wrong {
            f: |logits, mask| {
                let entropy = ops::entropy(logits)?; // (B, L)
                masked_mean(&entropy, Some(mask), Some(1))?.mean_all()?.neg()
            },
            says: "a mean of means: first over each completion, then over those. A token of a \
                   short completion counts more",
            read: "crates/part_8_ppo/src/masked.rs: pub fn masked_mean",
        },
    ],
};

fn cases(f: EntropyLoss, answers: &mut Answers) {
    for (l, v) in [(3, 4), (5, 7)] {
        let (logits, mask) = (answers.normal(&[2, l, v]), ragged(l));
        answers.record(format!("loss, {l} tokens of {v}"), || f(&logits, &mask));
        answers.gradient(format!("gradient, {l} tokens of {v}"), &logits, |x| f(x, &mask));
    }
    let mask = ragged(3);
    let uniform = mask.unsqueeze(2).and_then(|mask| mask.broadcast_as((2, 3, 4)));
    let uniform = uniform.and_then(|x| x.zeros_like()).expect("zeros");
    answers.record("a uniform policy over 4 tokens: −ln 4", || f(&uniform, &mask));
}
