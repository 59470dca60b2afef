//! 3.9 Extend (fill in, 20 minutes, ●●●)
//!
//! One head with a cache. A text is read in pieces; each token of a piece has a query, a key and a
//! value, `[q, k, v]`. Store keys and values of the piece in the cache, then let each of its tokens
//! attend to all tokens up to itself: those of earlier pieces, and its own piece as far as it. The
//! outputs must not depend on how the text was cut. `softmax_mean` is given: it weighs values with
//! the softmax of scores.
//!
//! Hint: How many cached tokens does token i of the piece see?
//! Hint: With `start` tokens in the cache before the piece, token i sees `start + i + 1` of them.
//! Hint: `let seen = &cache[..start + i + 1];`, the scores are `dot(q, k) / (q.len() as
//! f64).sqrt()` for `[k, _]` in `seen`.
//! Read: book/src/03_modern.md: ## The KV cache: nothing is computed twice

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Mean of the values in `tokens`, weighted with the softmax of `scores`.
fn softmax_mean(scores: &[f64], tokens: &[[Vec<f64>; 2]]) -> Vec<f64> {
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - max).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut mean = vec![0.; tokens[0][1].len()];
    for (weight, [_, value]) in weights.iter().zip(tokens) {
        for (mean, value) in mean.iter_mut().zip(value) {
            *mean += weight / total * value;
        }
    }
    mean
}

/// Outputs of the tokens of `piece`, each `[q, k, v]`; `cache` holds `[k, v]` of all tokens before.
pub fn extend(cache: &mut Vec<[Vec<f64>; 2]>, piece: &[[Vec<f64>; 3]]) -> Vec<Vec<f64>> {
    let start = cache.len();
    let mut outputs = Vec::new();
    // SOLUTION: 7 lines: store keys and values, then one softmax over what each token sees
    for [_, k, v] in piece {
        cache.push([k.clone(), v.clone()]);
    }
    for (i, [q, _, _]) in piece.iter().enumerate() {
        let seen = &cache[..start + i + 1];
        let scores = seen.iter().map(|[k, _]| dot(q, k) / (q.len() as f64).sqrt());
        outputs.push(softmax_mean(&scores.collect::<Vec<f64>>(), seen));
    }
    // END
    outputs
}

// GRADE

use attention::attention_weights;
use candle_core::{Device, Result, Tensor};

use crate::grading::{Answers, Fill, Wrong};

type Extend = fn(&mut Vec<[Vec<f64>; 2]>, &[[Vec<f64>; 3]]) -> Vec<Vec<f64>>;

/// Grader. The reference is part 1's attention over all that has been read.
pub const GRADE: Fill<Extend> = Fill {
    cases,
    reference: |cache, piece| {
        let worked = |cache: &mut Vec<[Vec<f64>; 2]>| -> Result<Vec<Vec<f64>>> {
            let mut outputs = Vec::new();
            for [q, k, v] in piece {
                cache.push([k.clone(), v.clone()]);
                let rows = |i: usize| -> Result<Tensor> {
                    let rows: Vec<Vec<f64>> = cache.iter().map(|row| row[i].clone()).collect();
                    Tensor::new(rows, &Device::Cpu)
                };
                let q = Tensor::new(vec![q.clone(); cache.len()], &Device::Cpu)?;
                let weights = attention_weights(&q, &rows(0)?)?; // the last row sees all
                let row = weights.matmul(&rows(1)?)?.get(cache.len() - 1)?;
                outputs.push(row.to_vec1()?);
            }
            Ok(outputs)
        };
        worked(cache).expect("a few rows")
    },
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |cache, piece| attend(cache, piece, |_, i, _| 0..i + 1),
            says: "the mask is not shifted by what was in the cache: token i sees i + 1 tokens of \
                   the whole text",
            read: "crates/part_1_attention/src/head.rs: pub fn causal_mask",
        },
        Wrong {
            f: |cache, piece| attend(cache, piece, |start, _, n| 0..start + n),
            says: "the tokens of a piece see its later ones: right for pieces of one token only",
            read: "",
        },
        Wrong {
            f: |cache, piece| attend(cache, piece, |start, i, _| start..start + i + 1),
            says: "a piece sees itself only; what was cached is not read",
            read: "",
        },
        Wrong {
            f: |cache, piece| attend(cache, piece, |start, i, _| 0..(start + i).max(1)),
            says: "a token does not see itself",
            read: "",
        },
        Wrong {
            f: |cache, piece| {
                let scale = |q: &[f64]| -> Vec<f64> {
                    q.iter().map(|x| x * (q.len() as f64).sqrt()).collect()
                };
                let piece = piece.iter().map(|[q, k, v]| [scale(q), k.clone(), v.clone()]);
                extend(cache, &piece.collect::<Vec<_>>())
            },
            says: "the scores are not divided by √D",
            read: "crates/part_1_attention/src/by_hand.rs: √D. Without it",
        },
    ],
};

/// [`extend`] where token `i` of a piece of `n` behind `start` tokens sees those of `seen`.
fn attend(
    cache: &mut Vec<[Vec<f64>; 2]>,
    piece: &[[Vec<f64>; 3]],
    seen: fn(usize, usize, usize) -> std::ops::Range<usize>,
) -> Vec<Vec<f64>> {
    let start = cache.len();
    cache.extend(piece.iter().map(|[_, k, v]| [k.clone(), v.clone()]));
    let output = |(i, [q, _, _]): (usize, &[Vec<f64>; 3])| {
        let seen = &cache[seen(start, i, piece.len())];
        let scores = seen.iter().map(|[k, _]| dot(q, k) / (q.len() as f64).sqrt());
        softmax_mean(&scores.collect::<Vec<f64>>(), seen)
    };
    piece.iter().enumerate().map(output).collect()
}

fn cases(f: Extend, answers: &mut Answers) {
    let tokens: Vec<[Vec<f64>; 3]> = (0..6)
        .map(|_| [(); 3].map(|()| (0..4).map(|_| answers.rng().normal()).collect()))
        .collect();
    let cuts: [&[usize]; 4] = [&[6], &[1, 1, 1, 1, 1, 1], &[2, 4], &[3, 1, 2]];
    for cut in cuts {
        answers.record(format!("6 tokens in pieces of {cut:?}"), || {
            let (mut cache, mut outputs, mut rest) = (Vec::new(), Vec::new(), &tokens[..]);
            for &n in cut {
                let (piece, behind) = rest.split_at(n);
                outputs.extend(f(&mut cache, piece));
                rest = behind;
            }
            Ok(outputs)
        });
    }
}
