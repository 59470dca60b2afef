//! 10.7 IPO's target (fill in, 10 minutes, ●●○)
//!
//! A pair that occurs once looks certain, so DPO's loss falls for ever as Δ grows, and β no longer
//! holds anything. IPO gives the margin a target and pulls back what has gone too far:
//!
//!     loss = (Δ̄ − 1/(2β))²      Δ̄ = log-ratio per token of y⁺ less that of y⁻
//!
//! The division by the length is not in the paper's formula; its authors' code and TRL have it.
//! Return the loss of a pair, from the log-ratios (sums over tokens) and the numbers of tokens.
//!
//! Hint: Divide each log-ratio by the tokens of its own completion, then subtract.
//! Hint: For β = 0.1 the target is 5 nats per token.
//! Hint: `let delta = chosen / n_chosen as f64 - rejected / n_rejected as f64;` then the square of
//! `delta - 1. / (2. * beta)`.
//! Read: crates/part_10_dpo/src/losses.rs: LossType::Ipo =>
//! Read: book/src/10_without_trying.md: ## DPO's relatives

/// Loss of a pair with log-ratios `[chosen, rejected]` of so many tokens.
pub fn ipo_target(log_ratios: [f64; 2], n_tokens: [usize; 2], beta: f64) -> f64 {
    // SOLUTION: 2 lines: the difference per token, and its squared distance from the target
    let delta = log_ratios[0] / n_tokens[0] as f64 - log_ratios[1] / n_tokens[1] as f64;
    (delta - 1. / (2. * beta)).powi(2)
    // END
}

// GRADE

use candle_core::{Device, Result, Tensor};
use dpo::{BatchLogProbs, DpoLoss, Label, LossType};

use crate::grading::{Answers, Fill, Wrong};

type Loss = fn([f64; 2], [usize; 2], f64) -> f64;

/// Grader. The reference is part 10's.
pub const GRADE: Fill<Loss> = Fill {
    cases,
    reference: |log_ratios, n_tokens, beta| {
        let worked = || -> Result<f64> {
            let side = |i: usize, label| {
                let policy = Tensor::new(&[log_ratios[i]], &Device::Cpu)?;
                BatchLogProbs::new(&policy, &[0.], &[n_tokens[i]], vec![label])
            };
            let loss = DpoLoss { loss_type: LossType::Ipo, ..DpoLoss::sigmoid(beta) };
            let losses = loss.pair_losses(&side(0, Label::Chosen)?, &side(1, Label::Rejected)?)?;
            losses.sum_all()?.to_scalar()
        };
        worked().expect("one pair")
    },
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |log_ratios, _, beta| ipo_target(log_ratios, [1, 1], beta),
            says: "sums for means per token: a long completion reaches the target by its length",
            read: "crates/part_10_dpo/src/losses.rs: IPO divides by the length",
        },
        Wrong {
            f: |log_ratios, n_tokens, beta| ipo_target(log_ratios, n_tokens, beta / 2.),
            says: "the target is 1/(2β), not 1/β",
            read: "",
        },
        Wrong {
            f: |log_ratios, n_tokens, beta| ipo_target(log_ratios, n_tokens, beta) * beta.powi(2),
            says: "(βΔ̄ − ½)² has its minimum at the same place, but β² times the slope",
            read: "",
        },
        Wrong {
            f: |[chosen, rejected], [n, m], beta| {
                let delta = chosen / n as f64 - rejected / m as f64;
                (1. / (2. * beta) - delta).max(0.).powi(2)
            },
            says: "behind the target the loss is 0 here, as a hinge has it; IPO pulls back",
            read: "",
        },
        Wrong {
            f: |[chosen, rejected], [n, m], beta| ipo_target([rejected, chosen], [m, n], beta),
            says: "chosen and rejected are exchanged: the margin is driven to −1/(2β)",
            read: "",
        },
        Wrong {
            f: |log_ratios, n_tokens, beta| ipo_target(log_ratios, n_tokens, beta).sqrt(),
            says: "the square is missing: this is the distance from the target",
            read: "",
        },
    ],
};

fn cases(f: Loss, answers: &mut Answers) {
    answers.record("equal policies: the target squared", || Ok(f([0., 0.], [3, 8], 0.1)));
    answers.record("on the way", || Ok(f([4., -6.], [4, 3], 0.1)));
    answers.record("at the target: 0", || Ok(f([2., -4.], [4, 8], 0.5)));
    answers.record("too far", || Ok(f([9., -12.], [3, 6], 0.5)));
}
