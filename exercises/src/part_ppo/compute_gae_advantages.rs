//! ppo.4 Advantages by GAE (fill in, 20 minutes, ●●●)
//!
//! A completion gets its final reward at its last token (of the mask), and at every token it pays
//! a KL penalty. From the values V, walking backwards:
//!
//!     r[t] = (final reward, if t is the last token) − kl[t]
//!     δ[t] = r[t] + γ V[t + 1] − V[t]               V is 0 behind the last token
//!     A[t] = δ[t] + γ λ A[t + 1]                    and so is A
//!     returns[t] = A[t] + V[t]
//!
//! Fill in `advantages`, 0 at padding. The lines below them are given: they make the returns, and
//! whiten the advantages over the mask (mean 0, variance 1).
//!
//! Hint: V[t + 1] and A[t + 1] are multiplied with the mask of t + 1, which is 0 behind the end.
//! Hint: t is the last token where its mask is 1 and that of t + 1 is 0 (or t + 1 does not exist).
//! Hint: The rows are at hand as vectors: `let after = if t + 1 < l { m[i][t + 1] } else { 0. };`,
//! then `delta = final_rewards[i] * (1. - after) - kl[i][t] + gamma * next_value - v[i][t]`, where
//! `next_value` is `after * v[i][t + 1]`, or 0 where there is no t + 1.
//! Read: crates/part_8_ppo/src/gae.rs: pub fn gae
//! Read: book/src/08_trying.md: ## From values to advantages: TD, n steps, GAE

use candle_core::{Device, Result, Tensor};
use exercises::part_ppo::given::masked_whiten;
use ppo::masked::ShiftMean;

/// Whitened advantages and returns (B, L), from `final_rewards: (B)` and tensors (B, L).
pub fn compute_gae_advantages(
    final_rewards: &Tensor,
    kl_penalties: &Tensor,
    values: &Tensor,
    mask: &Tensor,
    gamma: f64,
    lambda: f64,
) -> Result<[Tensor; 2]> {
    let (b, l) = values.dims2()?;
    let final_rewards = final_rewards.to_vec1::<f64>()?;
    let (kl, v) = (kl_penalties.to_vec2::<f64>()?, values.to_vec2::<f64>()?);
    let m = mask.to_vec2::<f64>()?;
    let mut advantages = vec![0.; b * l]; // that of token t in row i is advantages[i * l + t]
    for i in 0..b {
        // SOLUTION: 10 lines: from the last token to the first; padding stays 0
        let mut next = 0.;
        for t in (0..l).rev() {
            if m[i][t] == 0. {
                continue;
            }
            let is_last = t + 1 == l || m[i][t + 1] == 0.;
            let (reward, next_value) =
                if is_last { (final_rewards[i], 0.) } else { (0., v[i][t + 1]) };
            let delta = reward - kl[i][t] + gamma * next_value - v[i][t];
            next = delta + gamma * lambda * next;
            advantages[i * l + t] = next;
        }
        // END
    }
    let advantages = Tensor::from_vec(advantages, (b, l), &Device::Cpu)?;
    let returns = ((&advantages + values)? * mask)?;
    Ok([masked_whiten(&advantages, mask, ShiftMean::Yes)?, returns])
}

// GRADE

use ppo::{GaeConfig, gae};

use super::compute_policy_loss::ragged;
use crate::grading::{Answers, Fill, Wrong};

type Gae = fn(&Tensor, &Tensor, &Tensor, &Tensor, f64, f64) -> Result<[Tensor; 2]>;

/// Grader. The reference is part 8's.
pub const GRADE: Fill<Gae> = Fill {
    cases,
    reference: |rewards, kl, values, mask, gamma, lambda| {
        let rewards = ppo::rewards::token_rewards(rewards, kl, 1., mask)?;
        let end = values.narrow(1, 0, 1)?.squeeze(1)?.zeros_like()?;
        let output = gae(&rewards, values, &end, mask, GaeConfig { gamma, lambda })?;
        Ok([ppo::masked_whiten(&output.advantages, mask, ShiftMean::Yes)?, output.returns])
    },
    tolerance: 1e-6,
    wrong: &[
        Wrong {
            f: |rewards, kl, values, mask, gamma, _lambda| {
                compute_gae_advantages(rewards, kl, values, mask, gamma, 1.)
            },
            says: "λ is missing: A[t + 1] is multiplied with γ λ",
            read: "",
        },
        Wrong {
            f: |rewards, kl, values, mask, gamma, _lambda| {
                compute_gae_advantages(rewards, kl, values, mask, gamma, 0.)
            },
            says: "A[t + 1] is missing: these are one-step errors δ",
            read: "",
        },
        Wrong {
            f: |rewards, kl, values, mask, gamma, lambda| {
                compute_gae_advantages(rewards, &kl.neg()?, values, mask, gamma, lambda)
            },
            says: "the KL is a penalty, and it is added to the reward",
            read: "crates/part_8_ppo/src/rewards.rs: pub fn token_rewards",
        },
        Wrong {
            f: |rewards, kl, values, mask, gamma, lambda| {
                // As if each row filled all columns
                let all = mask.ones_like()?;
                let [_, returns] =
                    compute_gae_advantages(rewards, kl, values, &all, gamma, lambda)?;
                let returns = (returns * mask)?;
                let advantages = ((&returns - values)? * mask)?;
                Ok([masked_whiten(&advantages, mask, ShiftMean::Yes)?, returns])
            },
            says: "the reward stands in the last column, where a shorter completion has padding",
            read: "crates/part_8_ppo/src/rewards.rs: fn last_token_mask",
        },
        Wrong {
            f: |rewards, kl, values, mask, gamma, lambda| {
                let [advantages, _] =
                    compute_gae_advantages(rewards, kl, values, mask, gamma, lambda)?;
                let returns = ((&advantages + values)? * mask)?;
                Ok([advantages, returns])
            },
            says: "the returns are made of whitened advantages; whitening comes after them",
            read: "",
        },
        Wrong {
            f: |rewards, kl, values, mask, gamma, lambda| {
                // The value of a token is taken for that behind it
                let l = values.dim(1)?;
                let first = values.narrow(1, 0, 1)?;
                let shifted = Tensor::cat(&[&first, &values.narrow(1, 0, l - 1)?], 1)?;
                let [_, returns] =
                    compute_gae_advantages(rewards, kl, &shifted, mask, gamma, lambda)?;
                let advantages = ((&returns - &shifted)? * mask)?;
                let advantages = masked_whiten(&advantages, mask, ShiftMean::Yes)?;
                Ok([advantages, returns])
            },
            says: "the values are moved by one: V[t] is the value before token t",
            read: "crates/part_8_ppo/src/critic.rs: before",
        },
        Wrong {
            f: |rewards, kl, values, mask, gamma, lambda| {
                compute_gae_advantages(rewards, kl, values, mask, 1., gamma * lambda)
            },
            says: "γ is missing in δ: the next value counts γ V[t + 1]",
            read: "",
        },
        Wrong {
            f: |rewards, kl, values, mask, gamma, lambda| {
                compute_gae_advantages(rewards, kl, values, mask, gamma, lambda / gamma)
            },
            says: "A[t + 1] is multiplied with λ alone; it is γ λ",
            read: "",
        },
        Wrong {
            f: |rewards, kl, values, mask, gamma, lambda| {
                compute_gae_advantages(rewards, &kl.zeros_like()?, values, mask, gamma, lambda)
            },
            says: "the KL penalty is missing: every token pays it",
            read: "crates/part_8_ppo/src/rewards.rs: pub fn token_rewards",
        },
        Wrong {
            f: |rewards, kl, values, mask, gamma, lambda| {
                let (b, l) = mask.dims2()?;
                let none = Tensor::zeros((b, 1), mask.dtype(), &Device::Cpu)?;
                let has_next = Tensor::cat(&[mask.narrow(1, 1, l - 1)?, none], 1)?;
                let kl = (kl * has_next)?;
                compute_gae_advantages(rewards, &kl, values, mask, gamma, lambda)
            },
            says: "the last token has the reward and no penalty; it pays the KL like all others",
            read: "crates/part_8_ppo/src/rewards.rs: pub fn token_rewards",
        },
    ],
};

fn cases(f: Gae, answers: &mut Answers) {
    for l in [3, 6] {
        let [kl, values] = [0, 1].map(|_| answers.normal(&[2, l]));
        let (rewards, mask) = (answers.normal(&[2]), ragged(l));
        answers.record(format!("returns[row, token], {l} tokens"), || {
            Ok(f(&rewards, &kl, &values, &mask, 0.9, 0.8)?[1].clone())
        });
        answers.record(format!("whitened advantages[row, token], {l} tokens"), || {
            Ok(f(&rewards, &kl, &values, &mask, 0.9, 0.8)?[0].clone())
        });
    }
}
