//! Answers of a function: the numbers that it returns for each case, or the reason why it returned
//! none. Two lists of answers are compared, never a function with a formula.

use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_core::{DType, Device, Result, Tensor, Var};
use tensor_core::testing::Numbers;
use tensor_core::{Rng, backward};

/// Answer for one case.
#[derive(Debug, Clone, PartialEq)]
pub enum Recording {
    /// Numbers, row by row.
    Numbers {
        /// Shape of the numbers.
        shape: Vec<usize>,
        /// The numbers.
        values: Vec<f64>,
    },
    /// Error, or message of a panic.
    Failure(String),
}

/// Labelled answers, in the order in which they were recorded.
#[derive(Debug)]
pub struct Answers {
    answers: Vec<(String, Recording)>,
    rng: Rng,
    finite_differences: bool,
}

/// Message of `todo!`.
const NOT_WRITTEN: &str = "not yet implemented";

impl Answers {
    /// No answers yet. The random inputs that they offer are the same each time.
    pub fn new() -> Self {
        Self { answers: Vec::new(), rng: Rng::new(28), finite_differences: false }
    }

    /// The same; gradients are also compared with finite differences.
    pub fn with_finite_differences() -> Self {
        Self { finite_differences: true, ..Self::new() }
    }

    /// Normal numbers as a tensor, in f64.
    pub fn normal(&mut self, shape: &[usize]) -> Tensor {
        self.rng
            .normal_tensor(shape, 1., DType::F64, &Device::Cpu)
            .expect("memory for a few numbers")
    }

    /// Generator of the inputs.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Records what `f` returns for the case `label`.
    pub fn record<N: Numbers>(&mut self, label: impl Into<String>, f: impl FnOnce() -> Result<N>) {
        let numbers = || {
            f().map(|numbers| {
                let mut values = Vec::new();
                let shape = numbers.append_to(&mut values);
                Recording::Numbers { shape, values }
            })
        };
        self.answers.push((label.into(), caught(numbers)));
    }

    /// Records the gradient at `x` of a weighted sum of what `f` returns.
    pub fn gradient(
        &mut self,
        label: impl Into<String>,
        x: &Tensor,
        f: impl Fn(&Tensor) -> Result<Tensor>,
    ) {
        let label = label.into();
        let weighted = |x: &Tensor| {
            let y = f(x)?.flatten_all()?.to_dtype(DType::F64)?;
            let weights = (0..y.elem_count()).map(|i| (1. + i as f64).sin());
            (&y * Tensor::from_iter(weights, y.device())?)?.sum_all()
        };
        self.record(&label, || {
            let x = Var::from_tensor(x)?;
            match backward(&weighted(x.as_tensor())?)?.get(x.as_tensor()) {
                Some(gradient) => Ok(gradient.clone()),
                None => candle_core::bail!("no gradient reaches the input"),
            }
        });
        if self.finite_differences {
            self.record(label + ", by finite differences", || {
                tensor_core::testing::assert_grad(x, &f, 1e-5)?;
                Ok(1.)
            });
        }
    }

    /// True if a function was still to be written.
    pub fn unwritten(&self) -> bool {
        let unwritten = |answer: &Recording| match answer {
            Recording::Failure(message) => message.contains(NOT_WRITTEN),
            Recording::Numbers { .. } => false,
        };
        self.answers.iter().any(|(_, answer)| unwritten(answer))
    }

    /// Labels and answers.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Recording)> {
        self.answers.iter().map(|(label, answer)| (label.as_str(), answer))
    }
}

impl Default for Answers {
    fn default() -> Self {
        Self::new()
    }
}

/// Result of `f`, a panic being a failure.
fn caught(f: impl FnOnce() -> Result<Recording>) -> Recording {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Recording::Failure(first_line(&error.to_string())),
        Err(panic) => {
            let message = (panic.downcast_ref::<String>().map(String::as_str))
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Recording::Failure(format!("panicked: {}", first_line(message.unwrap_or("no message"))))
        }
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_string()
}
