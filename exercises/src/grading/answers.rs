//! Answers of a function: the numbers that it returns for each case, or the reason why it returned
//! none. Two lists of answers are compared, never a function with a formula.

use std::backtrace::Backtrace;
use std::cell::RefCell;
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
    /// Error or panic.
    Failure {
        /// Message.
        message: String,
        /// Line of the learner's file as `exercises/work/part_1/one_head.rs:12`, if it is known.
        line: Option<String>,
    },
}

/// Recording with its case.
#[derive(Debug)]
pub struct RecordedCase {
    /// Case.
    pub label: String,
    /// Part of the function's result; empty where it is graded as a whole.
    pub part: &'static str,
    /// Names and shapes of the inputs, if the grader gives them.
    pub inputs: String,
    /// Recording.
    pub recording: Recording,
}

/// Answers in the order in which they were recorded.
#[derive(Debug)]
pub struct Answers {
    answers: Vec<RecordedCase>,
    part: &'static str,
    inputs: String,
    rng: Rng,
    finite_differences: bool,
}

/// Message of `todo!`.
const NOT_WRITTEN: &str = "not yet implemented";

impl Answers {
    /// No answers yet. The random inputs that they offer are the same each time.
    pub fn new() -> Self {
        Self {
            answers: Vec::new(),
            part: "",
            inputs: String::new(),
            rng: Rng::new(28),
            finite_differences: false,
        }
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

    /// Names the part of the result that is recorded next. A mistake in one part is named beside
    /// one in another.
    pub fn part(&mut self, part: &'static str) -> &mut Self {
        self.part = part;
        self
    }

    /// Names the inputs of the next cases; an error shows their shapes.
    pub fn inputs(&mut self, inputs: &[(&str, &Tensor)]) {
        let shown = inputs.iter().map(|(name, x)| format!("{name} {:?}", x.shape()));
        self.inputs = shown.collect::<Vec<_>>().join(", ");
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
        self.answers.push(RecordedCase {
            label: label.into(),
            part: self.part,
            inputs: self.inputs.clone(),
            recording: caught(numbers),
        });
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
        let unwritten = |answer: &RecordedCase| match &answer.recording {
            Recording::Failure { message, .. } => message.contains(NOT_WRITTEN),
            Recording::Numbers { .. } => false,
        };
        self.answers.iter().any(unwritten)
    }

    /// Answers.
    pub fn iter(&self) -> impl Iterator<Item = &RecordedCase> {
        self.answers.iter()
    }

    /// Parts of the result, in the order in which they were first recorded.
    pub fn parts(&self) -> Vec<&'static str> {
        let mut parts = Vec::new();
        for answer in &self.answers {
            if !parts.contains(&answer.part) {
                parts.push(answer.part);
            }
        }
        parts
    }
}

impl Default for Answers {
    fn default() -> Self {
        Self::new()
    }
}

thread_local! {
    /// Line of the learner's file in which the last panic began.
    static PANIC_LINE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes the learner's line of every panic from now on, instead of printing the panic.
pub fn note_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // A known mistake of the grader needs no line; a panic in another crate has one further up.
        let line = match place.starts_with("exercises/src/") {
            true => None,
            false => learners_line(&place)
                .or_else(|| learners_line(&Backtrace::force_capture().to_string())),
        };
        PANIC_LINE.set(line);
    }));
}

/// First line of the learner's file that `text`, a place in code or a backtrace, names.
pub(crate) fn learners_line(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let mut folders = ["/../work/", "exercises/work/"].into_iter();
        let (_, place) = folders.find_map(|folder| line.split_once(folder))?;
        let mut pieces = place.split(':');
        let (file, number) = (pieces.next()?, pieces.next()?.trim());
        let is_theirs = file != "main.rs" && number.parse::<u32>().is_ok();
        is_theirs.then(|| format!("exercises/work/{file}:{number}"))
    })
}

/// Result of `f`, a panic being a failure.
fn caught(f: impl FnOnce() -> Result<Recording>) -> Recording {
    PANIC_LINE.set(None);
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            let text = error.to_string(); // its backtrace follows the first line
            Recording::Failure { message: first_line(&text), line: learners_line(&text) }
        }
        Err(panic) => {
            let message = (panic.downcast_ref::<String>().map(String::as_str))
                .or_else(|| panic.downcast_ref::<&str>().copied());
            let message = format!("panicked: {}", first_line(message.unwrap_or("no message")));
            Recording::Failure { message, line: PANIC_LINE.take() }
        }
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_string()
}
