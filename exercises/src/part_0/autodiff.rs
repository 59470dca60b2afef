//! 0.3 Automatic differentiation (fill in, 20 minutes, ●●○)
//!
//! A computation is a list of steps, each of which uses earlier ones (`Step`). The derivative of
//! the last step by every input takes one walk backwards: a step that has received its own
//! derivative g gives each of its operands g times the local slope,
//!
//!     a + b:  g to a,    g to b          exp a:   g · exp a
//!     a · b:  g b to a,  g a to b        tanh a:  g · (1 − tanh² a)
//!
//! A step that is used twice is given two amounts. The values of all steps are at hand.
//!
//! Hint: Begin with derivative 1 at the last step and 0 elsewhere; when you reach a step on the way
//! back, all that use it have been visited.
//! Hint: Amounts are added: `slopes[a] += ...`. The value of the step itself is `values[at]`, so
//! exp a needs no second exponential.
//! Hint: `for at in (0..tape.len()).rev() { let g = slopes[at]; match tape[at] { Step::Mul(a, b) =>
//! { slopes[a] += g * values[b]; slopes[b] += g * values[a]; } ... } }` and at `Step::Input(i)`,
//! `gradient[i] += g`.
//! Read: crates/tensor_core/src/graph/backward.rs: pub fn backward
//! Read: book/src/00_before.md: ## Gradients of everything: autodiff in 100 lines

use exercises::part_0::tape::{Step, values};

/// Derivative of the last step of `tape` by each of `inputs`.
pub fn autodiff(tape: &[Step], inputs: &[f64]) -> Vec<f64> {
    let values = values(tape, inputs);
    let mut slopes = vec![0.; tape.len()];
    let mut gradient = vec![0.; inputs.len()];
    slopes[tape.len() - 1] = 1.;
    // SOLUTION: 15 lines: walk back over the steps and give each operand its amount
    for at in (0..tape.len()).rev() {
        let g = slopes[at];
        match tape[at] {
            Step::Input(i) => gradient[i] += g,
            Step::Add(a, b) => {
                slopes[a] += g;
                slopes[b] += g;
            }
            Step::Mul(a, b) => {
                slopes[a] += g * values[b];
                slopes[b] += g * values[a];
            }
            Step::Exp(a) => slopes[a] += g * values[at],
            Step::Tanh(a) => slopes[a] += g * (1. - values[at] * values[at]),
        }
    }
    gradient
    // END
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};
use crate::part_0::tape::forward_derivatives;

type Autodiff = fn(&[Step], &[f64]) -> Vec<f64>;

/// Grader. The reference differentiates forwards, once per input.
pub const GRADE: Fill<Autodiff> = Fill {
    cases,
    reference: forward_derivatives,
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |tape, inputs| wrongly(tape, inputs, Mistake::Overwrites),
            says: "an amount replaces the one before it; a step that is used twice is given two",
            read: "",
        },
        Wrong {
            f: |tape, inputs| wrongly(tape, inputs, Mistake::OwnFactor),
            says: "each factor is given its own value; its slope is the value of the other",
            read: "",
        },
        Wrong {
            f: |tape, inputs| wrongly(tape, inputs, Mistake::TanhNotSquared),
            says: "the slope of tanh is 1 − tanh², the square is missing",
            read: "",
        },
        Wrong {
            f: |tape, inputs| wrongly(tape, inputs, Mistake::ExpOfOperand),
            says: "the slope of exp a is exp a, not a",
            read: "",
        },
    ],
};

#[derive(PartialEq, Clone, Copy)]
enum Mistake {
    Overwrites,
    OwnFactor,
    TanhNotSquared,
    ExpOfOperand,
}

fn wrongly(tape: &[Step], inputs: &[f64], mistake: Mistake) -> Vec<f64> {
    let values = values(tape, inputs);
    let mut slopes = vec![0.; tape.len()];
    let mut gradient = vec![0.; inputs.len()];
    slopes[tape.len() - 1] = 1.;
    for at in (0..tape.len()).rev() {
        let g = slopes[at];
        let (v, is) = (values[at], |other| mistake == other);
        let mut give = |to: usize, amount: f64| match is(Mistake::Overwrites) {
            true => slopes[to] = amount,
            false => slopes[to] += amount,
        };
        match tape[at] {
            Step::Input(i) => gradient[i] += g,
            Step::Add(a, b) => [a, b].into_iter().for_each(|to| give(to, g)),
            Step::Mul(a, b) => {
                let (to_a, to_b) = if is(Mistake::OwnFactor) { (a, b) } else { (b, a) };
                give(a, g * values[to_a]);
                give(b, g * values[to_b]);
            }
            Step::Exp(a) => give(a, g * if is(Mistake::ExpOfOperand) { values[a] } else { v }),
            Step::Tanh(a) => {
                give(a, g * (1. - if is(Mistake::TanhNotSquared) { v } else { v * v }));
            }
        }
    }
    gradient
}

fn cases(f: Autodiff, answers: &mut Answers) {
    let two = [0.7, -1.3];
    let mut record = |label: &str, tape: &[Step], inputs: &[f64]| {
        answers.record(label, || Ok(f(tape, inputs)));
    };
    let inputs = [Step::Input(0), Step::Input(1)];
    record("x + y", &[inputs[0], inputs[1], Step::Add(0, 1)], &two);
    record("x y", &[inputs[0], inputs[1], Step::Mul(0, 1)], &two);
    record("exp(x)", &[Step::Input(0), Step::Exp(0)], &two[..1]);
    record("tanh(x)", &[Step::Input(0), Step::Tanh(0)], &two[..1]);
    record("x x, a step used twice", &[Step::Input(0), Step::Mul(0, 0)], &two[..1]);
    for n in 0..20 {
        let (tape, inputs) = random_tape(answers.rng());
        answers.record(format!("random computation {}", n + 1), || Ok(f(&tape, &inputs)));
    }
}

/// Random computation of three inputs and eight steps.
fn random_tape(rng: &mut tensor_core::Rng) -> (Vec<Step>, Vec<f64>) {
    let mut tape: Vec<Step> = (0..3).map(Step::Input).collect();
    for n in 3..11 {
        let (a, b) = (rng.below(n), rng.below(n));
        let step = match rng.below(4) {
            0 => Step::Add(a, b),
            1 => Step::Mul(a, b),
            2 => Step::Tanh(a),
            _ => Step::Exp(tanh_of(&mut tape, a)),
        };
        tape.push(step);
    }
    // All three inputs reach the end.
    let last = tape.len() - 1;
    tape.push(Step::Add(0, last));
    tape.push(Step::Mul(1, last + 1));
    tape.push(Step::Add(2, last + 2));
    let inputs = (0..3).map(|_| rng.normal()).collect();
    (tape, inputs)
}

/// Keeps exponents small: an exponential of exponentials overflows.
fn tanh_of(tape: &mut Vec<Step>, a: usize) -> usize {
    tape.push(Step::Tanh(a));
    tape.len() - 1
}
