//! Chapter 4: the law L(N, D) = E + A/N^α + B/D^β, fitted to losses that `scaling_runs` measured.

use std::fmt;

use anyhow::Result;

use crate::artifacts::Artifact;
use crate::plot::{self, Axes, Mark, Series};

/// A training run: weights, tokens and the loss on held-out text, in nats per byte.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) n_weights: usize,
    pub(crate) n_tokens: usize,
    pub(crate) loss: f64,
}

const fn run(n_weights: usize, n_tokens: usize, loss: f64) -> Run {
    Run { n_weights, n_tokens, loss }
}

/// Runs of `book -- scaling --data tinystories-2m.txt --threads 1`, without the two longest ones of
/// the widest model.
pub(crate) const RUNS: [Run; 14] = [
    run(10_832, 131_072, 2.1458),
    run(10_832, 262_144, 1.9015),
    run(10_832, 524_288, 1.7397),
    run(10_832, 1_048_576, 1.6195),
    run(33_440, 131_072, 1.9393),
    run(33_440, 262_144, 1.6489),
    run(33_440, 524_288, 1.4963),
    run(33_440, 1_048_576, 1.3963),
    run(117_056, 131_072, 1.7476),
    run(117_056, 262_144, 1.5203),
    run(117_056, 524_288, 1.3799),
    run(117_056, 1_048_576, 1.2618),
    run(428_672, 131_072, 1.6957),
    run(428_672, 262_144, 1.4598),
];

impl Run {
    /// Operations of the run, 6 N D.
    pub(crate) fn operations(&self) -> f64 {
        6. * self.n_weights as f64 * self.n_tokens as f64
    }
}

/// Constants of the law. `a` and `b` are for N in units of 10⁵ weights and D of 10⁶ tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Law {
    pub(crate) entropy: f64,
    pub(crate) a: f64,
    pub(crate) b: f64,
    pub(crate) alpha: f64,
    pub(crate) beta: f64,
}

// ANCHOR: fit
impl Law {
    /// Law with the least squared error. For given exponents E, A and B follow from linear
    /// equations, so the exponents are searched on a grid of hundredths.
    pub(crate) fn fit(runs: &[Run]) -> Self {
        let exponents = || (5..=150).map(|i| f64::from(i) / 100.);
        let laws = exponents().flat_map(|alpha| exponents().map(move |beta| (alpha, beta)));
        let laws = laws.filter_map(|(alpha, beta)| Self::with_exponents(runs, alpha, beta));
        let best = laws.min_by(|x, y| x.squared_error(runs).total_cmp(&y.squared_error(runs)));
        best.unwrap_or(Self { entropy: 0., a: 0., b: 0., alpha: 1., beta: 1. })
    }

    /// E, A and B of least squares for these exponents, unless one of them would be negative.
    fn with_exponents(runs: &[Run], alpha: f64, beta: f64) -> Option<Self> {
        let rows = runs.iter().map(|run| {
            let [n, d] = run.units();
            ([1., n.powf(-alpha), d.powf(-beta)], run.loss)
        });
        // The normal equations (Xᵀ X) w = Xᵀ y.
        let (mut matrix, mut right) = ([[0.; 3]; 3], [0.; 3]);
        for (row, loss) in rows {
            for i in 0..3 {
                right[i] += row[i] * loss;
                for j in 0..3 {
                    matrix[i][j] += row[i] * row[j];
                }
            }
        }
        let [entropy, a, b] = solve(matrix, right);
        let is_valid = [entropy, a, b].iter().all(|x| x.is_finite() && *x >= 0.);
        is_valid.then_some(Self { entropy, a, b, alpha, beta })
    }
    // ANCHOR_END: fit

    /// Loss that the law gives to the size of `run`.
    pub(crate) fn loss(&self, run: &Run) -> f64 {
        let [n, d] = run.units();
        self.entropy + self.a / n.powf(self.alpha) + self.b / d.powf(self.beta)
    }

    pub(crate) fn squared_error(&self, runs: &[Run]) -> f64 {
        runs.iter().map(|run| (self.loss(run) - run.loss).powi(2)).sum()
    }

    /// Exponent of the best number of weights in the budget: N ∝ C^{β/(α + β)}.
    pub(crate) fn size_exponent(&self) -> f64 {
        self.beta / (self.alpha + self.beta)
    }

    /// Weights of the best model for `budget` operations, as in `compute_budget`.
    pub(crate) fn best_size(&self, budget: f64) -> f64 {
        let units = budget / 6. / 1e5 / 1e6; // N · D in the law's units
        let g = (self.alpha * self.a / (self.beta * self.b)).powf(1. / (self.alpha + self.beta));
        g * units.powf(self.size_exponent()) * 1e5
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entropy, a, b, alpha, beta } = self;
        let size = self.size_exponent();
        write!(
            f,
            "{entropy:.3} + {a:.3} / (N/10^5)^{alpha:.2} + {b:.3} / (D/10^6)^{beta:.2}, \
             N_best ~ C^{size:.2}"
        )
    }
}

impl Run {
    /// N and D in the units of the law.
    fn units(&self) -> [f64; 2] {
        [self.n_weights as f64 / 1e5, self.n_tokens as f64 / 1e6]
    }
}

/// Solution of three linear equations, by Cramer's rule.
fn solve(matrix: [[f64; 3]; 3], right: [f64; 3]) -> [f64; 3] {
    let determinant = |m: [[f64; 3]; 3]| {
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
            - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    };
    let whole = determinant(matrix);
    [0, 1, 2].map(|column| {
        let mut replaced = matrix;
        (0..3).for_each(|row| replaced[row][column] = right[row]);
        determinant(replaced) / whole
    })
}

/// The figure, and the table of the runs.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let law = Law::fit(&RUNS);
    let names = ["11k weights", "33k weights", "117k weights", "429k weights"];
    let mut series = Vec::new();
    for (color, (name, runs)) in names.into_iter().zip(RUNS.chunks(4)).enumerate() {
        let dots = runs.iter().map(|run| ((run.n_tokens as f64).log2(), run.loss));
        series.push(Series::line(name, color, dots.collect()).marked(Mark::Dots));
        let curve = (0..=40).map(|i| {
            let log2 = 16.5 + f64::from(i) / 10.;
            (log2, law.loss(&Run { n_tokens: 2f64.powf(log2) as usize, ..runs[0] }))
        });
        series.push(Series::line("", color, curve.collect()));
    }
    let axes = Axes {
        title: "runs (dots) and the law that was fitted to them (lines)",
        x: ("training tokens", 16.5..20.5),
        y: ("nats per byte", 1.0..2.4),
        x_tick: |log2| format!("{:.0}k", 2f64.powf(log2) / 1000.),
    };
    let svg = plot::figure(330, |area| plot::chart(area, &axes, &series))?;
    let rows = RUNS.map(|run| {
        let Run { n_weights, n_tokens, loss } = run;
        let fitted = law.loss(&run);
        let work = format!("{:.1}", run.operations() / 1e10);
        let numbers = [n_weights.to_string(), n_tokens.to_string(), work];
        [numbers.to_vec(), vec![format!("{loss:.3}"), format!("{fitted:.3}")]].concat()
    });
    let header = ["N", "D", "6 N D, 10¹⁰", "loss", "by the law"];
    Ok(vec![Artifact::figure("scaling_law", svg), Artifact::table("scaling_runs", &header, &rows)])
}
