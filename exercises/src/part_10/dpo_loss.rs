//! 10.3 DPO's loss (fill in, 12 minutes, ●●○)
//!
//! P pairs, each with the log-probabilities of its two completions (sums over their tokens) under
//! the policy and under the reference:
//!
//!     Δ = [log π(y⁺) − log π_ref(y⁺)] − [log π(y⁻) − log π_ref(y⁻)]
//!     loss = mean of −log σ(βΔ)
//!
//! Return the mean over the pairs, finite also for Δ of ±100,000.
//!
//! Hint: It is part 7's loss with implicit rewards as the scores.
//! Hint: −log σ(z) = log(1 + exp(−z)) = relu(−z) + log(1 + exp(−|z|)): no exponential overflows.
//! Hint: With `z = ((chosen - ref_chosen)? - (rejected - ref_rejected)?)? * beta`: `(z.neg()?
//! .relu()? + (z.abs()?.neg()?.exp()? + 1.)?.log()?)?.mean_all()`
//! Read: crates/part_10_dpo/src/losses.rs: pub fn pair_losses
//! Read: book/src/10_without_trying.md: ## The derivation

use candle_core::{Result, Tensor};

/// Mean loss, (), of P pairs from log-probabilities of shape (P).
pub fn dpo_loss(
    chosen: &Tensor,
    rejected: &Tensor,
    ref_chosen: &Tensor,
    ref_rejected: &Tensor,
    beta: f64,
) -> Result<Tensor> {
    // SOLUTION: 3 lines: Δ, then −log σ(βΔ) without overflow, and its mean
    let delta = ((chosen - ref_chosen)? - (rejected - ref_rejected)?)?;
    let z = (delta * beta)?;
    (z.neg()?.relu()? + (z.abs()?.neg()?.exp()? + 1.)?.log()?)?.mean_all()
    // END
}

// GRADE

use candle_core::Device;
use dpo::{BatchLogProbs, DpoLoss, Label};

use crate::grading::{Answers, Fill, Wrong};

type Loss = fn(&Tensor, &Tensor, &Tensor, &Tensor, f64) -> Result<Tensor>;

/// Grader. The reference is part 10's.
pub const GRADE: Fill<Loss> = Fill {
    cases,
    reference: |chosen, rejected, ref_chosen, ref_rejected, beta| {
        let side = |policy: &Tensor, reference: &Tensor, label| {
            let n = policy.elem_count();
            BatchLogProbs::new(policy, &reference.to_vec1::<f64>()?, &vec![1; n], vec![label; n])
        };
        let chosen = side(chosen, ref_chosen, Label::Chosen)?;
        let rejected = side(rejected, ref_rejected, Label::Rejected)?;
        DpoLoss::sigmoid(beta).pair_losses(&chosen, &rejected)?.mean_all()
    },
    tolerance: 1e-6,
    wrong: &[
        Wrong {
            f: |chosen, rejected, ref_chosen, ref_rejected, beta| {
                let delta = ((chosen - ref_chosen)? - (rejected - ref_rejected)?)?;
                (((delta * -beta)?.exp()? + 1.)?.recip()?.log()?.neg()?).mean_all()
            },
            says: "the logarithm of a sigmoid that has become 0; softplus does not overflow",
            read: "crates/part_7_reward/src/losses.rs: pub fn softplus",
        },
        Wrong {
            f: |chosen, rejected, ref_chosen, ref_rejected, beta| {
                dpo_loss(ref_chosen, ref_rejected, chosen, rejected, beta)
            },
            says: "Δ has its sign turned: policy and reference are exchanged, or chosen and \
                   rejected. The order of the pairs gets worse as the loss falls, and the first \
                   loss, ln 2, shows nothing",
            read: "",
        },
        Wrong {
            f: |chosen, rejected, ref_chosen, _, beta| {
                let zero = ref_chosen.zeros_like()?;
                dpo_loss(chosen, rejected, &zero, &zero, beta)
            },
            says: "the reference is missing: that pushes on pairs in order from the start",
            read: "",
        },
        Wrong {
            f: |chosen, rejected, ref_chosen, ref_rejected, beta| {
                dpo_loss(chosen, rejected, ref_chosen, ref_rejected, 1.)? * beta
            },
            says: "β multiplies the loss; it belongs inside the sigmoid",
            read: "",
        },
        Wrong {
            f: |chosen, rejected, ref_chosen, ref_rejected, beta| {
                let n = chosen.elem_count() as f64;
                dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta)? * n
            },
            says: "the sum over the pairs; the mean is asked",
            read: "",
        },
    ],
};

fn cases(f: Loss, answers: &mut Answers) {
    for (n, beta) in [(2, 0.1), (5, 2.)] {
        let [chosen, rejected, a, b] = [(); 4].map(|()| answers.normal(&[n]));
        answers.record(format!("{n} pairs, policy equal to its reference: ln 2"), || {
            f(&chosen, &rejected, &chosen, &rejected, beta)
        });
        answers.record(format!("{n} pairs, β = {beta}"), || f(&chosen, &rejected, &a, &b, beta));
        answers.gradient(format!("{n} pairs: gradient for the chosen"), &chosen, |chosen| {
            f(chosen, &rejected, &a, &b, beta)
        });
        answers.gradient(format!("{n} pairs: gradient for the rejected"), &rejected, |rejected| {
            f(&chosen, rejected, &a, &b, beta)
        });
    }
    answers.record("log-ratios of ±50,000", || {
        let (far, zero) =
            (Tensor::new(&[5e4, -5e4], &Device::Cpu)?, Tensor::new(&[0., 0.], &Device::Cpu)?);
        f(&far, &far.neg()?, &zero, &zero, 0.1)
    });
}
