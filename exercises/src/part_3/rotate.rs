//! 3.3 Rotate (fill in, 15 minutes, ●●○)
//!
//! RoPE of one head x of D channels at a position. Channels i and i + D/2 are a pair (a, b), turned
//! by the angle position · base^(−2i/D):
//!
//!     a' = a cos − b sin        b' = b cos + a sin
//!
//! Hint: D/2 pairs; `base.powf(-2. * i as f64 / d as f64)` is the frequency of pair i.
//! Hint: Read both a and b before you write either.
//! Hint: `y[i] = x[i] * cos - x[i + half] * sin; y[i + half] = x[i + half] * cos + x[i] * sin;`
//! Read: crates/part_3_modern/src/rope.rs: pub fn apply_rope
//! Read: book/src/03_modern.md: ## RoPE: a position is an angle

/// `x` rotated to `position`.
pub fn rotate(x: &[f64], position: usize, base: f64) -> Vec<f64> {
    let (d, half) = (x.len(), x.len() / 2);
    let mut y = vec![0.; d];
    // SOLUTION: 5 lines: turn each pair by its angle
    for i in 0..half {
        let (sin, cos) = (position as f64 * base.powf(-2. * i as f64 / d as f64)).sin_cos();
        y[i] = x[i] * cos - x[i + half] * sin;
        y[i + half] = x[i + half] * cos + x[i] * sin;
    }
    // END
    y
}

// GRADE

use candle_core::{Device, Result, Tensor};
use tensor_core::ops::{Positions, rope};

use crate::grading::{Answers, Fill, Wrong};

type Rotate = fn(&[f64], usize, f64) -> Vec<f64>;

/// Grader. The reference is the fused operation.
pub const GRADE: Fill<Rotate> = Fill {
    cases,
    reference: |x, position, base| {
        let fused = || -> Result<Vec<f64>> {
            let (d, half) = (x.len(), x.len() / 2);
            let angles: Vec<f64> = (0..=position)
                .flat_map(|p| (0..half).map(move |i| (p, i)))
                .map(|(p, i)| p as f64 / base.powf(2. * i as f64 / d as f64))
                .collect();
            let angles = Tensor::from_vec(angles, (position + 1, half), &Device::Cpu)?;
            let x = Tensor::from_slice(x, (1, 1, 1, d), &Device::Cpu)?;
            rope(&x, &angles.cos()?, &angles.sin()?, Positions::StartAt(position))?
                .flatten_all()?
                .to_vec1()
        };
        fused().expect("a head of numbers")
    },
    tolerance: 1e-6,
    wrong: &[
        Wrong {
            f: |x, position, base| {
                let d = x.len();
                let mut y = vec![0.; d];
                for i in 0..d / 2 {
                    let angle = position as f64 * base.powf(-2. * i as f64 / d as f64);
                    let (sin, cos) = angle.sin_cos();
                    y[2 * i] = x[2 * i] * cos - x[2 * i + 1] * sin;
                    y[2 * i + 1] = x[2 * i + 1] * cos + x[2 * i] * sin;
                }
                y
            },
            says: "the pairs are (0, 1), (2, 3), ...; here (0, D/2), (1, D/2 + 1), ...",
            read: "crates/part_3_modern/src/rope.rs: The paper pairs adjacent components",
        },
        Wrong {
            f: |x, position, base| {
                let (d, half) = (x.len(), x.len() / 2);
                let mut y = vec![0.; d];
                for i in 0..half {
                    let angle = position as f64 * base.powf(-2. * i as f64 / d as f64);
                    let (sin, cos) = angle.sin_cos();
                    y[i] = x[i] * cos + x[i + half] * sin;
                    y[i + half] = x[i + half] * cos - x[i] * sin;
                }
                y
            },
            says: "it turns the other way",
            read: "",
        },
        Wrong {
            f: |x, position, base| rotate(x, position + 1, base),
            says: "positions are counted from 0, and position 0 stays as it is",
            read: "",
        },
        Wrong {
            f: |x, position, base| rotate(x, position, base.sqrt()),
            says: "the exponent is −2i/D; the 2 is missing",
            read: "",
        },
        Wrong {
            f: |x, position, _base| rotate(x, position, 1.),
            says: "all pairs turn at the same speed",
            read: "",
        },
    ],
};

fn cases(f: Rotate, answers: &mut Answers) {
    answers.record("(1, 2, 3, 4) at position 1", || Ok(f(&[1., 2., 3., 4.], 1, 1e4)));
    for (d, position) in [(2, 3), (8, 0), (8, 5), (16, 100)] {
        let x: Vec<f64> = (0..d).map(|_| answers.rng().normal()).collect();
        answers.record(format!("{d} channels at position {position}"), || Ok(f(&x, position, 1e4)));
    }
    let [q, k] = [0, 1].map(|_| (0..8).map(|_| answers.rng().normal()).collect::<Vec<f64>>());
    answers.record("scores at distance 3, from three places", || {
        let score = |p: usize| {
            let (q, k) = (f(&q, p + 3, 1e4), f(&k, p, 1e4));
            q.iter().zip(&k).map(|(q, k)| q * k).sum::<f64>()
        };
        Ok([score(0), score(1), score(40)])
    });
}
