//! Mixtures of data sets: rows of several sources, interleaved by weight as `interleave_datasets`
//! of `datasets` does.
//!
//! ```text
//! until the first source is exhausted (or the last):
//!     draw a source with probability  weight / Σ weights,  and take its next row
//! ```
//! The draws follow from the seed alone, so a resumed run mixes the same rows.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tensor_core::Rng;

/// Smallest share of a source: the number of draws until it is exhausted grows with 1 / share.
const MIN_SHARE: f64 = 1e-3;

/// When a mixture ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum StoppingStrategy {
    /// When the first source has no more rows
    #[default]
    FirstExhausted,
    /// When every source has been used up; the others begin anew
    AllExhausted,
}

/// Sources that are mixed.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixture<S> {
    /// Sources with their weights.
    pub sources: Vec<(S, f64)>,
    /// When it ends.
    pub strategy: StoppingStrategy,
}

impl Mixture<String> {
    /// Names and weights in `data`, `a.jsonl=0.7,b.jsonl=0.3`; `None` if it is a single name.
    ///
    /// # Errors
    /// When one of several names has no weight, or too small a one.
    pub fn parse(data: &str, strategy: StoppingStrategy) -> Result<Option<Self>> {
        if !data.contains(',') || Path::new(data).exists() {
            return Ok(None);
        }
        let source = |text: &str| {
            let (name, weight) = text.rsplit_once('=').with_context(|| {
                format!("--data {data}: `{text}` has no weight, as in a.jsonl=0.7,b.jsonl=0.3")
            })?;
            Ok((name.trim().to_string(), weight.trim().parse().unwrap_or(f64::NAN)))
        };
        let sources: Vec<(String, f64)> = data.split(',').map(source).collect::<Result<_>>()?;
        let total: f64 = sources.iter().map(|(_, weight)| weight).sum();
        for (name, weight) in &sources {
            ensure!(
                *weight >= MIN_SHARE * total && total.is_finite(),
                "--data {data}: the weight of `{name}` must be a number, at least a thousandth of \
                 the sum"
            );
        }
        Ok(Some(Self { sources, strategy }))
    }
}

impl<S> Mixture<S> {
    /// The mixture of what `read` reads from each source.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn map<T>(&self, mut read: impl FnMut(&S) -> Result<T>) -> Result<Mixture<T>> {
        let sources = self.sources.iter().map(|(source, weight)| Ok((read(source)?, *weight)));
        Ok(Mixture { sources: sources.collect::<Result<_>>()?, strategy: self.strategy })
    }
}

impl<T> Mixture<Vec<T>> {
    /// All rows, one source after the other.
    pub fn concat(self) -> Vec<T> {
        self.sources.into_iter().flat_map(|(rows, _)| rows).collect()
    }
}

impl<T: Clone> Mixture<Vec<T>> {
    /// Rows in the order in which they are drawn with `seed`.
    pub fn interleave(&self, seed: u64) -> Vec<T> {
        let total: f64 = self.sources.iter().map(|(_, weight)| weight).sum();
        let (mut n_drawn, mut rows) = (vec![0; self.sources.len()], Vec::new());
        let mut rng = Rng::new(seed);
        while !self.is_over(&n_drawn) {
            let mut left = rng.uniform() * total;
            let drawn = self.sources.iter().position(|(_, weight)| {
                left -= weight;
                left < 0.
            });
            let drawn = drawn.unwrap_or(self.sources.len() - 1); // rounding
            let source = &self.sources[drawn].0;
            rows.extend(source.get(n_drawn[drawn] % source.len().max(1)).cloned());
            n_drawn[drawn] += 1;
        }
        rows
    }

    /// True if `n_drawn` rows of each source end the mixture.
    fn is_over(&self, n_drawn: &[usize]) -> bool {
        let mut exhausted =
            n_drawn.iter().zip(&self.sources).map(|(&n, (rows, _))| n >= rows.len());
        match self.strategy {
            StoppingStrategy::FirstExhausted => exhausted.any(|is_exhausted| is_exhausted),
            StoppingStrategy::AllExhausted => exhausted.all(|is_exhausted| is_exhausted),
        }
    }
}
