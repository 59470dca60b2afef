//! 12.5 The best of several (predict, 8 minutes, ●●○)
//!
//! A run is validated six times, and the model with the best validation is kept. Suppose that all
//! six are in truth equally good, and that the errors of the six validations are independent and
//! normal.
//!
//! Hint: The largest of six numbers around 0 is hardly ever 0.
//! Hint: The mean of the largest of n normal numbers: 0.56 for two, 1.03 for four, 1.54 for ten.
//! Question 3: which of the numbers had no part in the choice?
//! Hint: 1.27 for six. A share of .8 on 89 pairs has the standard error √(.8 · .2/89) = .042. For
//! twenty it is between 1.54 and 2.
//! Read: book/src/12_is_it_better.md: **The best of several.**

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    vec![
        Prediction::number(
            "By how many standard errors is the best validation too high, on average?",
            mean_of_largest(6),
            0.08,
            "1.27. The number with which a model was chosen is not a result.",
        )
        .trap(0., "the best of six noisy numbers was chosen *for* its noise")
        .trap(6f64.sqrt(), "√n is another law: a mean of six has an error that much smaller"),
        Prediction::number(
            "And the best of twenty settings?",
            mean_of_largest(20),
            0.08,
            "1.87: slowly more, as the normal's tail is thin.",
        )
        .trap(mean_of_largest(6) * 20. / 6., "it grows far more slowly than the number of tries"),
        Prediction::choice(
            "Which number is to be reported?",
            &[
                "the best validation",
                "the mean of the six validations",
                "the chosen model on questions that were never used to choose",
                "the best of six on the test questions",
            ],
            2,
            "That is why there are three sets, and why the third is looked at once.",
        )
        .trap(0., "it is too high by more than a standard error")
        .trap(1., "of models, five of which you threw away")
        .trap(3., "then the test set chooses, and is one more validation set"),
    ]
}

/// Mean of the largest of `n` normal numbers, by the trapezoid rule: ∫ x d(Φ(x)ⁿ).
pub fn mean_of_largest(n: i32) -> f64 {
    let (step, mut below, mut mean) = (1e-3, 0., 0.);
    for i in -8000..8000 {
        let x = f64::from(i) * step;
        let density = (-x * x / 2.).exp() / std::f64::consts::TAU.sqrt();
        below += density * step;
        mean += x * f64::from(n) * f64::powi(below, n - 1) * density * step;
    }
    mean
}
