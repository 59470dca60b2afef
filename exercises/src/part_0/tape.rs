//! A computation as a list of steps, each of which uses earlier ones: what an autograd graph is
//! when it is written down.

/// Step of a computation; numbers are places of earlier steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// Input with this index.
    Input(usize),
    /// Sum of two steps.
    Add(usize, usize),
    /// Product of two steps.
    Mul(usize, usize),
    /// Exponential of a step.
    Exp(usize),
    /// Hyperbolic tangent of a step.
    Tanh(usize),
}

/// Value of each step.
pub fn values(tape: &[Step], inputs: &[f64]) -> Vec<f64> {
    let mut values: Vec<f64> = Vec::with_capacity(tape.len());
    for step in tape {
        values.push(match *step {
            Step::Input(i) => inputs[i],
            Step::Add(a, b) => values[a] + values[b],
            Step::Mul(a, b) => values[a] * values[b],
            Step::Exp(a) => values[a].exp(),
            Step::Tanh(a) => values[a].tanh(),
        });
    }
    values
}

/// Derivative of the last step by each input, computed forwards, once per input.
pub fn forward_derivatives(tape: &[Step], inputs: &[f64]) -> Vec<f64> {
    let values = values(tape, inputs);
    let by_input = |input: usize| {
        let mut slopes: Vec<f64> = Vec::with_capacity(tape.len());
        for (at, step) in tape.iter().enumerate() {
            slopes.push(match *step {
                Step::Input(i) => f64::from(u8::from(i == input)),
                Step::Add(a, b) => slopes[a] + slopes[b],
                Step::Mul(a, b) => slopes[a] * values[b] + values[a] * slopes[b],
                Step::Exp(a) => slopes[a] * values[at],
                Step::Tanh(a) => slopes[a] * (1. - values[at] * values[at]),
            });
        }
        slopes.last().copied().unwrap_or_default()
    };
    (0..inputs.len()).map(by_input).collect()
}
