//! 3.13 Online softmax (fill in, 20 minutes, ●●●)
//!
//! Flash attention reads scores and values block by block and never holds a whole row. It keeps
//! three numbers: the largest score so far m, the sum l of exp(score − m), and the weighted sum o
//! of the values. When a block brings a larger score, the old sums were computed with the wrong m:
//! both are multiplied by exp(m_old − m_new). At the end the output is o / l.
//!
//! Return Σ softmax(scores) · values, reading `block` at a time.
//!
//! Hint: Begin with m = −∞ and l = o = 0; exp(−∞ − m) = 0 makes the first correction harmless.
//! Hint: Per block: the new m, the correction of l and o, then the terms of the block.
//! Hint: `let new = m.max(block_max); let c = (m - new).exp(); l *= c; o *= c; m = new;`, then for
//! each score `l += (s - m).exp(); o += (s - m).exp() * v;`
//! Read: crates/part_1_attention/src/head.rs: pub fn attention_weights
//! Read: book/src/03_modern.md: ## Attention without the matrix of scores

/// Softmax-weighted mean of `values`, from `scores` of the same length, read in blocks.
pub fn online_softmax(scores: &[f64], values: &[f64], block: usize) -> f64 {
    let (mut m, mut l, mut o) = (f64::NEG_INFINITY, 0., 0.);
    for (scores, values) in scores.chunks(block).zip(values.chunks(block)) {
        // SOLUTION: 9 lines: the new maximum, the correction of both sums, the terms of the block
        let new = scores.iter().copied().fold(m, f64::max);
        let correction = (m - new).exp();
        (m, l, o) = (new, l * correction, o * correction);
        for (score, value) in scores.iter().zip(values) {
            let weight = (score - m).exp();
            l += weight;
            o += weight * value;
        }
        // END
    }
    o / l
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Mean = fn(&[f64], &[f64], usize) -> f64;

/// Grader. The reference reads the row at once.
pub const GRADE: Fill<Mean> = Fill {
    cases,
    reference: |scores, values, _block| {
        let m = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - m).exp()).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().zip(values).map(|(weight, value)| weight / sum * value).sum()
    },
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |scores, values, block| wrongly(scores, values, block, Mistake::NoCorrection),
            says: "the old sums are not corrected when the maximum grows",
            read: "",
        },
        Wrong {
            f: |scores, values, block| wrongly(scores, values, block, Mistake::SumAlone),
            says: "only l is corrected; o was computed with the old maximum, too",
            read: "",
        },
        Wrong {
            f: |scores, values, block| wrongly(scores, values, block, Mistake::NoMaximum),
            says: "no maximum is subtracted: exp(1,000) is infinite",
            read: "",
        },
        Wrong {
            f: |scores, values, block| wrongly(scores, values, block, Mistake::MeanOfBlocks),
            says: "blocks are averaged as if each had the same weight",
            read: "",
        },
    ],
};

#[derive(PartialEq, Clone, Copy)]
enum Mistake {
    NoCorrection,
    SumAlone,
    NoMaximum,
    MeanOfBlocks,
}

fn wrongly(scores: &[f64], values: &[f64], block: usize, mistake: Mistake) -> f64 {
    if mistake == Mistake::MeanOfBlocks {
        let blocks = scores.chunks(block).zip(values.chunks(block));
        let means: Vec<f64> = blocks.map(|(s, v)| online_softmax(s, v, block)).collect();
        return means.iter().sum::<f64>() / means.len() as f64;
    }
    let start = if mistake == Mistake::NoMaximum { 0. } else { f64::NEG_INFINITY };
    let (mut m, mut l, mut o) = (start, 0., 0.);
    for (scores, values) in scores.chunks(block).zip(values.chunks(block)) {
        if mistake != Mistake::NoMaximum {
            let new = scores.iter().copied().fold(m, f64::max);
            let correction = (m - new).exp();
            m = new;
            if mistake == Mistake::SumAlone {
                l *= correction;
            }
        }
        for (score, value) in scores.iter().zip(values) {
            l += (score - m).exp();
            o += (score - m).exp() * value;
        }
    }
    o / l
}

fn cases(f: Mean, answers: &mut Answers) {
    for block in [1, 3, 100] {
        let n = 10;
        let scores: Vec<f64> = (0..n).map(|_| 3. * answers.rng().normal()).collect();
        let values: Vec<f64> = (0..n).map(|_| answers.rng().normal()).collect();
        answers
            .record(format!("10 scores in blocks of {block}"), || Ok(f(&scores, &values, block)));
    }
    answers.record("scores of ±1,000 in blocks of 2", || {
        Ok(f(&[-1000., 0., 999., 1000., -5.], &[1., 2., 3., 4., 5.], 2))
    });
}
