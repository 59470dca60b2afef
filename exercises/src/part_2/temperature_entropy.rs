//! 2.10 The entropy of a temperature (predict, 8 minutes, ●●○)
//!
//! Two tokens have the logits 1 and 0. At temperature T the logits are divided by T before the
//! softmax. The entropy −Σ p ln p says how open the choice is, in nats.
//!
//! Hint: p of the first token is 1 / (1 + exp(−1/T)).
//! Hint: T → 0 makes the choice certain, T → ∞ makes it a coin. Question 3: which of the two
//! temperatures makes the sharper distribution?
//! Hint: At T = 1, p = 0.731: −0.731 ln 0.731 − 0.269 ln 0.269. At T = 0.5, p = 0.881.
//! Read: crates/part_2_tiny_gpt/src/sampling.rs: The temperature T
//! Read: book/src/02_tiny_gpt.md: ## Sampling

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    vec![
        Prediction::number(
            "The entropy at T = 1?",
            entropy(1.),
            0.02,
            "0.58 nats, of 0.69 at most.",
        )
        .trap(entropy(1.) / std::f64::consts::LN_2, "that is in bits"),
        Prediction::number(
            "The entropy at T = 0.5?",
            entropy(0.5),
            0.02,
            "0.37 nats: half the temperature doubles the difference of the logits.",
        )
        .trap(entropy(2.), "that is the entropy at T = 2: the logits are divided, not multiplied")
        .trap(entropy(1.) / 2., "half the temperature is not half the entropy"),
        Prediction::choice(
            "A model is sampled at T = 0.2, and its log-probabilities for training are computed \
             at T = 1. Whose distribution do they describe?",
            &["that of the samples", "another, softer one", "the greedy one"],
            1,
            "The ratio of the two is not 1, and whoever trains on it corrects for a policy that \
             never acted.",
        )
        .trap(0., "the samples came from sharper probabilities")
        .trap(2., "greedy is T → 0"),
    ]
}

fn entropy(temperature: f64) -> f64 {
    let p = 1. / (1. + (-1. / temperature).exp());
    -p * p.ln() - (1. - p) * (1. - p).ln()
}
