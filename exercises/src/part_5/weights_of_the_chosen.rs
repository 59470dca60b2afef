//! 5.1 Weights of the chosen (fill in, 15 minutes, ●●○)
//!
//! A router gives a logit per expert; each token goes to the K likeliest. With p the softmax over
//! *all* experts, there are three rules for the weights of the chosen ones:
//!
//!     raw           p                        Switch; the weights sum to less than 1
//!     renormalized  p / Σ p of the chosen    Mixtral
//!     scaled        p · E / K                the size of a dense layer, at a uniform router
//!
//! Return the three, (N, K) each; `chosen` holds the places of the K experts, (N, K).
//!
//! Hint: `ops::softmax(logits)?` is over the last dimension, all experts.
//! Hint: `p.gather(chosen, 1)?` picks the chosen ones. Their sum: `sum_keepdim(1)?`, (N, 1).
//! Hint: `let raw = ops::softmax(logits)?.gather(chosen, 1)?;`, then `raw.broadcast_div(&sum)?`,
//! and raw times `e as f64 / k as f64`.
//! Read: crates/part_5_moe/src/config.rs: pub enum GateWeights
//! Read: book/src/05_experts.md: ## The idea in words

use candle_core::{Result, Tensor};
use tensor_core::ops;

/// Raw, renormalized and scaled weights, (N, K) each, from `logits: (N, E)` and `chosen: (N, K)`.
pub fn weights_of_the_chosen(logits: &Tensor, chosen: &Tensor) -> Result<[Tensor; 3]> {
    let ((_n, e), (_, k)) = (logits.dims2()?, chosen.dims2()?);
    // SOLUTION: 4 lines: softmax over all, the chosen ones, and the three rules
    let raw = ops::softmax(logits)?.gather(chosen, 1)?; // (N, K)
    let renormalized = raw.broadcast_div(&raw.sum_keepdim(1)?)?;
    let scaled = (&raw * (e as f64 / k as f64))?;
    Ok([raw, renormalized, scaled])
    // END
}

// GRADE

use moe::config::{ExpertSelection, GateWeights, RouterConfig};
use moe::router::Routing;

use crate::grading::{Answers, Fill, Wrong};

type Weights = fn(&Tensor, &Tensor) -> Result<[Tensor; 3]>;

/// Grader. The reference is part 5's.
pub const GRADE: Fill<Weights> = Fill {
    cases,
    reference: |logits, chosen| {
        let ((_n, n_expert), (_, top_k)) = (logits.dims2()?, chosen.dims2()?);
        let of = |gate_weights| -> Result<Tensor> {
            let expert_selection = ExpertSelection::Probability;
            let config = RouterConfig { n_expert, top_k, gate_weights, expert_selection };
            Ok(Routing::new(logits, &config, None)?.gate_weights)
        };
        Ok([of(GateWeights::Raw)?, of(GateWeights::Renormalized)?, of(GateWeights::Scaled)?])
    },
    tolerance: 1e-6,
    wrong: &[
        Wrong {
            f: |logits, chosen| {
                let of_chosen = ops::softmax(&logits.gather(chosen, 1)?)?;
                let ((_n, e), (_, k)) = (logits.dims2()?, chosen.dims2()?);
                let scaled = (&of_chosen * (e as f64 / k as f64))?;
                Ok([of_chosen.clone(), of_chosen, scaled])
            },
            says: "the softmax runs over the chosen experts; p is over all",
            read: "",
        },
        Wrong {
            f: |logits, chosen| {
                let [raw, renormalized, _] = weights_of_the_chosen(logits, chosen)?;
                let (_, k) = chosen.dims2()?;
                let scaled = (&raw / k as f64)?;
                Ok([raw, renormalized, scaled])
            },
            says: "the scale is E / K",
            read: "",
        },
        Wrong {
            f: |logits, chosen| {
                let [raw, _, scaled] = weights_of_the_chosen(logits, chosen)?;
                let renormalized = raw.broadcast_div(&raw.sum_keepdim(0)?)?;
                Ok([raw, renormalized, scaled])
            },
            says: "the weights are normalized over the tokens; each token's own sum to 1",
            read: "",
        },
        Wrong {
            f: |logits, chosen| {
                let [raw, _, scaled] = weights_of_the_chosen(logits, chosen)?;
                let renormalized = ops::softmax(&raw)?;
                Ok([raw, renormalized, scaled])
            },
            says: "a softmax of probabilities: they are divided by their sum, without another exp",
            read: "",
        },
    ],
};

fn cases(f: Weights, answers: &mut Answers) {
    for (n, e, k) in [(2, 4, 1), (3, 4, 2), (2, 8, 3)] {
        let logits = answers.normal(&[n, e]);
        let chosen = logits.arg_sort_last_dim(false).and_then(|order| order.narrow(1, 0, k));
        let chosen = chosen.and_then(|chosen| chosen.contiguous()).expect("places of experts");
        for (i, name) in ["raw", "renormalized", "scaled"].into_iter().enumerate() {
            answers.record(format!("{name}, {k} of {e} experts"), || {
                Ok(f(&logits, &chosen)?[i].clone())
            });
            answers.gradient(format!("gradient, {name}, {k} of {e}"), &logits, |logits| {
                Ok(f(logits, &chosen)?[i].clone())
            });
        }
    }
}
