//! 11.3 The price of the best (predict, 6 minutes, ●○○)
//!
//! The best of n completions, chosen by a judge, is a policy of its own. Its distance from the one
//! that was sampled, KL(best of n ‖ policy), is at most log n − (n − 1)/n, and equal to that where
//! no two completions have the same score.
//!
//! Hint: The best of one is the policy itself.
//! Hint: log 4 = 1.386 and log 16 = 2.773. Question 4: subtract the values of n and 2n; (n − 1)/n
//! is nearly 1 for both.
//! Hint: n = 4: 1.386 − 0.75. Question 5: which text is the best of 64, if 60 of them are the same?
//! Read: crates/part_10_dpo/src/best_of_n.rs: pub fn kl_bound
//! Read: book/src/11_at_test_time.md: ## What does best of n optimize?

use dpo::best_of_n::kl_bound;

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    let log = |n: f64| n.ln();
    vec![
        Prediction::number("n = 1, in nats?", kl_bound(1), 1e-6, "Nothing was chosen.")
            .trap(1., "log 1 − 0/1"),
        Prediction::number("n = 4?", kl_bound(4), 0.005, "1.386 − 0.75 = 0.636.")
            .trap(log(4.), "log n alone: (n − 1)/n is to be subtracted"),
        Prediction::number("n = 16?", kl_bound(16), 0.005, "2.773 − 0.9375 = 1.835.")
            .trap(log(16.), "log n alone: (n − 1)/n is to be subtracted")
            .trap(4. * kl_bound(4), "four times the samples are not four times the distance"),
        Prediction::number(
            "And how many nats does each further doubling of a large n cost?",
            2f64.ln(),
            0.01,
            "log 2: doubling the samples is cheap in KL and dear in time.",
        )
        .trap(1., "in bits, yes; in nats it is log 2"),
        Prediction::choice(
            "The model is nearly certain: of 64 samples 60 are the same text. The KL is then",
            &["close to log 64 − 63/64", "far below it", "above it"],
            1,
            "The best of many equal texts is that text. The bound needs scores without ties.",
        )
        .trap(0., "that needs 64 different scores")
        .trap(2., "it is an upper bound"),
    ]
}
