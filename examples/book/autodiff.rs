//! Chapter 0: automatic differentiation. Every operation on a [`Scalar`] appends to a tape what
//! its result depends on, and how much. Read backwards, the tape gives the derivative of one result
//! with respect to everything before it.
//!
//! `tensor_core::graph` does the same for tensors.

use std::cell::RefCell;
use std::ops::{Add, Div, Mul, Sub};

use anyhow::Result;

// ANCHOR: tape
/// Operations in the order in which they ran.
#[derive(Default)]
pub(crate) struct Tape(RefCell<Vec<Operation>>);

/// Inputs of an operation, by their number on the tape, each with the derivative of the result with
/// respect to it.
struct Operation {
    inputs: Vec<(usize, f64)>,
}

/// Number on the tape: its value, and the operation that computed it.
#[derive(Clone, Copy)]
pub(crate) struct Scalar<'a> {
    pub(crate) value: f64,
    number: usize,
    tape: &'a Tape,
}

impl Tape {
    /// Number that depends on nothing.
    pub(crate) fn scalar(&self, value: f64) -> Scalar<'_> {
        self.record(value, Vec::new())
    }

    fn record(&self, value: f64, inputs: Vec<(usize, f64)>) -> Scalar<'_> {
        let mut operations = self.0.borrow_mut();
        operations.push(Operation { inputs });
        Scalar { value, number: operations.len() - 1, tape: self }
    }
}
// ANCHOR_END: tape

// ANCHOR: operations
impl<'a> Add for Scalar<'a> {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.tape.record(self.value + other.value, vec![(self.number, 1.), (other.number, 1.)])
    }
}

impl<'a> Sub for Scalar<'a> {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.tape.record(self.value - other.value, vec![(self.number, 1.), (other.number, -1.)])
    }
}

impl<'a> Mul for Scalar<'a> {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let derivatives = vec![(self.number, other.value), (other.number, self.value)];
        self.tape.record(self.value * other.value, derivatives)
    }
}

impl<'a> Div for Scalar<'a> {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let quotient = self.value / other.value;
        let derivatives =
            vec![(self.number, 1. / other.value), (other.number, -quotient / other.value)];
        self.tape.record(quotient, derivatives)
    }
}

impl<'a> Scalar<'a> {
    pub(crate) fn exp(self) -> Self {
        let exp = self.value.exp();
        self.tape.record(exp, vec![(self.number, exp)])
    }

    pub(crate) fn ln(self) -> Self {
        self.tape.record(self.value.ln(), vec![(self.number, 1. / self.value)])
    }
}
// ANCHOR_END: operations

// ANCHOR: backward
/// Derivatives of a result with respect to everything on its tape.
pub(crate) struct Gradients(Vec<f64>);

impl Scalar<'_> {
    /// Walks the tape backwards. When an operation's turn comes, all that used its result have
    /// passed, so its derivative is complete and can be handed on to its inputs.
    pub(crate) fn backward(self) -> Gradients {
        let operations = self.tape.0.borrow();
        let mut gradients = vec![0.; operations.len()];
        gradients[self.number] = 1.;
        for number in (0..=self.number).rev() {
            for &(input, derivative) in &operations[number].inputs {
                gradients[input] += gradients[number] * derivative; // the chain rule
            }
        }
        Gradients(gradients)
    }
}

impl Gradients {
    pub(crate) fn of(&self, x: Scalar<'_>) -> f64 {
        self.0[x.number]
    }
}
// ANCHOR_END: backward

// ANCHOR: surprise
/// Surprise −log softmax(x)[target] of three logits, and its gradient.
pub(crate) fn surprise(logits: [f64; 3], target: usize) -> (f64, [f64; 3]) {
    let tape = Tape::default();
    let x = logits.map(|logit| tape.scalar(logit));
    let sum = x[0].exp() + x[1].exp() + x[2].exp();
    let loss = sum.ln() - x[target];
    let gradients = loss.backward();
    (loss.value, x.map(|x| gradients.of(x)))
}
// ANCHOR_END: surprise

/// Prints the gradient of a product in which one factor occurs twice, and ten steps of training
/// three logits.
pub(crate) fn run() -> Result<()> {
    let tape = Tape::default();
    let (a, b) = (tape.scalar(2.), tape.scalar(3.));
    let y = a * b + a * a;
    let gradients = y.backward();
    println!("y = a b + a², a = 2, b = 3: y = {}", y.value);
    println!("dy/da = {} (b + 2a), dy/db = {} (a)\n", gradients.of(a), gradients.of(b));
    let mut logits = [1., 2., 0.];
    println!("step  surprise   gradient, which is softmax − onehot");
    for step in 0..10 {
        let (loss, gradient) = surprise(logits, 0);
        println!("{step:>4}  {loss:>8.4}   {:?}", gradient.map(|g| (g * 1e4).round() / 1e4));
        for (logit, gradient) in logits.iter_mut().zip(gradient) {
            *logit -= gradient; // learning rate 1
        }
    }
    Ok(())
}
