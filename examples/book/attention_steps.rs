//! Chapter 1: attention over three tokens with weights that one can see: scores, scaled scores,
//! mask, softmax.

use anyhow::Result;
use attention::by_hand::{SelfAttention, SelfAttentionTrace};
use ndarray::{Array2, array};

use crate::artifacts::Artifact;
use crate::plot::{self, Cells};

/// The tokens.
pub(crate) const TOKENS: [&str; 3] = ["blue", "cat", "slept"];

// ANCHOR: head
/// Head whose query asks for a part of speech and whose key names it: channel 0 is "adjective", 1
/// is "noun", 2 is "verb", 3 is not used. A row per token, because the tokens are one-hot.
pub(crate) fn head() -> SelfAttention {
    SelfAttention {
        // "blue" asks for nothing, "cat" for an adjective, "slept" for a noun
        w_q: array![[0., 0., 0., 0.], [2., 0., 0., 0.], [0., 2., 0., 0.]],
        // "blue" is an adjective, "cat" a noun, "slept" a verb
        w_k: array![[3., 0., 0., 0.], [0., 3., 0., 0.], [0., 0., 3., 0.]],
        // "blue" carries a color, "cat" an animal, "slept" a deed
        w_v: array![[1., 0., 0., 0.], [0., 1., 0., 0.], [0., 0., 1., 0.]],
    }
}
// ANCHOR_END: head

/// All steps of the head on the three tokens.
pub(crate) fn trace() -> SelfAttentionTrace {
    head().forward(&Array2::eye(3))
}

fn texts(matrix: &Array2<f64>, decimals: usize) -> Vec<Vec<String>> {
    let cell =
        |&x: &f64| if x.is_finite() { format!("{x:.decimals$}") } else { "−∞".to_string() };
    matrix.rows().into_iter().map(|row| row.iter().map(cell).collect()).collect()
}

fn shades(matrix: &Array2<f64>, largest: f64) -> Vec<Vec<f64>> {
    let cell = |&x: &f64| (x / largest).clamp(0., 1.);
    matrix.rows().into_iter().map(|row| row.iter().map(cell).collect()).collect()
}

/// The four steps as matrices with numbers.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let trace = trace();
    let products = trace.q.dot(&trace.k.t()); // (T, T)
    let scaled = &products / 2.; // √D = 2
    let steps = [
        ("Q Kᵀ", texts(&products, 0), shades(&products, 6.)),
        ("÷ √D", texts(&scaled, 0), shades(&scaled, 6.)),
        ("mask", texts(&trace.scores, 0), shades(&trace.scores, 6.)),
        ("softmax", texts(&trace.weights, 2), shades(&trace.weights, 1.)),
    ];
    let svg = plot::figure(350, |area| {
        for (i, (title, texts, shade)) in (0..).zip(steps) {
            let rows: &[&str] = &TOKENS;
            let cells = Cells { title, rows, columns: &TOKENS, texts, shade };
            plot::cells(area, &cells, (80 + 290 * (i % 2), 52 + 172 * (i / 2)), (62, 36))?;
        }
        Ok(())
    })?;
    Ok(vec![Artifact::figure("attention_steps", svg)])
}
