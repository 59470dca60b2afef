//! 4.11 A scaling law from nine runs (fill in, 20 minutes, ●●●)
//!
//! Losses of runs of growing size N lie on L = E + A / N^α. The entropy of text, E, is given. Then
//! log(L − E) is a straight line over log N: its slope is −α, its intercept log A. Fit the line by
//! least squares, and return α, A, and the loss that it predicts for `n_next`. That is how the loss
//! of a large run is known before it is paid.
//!
//! Hint: x = ln N, y = ln(L − E); slope = Σ (x − x̄)(y − ȳ) / Σ (x − x̄)².
//! Hint: The line goes through (x̄, ȳ): intercept = ȳ − slope · x̄. α is the slope with its sign
//! turned.
//! Hint: Prediction: `entropy + a * n_next.powf(-alpha)`, with `a = intercept.exp()`.
//! Read: book/src/04_scale.md: ## Bigger model or more text?

/// α, A, and the predicted loss of `n_next`, from `runs` of (N, L).
pub fn scaling_law(runs: &[(f64, f64)], entropy: f64, n_next: f64) -> [f64; 3] {
    // SOLUTION: 9 lines: logarithms, the line through them, and its value at the next size
    let points = runs.iter().map(|(n, loss)| (n.ln(), (loss - entropy).ln()));
    let points: Vec<(f64, f64)> = points.collect();
    let mean =
        |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let products = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>();
    let squares = points.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>();
    let slope = products / squares;
    let a = (y - slope * x).exp();
    [-slope, a, entropy + a * n_next.powf(slope)]
    // END
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Law = fn(&[(f64, f64)], f64, f64) -> [f64; 3];

/// Grader. The reference solves the normal equations of the line.
pub const GRADE: Fill<Law> = Fill {
    cases,
    reference: |runs, entropy, n_next| {
        let (mut n, mut sx, mut sy, mut sxx, mut sxy) = (0., 0., 0., 0., 0.);
        for (size, loss) in runs {
            let (x, y) = (size.ln(), (loss - entropy).ln());
            (n, sx, sy, sxx, sxy) = (n + 1., sx + x, sy + y, sxx + x * x, sxy + x * y);
        }
        let slope = (n * sxy - sx * sy) / (n * sxx - sx * sx);
        let intercept = (sy - slope * sx) / n;
        [-slope, intercept.exp(), entropy + (intercept + slope * n_next.ln()).exp()]
    },
    tolerance: 1e-6,
    wrong: &[
        Wrong {
            f: |runs, _, n_next| scaling_law(runs, 0., n_next),
            says: "E is not subtracted: the slope is too flat, and the law says that text has no \
                   surprise",
            read: "",
        },
        Wrong {
            f: |runs, entropy, n_next| {
                let [alpha, a, loss] = scaling_law(runs, entropy, n_next);
                [-alpha, a, loss]
            },
            says: "α is the slope with its sign turned: losses fall",
            read: "",
        },
        Wrong {
            f: |runs, entropy, n_next| {
                let [alpha, a, loss] = scaling_law(runs, entropy, n_next);
                [alpha, a.ln(), loss]
            },
            says: "the intercept is log A; A is asked",
            read: "",
        },
        Wrong {
            f: |runs, entropy, n_next| {
                let [alpha, a, loss] = scaling_law(runs, entropy, n_next);
                [alpha, a, loss - entropy]
            },
            says: "the prediction is without E, which no model gets below",
            read: "",
        },
        Wrong {
            f: |runs, entropy, n_next| {
                let (first, last) = (runs[0], runs[runs.len() - 1]);
                scaling_law(&[first, last], entropy, n_next)
            },
            says: "the line through the first and the last run: seven runs are not used",
            read: "",
        },
    ],
};

fn cases(f: Law, answers: &mut Answers) {
    for (alpha, a, noise) in [(0.34, 406., 0.), (0.2, 12., 0.02)] {
        let runs: Vec<(f64, f64)> = (0..9)
            .map(|i| {
                let n = 1e4 * 2f64.powi(i);
                let off: f64 = noise * answers.rng().normal();
                (n, 1.69 + a * n.powf(-alpha) * off.exp())
            })
            .collect();
        answers.record(format!("nine runs with α = {alpha}, noise {noise}"), || {
            Ok(f(&runs, 1.69, 1e8))
        });
    }
}
