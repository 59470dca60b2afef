//! 10.9 Length earns (predict, 8 minutes, ●●○)
//!
//! In a data set the chosen completions have 60 tokens, the rejected ones 20. Now suppose that the
//! policy makes *every* token 0.02 nats likelier than the reference does, in good and in bad
//! completions alike. β = 0.1.
//!
//! Hint: A completion's log-ratio is a sum over its tokens. Question 4: if all other tokens become
//! likelier, what becomes of the end token?
//! Hint: 60 · 0.02 = 1.2 and 20 · 0.02 = 0.4.
//! Hint: Δ = 0.8, the margin is βΔ. Per token both log-ratios are 0.02. Question 4: the
//! probabilities at a place sum to 1, so the end loses.
//! Read: crates/part_10_dpo/README.md: A sum of log-probabilities grows with the length

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    let sigmoid = |x: f64| 1. / (1. + (-x).exp());
    vec![
        Prediction::number(
            "The margin βΔ of a pair?",
            0.08,
            0.001,
            "0.1 · (1.2 − 0.4): every pair is in the right order, and nothing was understood.",
        )
        .trap(0.8, "that is Δ; times β")
        .trap(0., "that is the difference per token; DPO sums"),
        Prediction::number(
            "DPO's loss of a pair?",
            -sigmoid(0.08).ln(),
            0.001,
            "0.654, below ln 2 = 0.693: the loss falls by length alone.",
        )
        .trap(2f64.ln(), "that is the first loss, with a margin of 0"),
        Prediction::number(
            "The margin of length-normalized DPO, with log-ratios per token, β = 5?",
            0.,
            1e-6,
            "0.02 − 0.02: what both have alike does not count.",
        )
        .trap(5. * 0.8, "the log-ratios are divided by the number of tokens")
        .trap(0.4, "the log-ratios are divided by the number of tokens"),
        Prediction::choice(
            "What will such a policy do when it writes?",
            &["write shorter answers", "write longer answers", "nothing new"],
            1,
            "Likelier tokens everywhere means a less likely end at each place. Look at the \
             accuracy that length alone has before you train.",
        )
        .trap(0., "the end token loses what all others win")
        .trap(2., "its probabilities have moved: each token but the end has more"),
    ]
}
