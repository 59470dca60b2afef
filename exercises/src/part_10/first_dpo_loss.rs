//! 10.2 The first loss (predict, 8 minutes, ●○○)
//!
//! DPO's loss of a pair is −log σ(βΔ), with Δ the difference of the log-ratios log(π/π_ref) of the
//! chosen and the rejected completion. At the first step the policy *is* the reference.
//!
//! Hint: The log of 1 is 0, for both completions.
//! Hint: The derivative of −log σ(z) is −σ(−z); the chain rule brings a factor.
//! Hint: σ(−0.4) = 0.401; −log σ(0.4) = log(1 + exp(−0.4)).
//! Read: book/src/10_without_trying.md: ## By hand

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    let sigmoid = |x: f64| 1. / (1. + (-x).exp());
    vec![
        Prediction::number(
            "β = 0.1: the loss at the first step, in nats?",
            2f64.ln(),
            0.002,
            "−log σ(0) = ln 2 = 0.693: as a judge, the reference knows nothing yet.",
        )
        .trap(0., "a loss of 0 would mean that all pairs are settled")
        .trap(0.1 * 2f64.ln(), "β multiplies Δ, which is 0, and not the loss"),
        Prediction::number(
            "And with β = 5?",
            2f64.ln(),
            0.002,
            "β · 0 is 0: the same for every β. If yours is another, policy and reference differ.",
        )
        .trap(5. * 2f64.ln(), "β multiplies Δ, which is 0, and not the loss"),
        Prediction::number(
            "β = 0.1, at the first step: the derivative of a pair's loss for log π of its chosen \
             completion?",
            -0.05,
            0.001,
            "−β σ(0) = −β/2; for the rejected completion +β/2.",
        )
        .trap(0.05, "the loss falls when the chosen completion becomes likelier")
        .trap(-0.5, "β is missing"),
        Prediction::number(
            "Later the chosen completion has a log-ratio of +1, the rejected one of −3. Its loss?",
            -sigmoid(0.4).ln(),
            0.005,
            "Δ = 4, βΔ = 0.4, −log σ(0.4) = 0.513.",
        )
        .trap(-sigmoid(4.).ln(), "β is missing")
        .trap(-sigmoid(-0.2).ln(), "Δ is the difference of both, 1 − (−3)"),
        Prediction::choice(
            "Then this pair pulls, compared with the first step,",
            &["more", "less", "as much"],
            1,
            "The factor is β σ(−βΔ): 0.040 after 0.050. A pair that is settled no longer pulls.",
        )
        .trap(0., "the factor is σ(−βΔ), the probability that the policy gives to the wrong choice")
        .trap(2., "the hinge does that, up to its margin; −log σ bends everywhere"),
    ]
}
