//! 10.1 The implicit reward (fill in, 8 minutes, ●○○)
//!
//! The policy that earns most under a KL penalty is π*(y) = π_ref(y) exp(r(y)/β) / Z. Solve that
//! for r: a policy is itself a reward model, up to the constant β log Z, which all completions of a
//! prompt share and which no pair ever sees. Return, from the log-probabilities of a prompt's
//! completions under policy and reference, the implicit reward of each, without the constant.
//!
//! The grader also gives you best policies of rewards that it knows, and looks whether your numbers
//! rank and space the completions as these rewards do.
//!
//! Hint: Take the logarithm of both sides; r stands alone after one multiplication.
//! Hint: log π* = log π_ref + r/β − log Z.
//! Hint: `beta * (log_prob - ref_log_prob)`, completion by completion.
//! Read: crates/part_10_dpo/src/implicit_reward.rs: pub fn implicit_reward
//! Read: book/src/10_without_trying.md: ## The derivation

/// Implicit reward of each completion.
pub fn implicit_reward(log_probs: &[f64], ref_log_probs: &[f64], beta: f64) -> Vec<f64> {
    // SOLUTION: 2 lines: β times the log-ratio of each completion
    let log_ratios =
        log_probs.iter().zip(ref_log_probs).map(|(policy, reference)| policy - reference);
    log_ratios.map(|log_ratio| beta * log_ratio).collect()
    // END
}

// GRADE

use candle_core::{Device, Result, Tensor};
use dpo::optimal_log_probs;

use crate::grading::{Answers, Fill, Wrong};

type Reward = fn(&[f64], &[f64], f64) -> Vec<f64>;

/// Grader. The reference is part 10's.
pub const GRADE: Fill<Reward> = Fill {
    cases,
    reference: |log_probs, ref_log_probs, beta| {
        let tensor = |x: &[f64]| Tensor::from_slice(x, x.len(), &Device::Cpu).expect("numbers");
        let (policy, reference) = (tensor(log_probs), tensor(ref_log_probs));
        let rewards = dpo::implicit_reward(&policy, &reference, beta);
        rewards.and_then(|x| x.to_vec1()).expect("one number per completion")
    },
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |log_probs, ref_log_probs, beta| implicit_reward(ref_log_probs, log_probs, beta),
            says: "reference less policy: what has become likelier would be worth less",
            read: "",
        },
        Wrong {
            f: |log_probs, ref_log_probs, beta| {
                implicit_reward(log_probs, ref_log_probs, 1. / beta)
            },
            says: "it is divided by β. A large β means that a small change of the policy says much",
            read: "",
        },
        Wrong {
            f: |log_probs, _, beta| log_probs.iter().map(|log_prob| beta * log_prob).collect(),
            says: "the reference is missing: what was likely from the start would be worth much",
            read: "book/src/10_without_trying.md: ## By hand",
        },
        Wrong {
            f: |log_probs, ref_log_probs, beta| {
                let ratios = log_probs.iter().zip(ref_log_probs).map(|(p, q)| (p - q).exp());
                ratios.map(|ratio| beta * ratio).collect()
            },
            says: "the ratio of the probabilities; the reward is its logarithm",
            read: "",
        },
    ],
};

fn cases(f: Reward, answers: &mut Answers) {
    let log_probs = [-1.2, -0.4, -3.];
    answers.record("policy equal to its reference: all 0", || Ok(f(&log_probs, &log_probs, 0.1)));
    answers.record("three completions", || Ok(f(&log_probs, &[-1., -0.9, -2.5], 0.1)));
    for beta in [0.1, 2.] {
        let (reference, rewards) = (answers.normal(&[5]), answers.normal(&[5]));
        answers.record(format!("best policy at β = {beta}: rewards less their mean"), || {
            centered(f, &reference, &rewards, beta)
        });
    }
}

/// Rewards that `f` reads off the best policy for `rewards`, less their mean.
fn centered(f: Reward, logits: &Tensor, rewards: &Tensor, beta: f64) -> Result<Vec<f64>> {
    let reference = optimal_log_probs(logits, &rewards.zeros_like()?, 1.)?;
    let policy: Vec<f64> = optimal_log_probs(&reference, rewards, beta)?.to_vec1()?;
    let implicit = f(&policy, &reference.to_vec1::<f64>()?, beta);
    let mean = implicit.iter().sum::<f64>() / implicit.len() as f64;
    Ok(implicit.iter().map(|reward| reward - mean).collect())
}
