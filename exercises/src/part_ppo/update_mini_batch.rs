//! ppo.5 A mini-batch update (fill in, 20 minutes, ●●●)
//!
//! The three losses come together:
//!
//!     loss = policy loss + vf_coeff · value loss + entropy_coeff · entropy loss
//!
//! Both weights, that of the policy and that of the critic, take one step of gradient descent:
//! w ← w − lr · g, where g is the gradient after both are clipped together to `max_grad_norm`. The
//! pieces are at hand: the course's versions of the three losses that you wrote;
//! `forward(policy, value, features)`, which gives logits and values; `gather_log_probs(logits,
//! tokens)`; `backward(&loss)`; and part 2's `clip_grad_norm`. `batch` has features, tokens,
//! old_log_probs, old_values, advantages, returns and mask; `settings` has clip_ratio,
//! clip_range_value, vf_coeff, entropy_coeff, max_grad_norm and lr.
//!
//! Hint: In which order? One pass forward, the log-probabilities of the tokens, three losses, their
//! sum, and only then gradients, which are clipped, and a step.
//! Hint: The entropy loss has its minus already, so it is added.
//! Hint: `let (grads, _) = clip_grad_norm(&[by_policy, by_value], settings.max_grad_norm)?;` and
//! the new policy is `(policy - (&grads[0] * settings.lr)?)?`.
//! Read: crates/part_8_ppo/src/step.rs: fn ppo_loss
//! Read: book/src/08_trying.md: ## One step, all together

use candle_core::{Error, Result, Tensor, Var};
use exercises::part_ppo::compute_entropy_loss::compute_entropy_loss;
use exercises::part_ppo::compute_policy_loss::compute_policy_loss;
use exercises::part_ppo::compute_value_loss::compute_value_loss;
use exercises::part_ppo::given::{MiniBatch, UpdateSettings, forward, gather_log_probs};
use tensor_core::backward;
use tiny_gpt::gradient_clipping::clip_grad_norm;

/// Weights `policy: (C, V)` and `value: (C, 1)` after one step on `batch`.
///
/// `backward(&loss)?` has the gradients by all variables from which the loss was computed (give
/// `forward` the tensors of the two variables below): `.get(policy_var.as_tensor())` is an
/// `Option<&Tensor>`. The clip takes tensors of its own, so `.clone()` them:
///
/// ```text
/// clip_grad_norm(grads: &[Tensor], max_norm: f64) -> Result<(Vec<Tensor>, f64)>  clipped, norm
/// ```
pub fn update_mini_batch(
    policy: &Tensor,
    value: &Tensor,
    batch: &MiniBatch,
    settings: &UpdateSettings,
) -> Result<[Tensor; 2]> {
    let [policy_var, value_var] = [Var::from_tensor(policy)?, Var::from_tensor(value)?];
    // SOLUTION: 18 lines: forward, three losses, their sum, gradients, clip, step
    let (logits, values) = forward(policy_var.as_tensor(), value_var.as_tensor(), &batch.features)?;
    let log_probs = gather_log_probs(&logits, &batch.tokens)?; // (B, L)
    let (mask, s) = (&batch.mask, settings);
    let old = &batch.old_log_probs;
    let [policy_loss, _, _] =
        compute_policy_loss(&log_probs, old, &batch.advantages, mask, s.clip_ratio)?;
    let [value_loss, _] =
        compute_value_loss(&values, &batch.old_values, &batch.returns, mask, s.clip_range_value)?;
    let entropy_loss = compute_entropy_loss(&logits, mask)?;
    let loss = ((policy_loss + (value_loss * s.vf_coeff)?)? + (entropy_loss * s.entropy_coeff)?)?;
    let grads = backward(&loss)?;
    let gradient = |var: &Var| {
        let gradient = grads.get(var.as_tensor()).cloned();
        gradient.ok_or(Error::Msg("no gradient reaches a weight".into()))
    };
    let grads = [gradient(&policy_var)?, gradient(&value_var)?];
    let (grads, _norm) = clip_grad_norm(&grads, s.max_grad_norm)?;
    Ok([(policy - (&grads[0] * s.lr)?)?, (value - (&grads[1] * s.lr)?)?])
    // END
}

// GRADE

use candle_core::DType;
use ppo::{Clip, losses};
use tensor_core::ops;

use super::compute_policy_loss::ragged;
use crate::grading::{Answers, Fill, Wrong};

type Update = fn(&Tensor, &Tensor, &MiniBatch, &UpdateSettings) -> Result<[Tensor; 2]>;

/// Grader. The reference adds part 8's losses.
pub const GRADE: Fill<Update> = Fill {
    cases,
    reference: |policy, value, batch, s| {
        let weights = [Var::from_tensor(policy)?, Var::from_tensor(value)?];
        let [p, v] = [weights[0].as_tensor(), weights[1].as_tensor()];
        let (logits, values) = forward(p, v, &batch.features)?;
        let log_probs = ops::token_log_probs(&logits, &batch.tokens.to_dtype(DType::I64)?)?;
        let clip = Clip::symmetric(s.clip_ratio);
        let policy_losses =
            ppo::clipped_surrogate(&log_probs, &batch.old_log_probs, &batch.advantages, clip)?;
        let range = Some(s.clip_range_value);
        let value_losses = losses::value_loss(&values, &batch.old_values, &batch.returns, range)?;
        let coefficients =
            losses::LossWeights { value_coef: s.vf_coeff, entropy_coef: s.entropy_coeff };
        let entropy = ops::entropy(&logits)?;
        let loss =
            losses::total_loss(&policy_losses, &value_losses, &entropy, &batch.mask, coefficients)?;
        let grads = backward(&loss)?;
        let of = |w: &Tensor| grads.get(w).cloned().ok_or(Error::Msg("no gradient".into()));
        let (grads, _) = clip_grad_norm(&[of(p)?, of(v)?], s.max_grad_norm)?;
        Ok([(policy - (&grads[0] * s.lr)?)?, (value - (&grads[1] * s.lr)?)?])
    },
    tolerance: 1e-6,
    wrong: &[
        Wrong {
            f: |policy, value, batch, s| {
                let s = UpdateSettings { entropy_coeff: -s.entropy_coeff, ..*s };
                update_mini_batch(policy, value, batch, &s)
            },
            says: "the entropy loss is subtracted, though it has its minus already: the policy is \
                   pushed to be certain",
            read: "",
        },
        Wrong {
            f: |policy, value, batch, s| {
                update_mini_batch(policy, value, batch, &UpdateSettings { vf_coeff: 1., ..*s })
            },
            says: "the value loss is not multiplied with its coefficient",
            read: "",
        },
        Wrong {
            f: |policy, value, batch, s| {
                update_mini_batch(
                    policy,
                    value,
                    batch,
                    &UpdateSettings { max_grad_norm: 1e9, ..*s },
                )
            },
            says: "the gradient is not clipped",
            read: "crates/part_2_tiny_gpt/src/gradient_clipping.rs: pub fn clip_grad_norm",
        },
        Wrong {
            f: |policy, value, batch, s| {
                update_mini_batch(policy, value, batch, &UpdateSettings { lr: -s.lr, ..*s })
            },
            says: "it climbs the loss: the step goes against the gradient",
            read: "",
        },
        Wrong {
            f: |policy, value, batch, s| {
                update_mini_batch(policy, value, batch, &UpdateSettings { entropy_coeff: 0., ..*s })
            },
            says: "the entropy loss is missing",
            read: "",
        },
        Wrong {
            f: |policy, value, batch, s| {
                update_mini_batch(policy, value, batch, &UpdateSettings { entropy_coeff: 1., ..*s })
            },
            says: "the entropy loss is not multiplied with its coefficient",
            read: "",
        },
        Wrong {
            f: |policy, value, batch, s| {
                let free = UpdateSettings { max_grad_norm: 1e9, lr: 1., ..*s };
                let [p, v] = update_mini_batch(policy, value, batch, &free)?;
                let step = |weight: &Tensor, moved: &Tensor| -> Result<Tensor> {
                    let (grads, _norm) = clip_grad_norm(&[(weight - moved)?], s.max_grad_norm)?;
                    weight - (&grads[0] * s.lr)?
                };
                Ok([step(policy, &p)?, step(value, &v)?])
            },
            says: "each gradient is clipped by itself; both together are one vector, which keeps \
                   its direction",
            read: "crates/part_2_tiny_gpt/src/gradient_clipping.rs: pub fn clip_grad_norm",
        },
        Wrong {
            f: |policy, value, batch, s| {
                let [policy, _] = update_mini_batch(policy, value, batch, s)?;
                Ok([policy, value.clone()])
            },
            says: "the critic's weight stays as it was: both weights take a step",
            read: "",
        },
        Wrong {
            f: |policy, value, batch, s| {
                let (logits, _) = forward(policy, value, &batch.features)?;
                let old_log_probs = gather_log_probs(&logits, &batch.tokens)?;
                let batch = MiniBatch { old_log_probs, ..batch.clone() };
                update_mini_batch(policy, value, &batch, s)
            },
            says: "the old log-probabilities are those of the present policy, so all ratios are 1; \
                   they are noted when the tokens are sampled: `batch.old_log_probs`",
            read: "",
        },
        Wrong {
            f: |policy, value, batch, s| {
                let batch = MiniBatch { advantages: batch.returns.clone(), ..batch.clone() };
                update_mini_batch(policy, value, &batch, s)
            },
            says: "the policy is trained on the returns; the advantages are its, the returns are \
                   the critic's",
            read: "book/src/08_trying.md: ## From values to advantages: TD, n steps, GAE",
        },
        Wrong {
            f: |policy, value, batch, s| {
                let batch = MiniBatch { mask: batch.mask.ones_like()?, ..batch.clone() };
                update_mini_batch(policy, value, &batch, s)
            },
            says: "padding is trained on, too; the mask is not used",
            read: "crates/part_8_ppo/src/masked.rs: pub fn masked_mean",
        },
    ],
};

fn cases(f: Update, answers: &mut Answers) {
    let (b, l, c, v) = (2, 5, 3, 4);
    let mut normal = |shape: &[usize]| answers.normal(shape);
    let (policy, value) = (normal(&[c, v]), normal(&[c, 1]));
    let tokens: Vec<u32> = (0..b * l).map(|i| (i * 7 % v) as u32).collect();
    let tokens = Tensor::from_vec(tokens, (b, l), policy.device()).expect("a few tokens");
    let batch = MiniBatch {
        features: normal(&[b, l, c]),
        tokens,
        old_log_probs: (normal(&[b, l]) * 0.3).and_then(|x| x - 1.4).expect("numbers"),
        old_values: normal(&[b, l]),
        advantages: normal(&[b, l]),
        returns: normal(&[b, l]),
        mask: ragged(l),
    };
    let settings = UpdateSettings {
        clip_ratio: 0.2,
        clip_range_value: 0.2,
        vf_coeff: 0.5,
        entropy_coeff: 0.2,
        max_grad_norm: 0.1,
        lr: 0.5,
    };
    for (label, max_grad_norm) in [("a gradient that is clipped", 0.1), ("one that is not", 100.)] {
        let settings = UpdateSettings { max_grad_norm, ..settings };
        for (i, name) in ["policy", "value"].into_iter().enumerate() {
            answers.record(format!("{name} after {label}"), || {
                Ok(f(&policy, &value, &batch, &settings)?[i].clone())
            });
        }
    }
}
