//! 8.10 The best policy on five tokens (predict, 8 minutes, ●●○)
//!
//! Which policy π maximizes E[r] − β KL(π ‖ π₀)? There is a closed form: π*(a) ∝ π₀(a) exp(r(a) /
//! β). The reference is uniform on five tokens, and only the first one is paid: r = (1, 0, 0, 0,
//! 0).
//!
//! Hint: Weights: exp(1/β) for the first token, 1 for each of the others. Divide by the sum.
//! Hint: β = 1: e / (e + 4).
//! Hint: β = 0.1: e¹⁰ = 22026, of 22030.
//! Read: book/src/08_trying.md: ## The leash: a KL penalty to the reference

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    let first = |beta: f64| (1. / beta).exp() / ((1. / beta).exp() + 4.);
    vec![
        Prediction::number(
            "β = 1: the probability of the first token?",
            first(1.),
            0.01,
            "e / (e + 4) = 0.40.",
        )
        .trap(1., "with a KL to pay for, certainty costs more than it earns")
        .trap(0.2, "that is the reference")
        .trap(1f64.exp() / 5., "divide by the sum of the weights, e + 4"),
        Prediction::number("And with β = 0.1?", first(0.1), 0.001, "Nearly 1: the KL is cheap.")
            .trap(first(10.), "β divides the reward; a small β leaves the reference far behind"),
        Prediction::choice(
            "Where does π* go as β → 0?",
            &[
                "π* → π₀",
                "π* → all on the best token",
                "π* → all on the best token, but only if its r is 1",
            ],
            1,
            "Without a price the reward alone counts: whatever it pays for, right or wrong.",
        )
        .trap(0., "that is β → ∞")
        .trap(2., "the size of the best reward does not matter in the limit"),
    ]
}
