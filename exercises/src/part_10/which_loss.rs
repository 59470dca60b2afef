//! 10.8 Which loss? (predict, 8 minutes, ●●○)
//!
//! DPO has a dozen relatives. Each repairs one thing, so what you have decides.
//!
//! Hint: What does each of them need: pairs, a reference, a share of wrong labels?
//! Hint: ORPO and SimPO have no π_ref in their formula; KTO has no y⁻ beside a y⁺.
//! Hint: Read the list under "DPO's relatives", one line each.
//! Read: book/src/10_without_trying.md: ## DPO's relatives

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    vec![
        Prediction::choice(
            "An app logs thumbs up and thumbs down, never two answers to one prompt.",
            &["DPO", "IPO", "KTO", "SimPO"],
            2,
            "KTO takes single completions, each compared with an estimate of the KL.",
        )
        .trap(0., "it needs a chosen and a rejected answer to the same prompt")
        .trap(1., "it needs a chosen and a rejected answer to the same prompt")
        .trap(3., "it needs no reference, but it does need pairs"),
        Prediction::choice(
            "Pairs, but no memory and no time for log-probabilities of a reference, and the model \
             has not been fine-tuned yet.",
            &["conservative DPO", "ORPO", "KTO", "IPO"],
            1,
            "ORPO has no reference and brings its own term of supervised fine-tuning.",
        )
        .trap(0., "its Δ is a difference of log-ratios, with a reference in each")
        .trap(2., "its log-ratios need a reference, and another one for its estimate of the KL")
        .trap(3., "its Δ̄ has a reference in it"),
        Prediction::choice(
            "The raters were hurried: one label in ten is turned at random, which you know.",
            &["hinge", "robust DPO", "a smaller β", "SimPO"],
            1,
            "With ε = 0.1 its mean over the turned labels is the loss of the right ones.",
        )
        .trap(0., "a hinge believes every label, up to its margin")
        .trap(2., "then the policy goes farther from the reference, after the wrong labels, too")
        .trap(3., "it believes every label"),
        Prediction::choice(
            "Every pair occurs once, you train for ten epochs, and all margins grow without end.",
            &["DPO with a larger β", "IPO", "SLiC's hinge with a reward model", "ORPO"],
            1,
            "IPO's parabola has its minimum at 1/(2β), and pulls back behind it.",
        )
        .trap(0., "for each β the best Δ of a pair that looks certain is infinite")
        .trap(2., "no reward model is in its formula")
        .trap(3., "its odds ratio has no best value either"),
    ]
}
