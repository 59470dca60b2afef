//! 2.11 Two validations, two losses (find the bug, 6 minutes, ●○○)
//!
//! A model is validated twice in a row, and the two losses differ, although not a weight has
//! changed. Three lines at most.
//!
//! Hint: What is random in the model?
//! Hint: Dropout is for training alone. Who tells it what is going on?
//! Hint: `validation_loss` passes `Mode::Training` on.
//! Read: crates/tensor_core/src/dropout.rs: Dropout
//! Read: book/src/02_tiny_gpt.md: ## What goes wrong

use candle_core::{Result, Tensor};
use tensor_core::Rng;

/// Use that is made of a model.
#[derive(PartialEq, Clone, Copy)]
pub enum Mode {
    /// Dropout is on.
    Training,
    /// Dropout is off.
    Inference,
}

/// Dropout of half the elements of `x`; the others are doubled, so that the mean stays.
pub fn dropout(x: &Tensor, mode: Mode, rng: &mut Rng) -> Result<Tensor> {
    if mode == Mode::Inference {
        return Ok(x.clone());
    }
    let kept = (0..x.elem_count()).map(|_| f64::from(u8::from(rng.uniform() < 0.5)) * 2.);
    x * Tensor::from_iter(kept, x.device())?.reshape(x.shape())?
}

/// Mean squared error of the linear model `w: (C, 1)` on the rows of `x: (N, C)`.
pub fn loss(x: &Tensor, y: &Tensor, w: &Tensor, mode: Mode, rng: &mut Rng) -> Result<f64> {
    (dropout(x, mode, rng)?.matmul(w)? - y)?.sqr()?.mean_all()?.to_scalar()
}

/// Validation loss of `w` on the rows `x` with targets `y: (N, 1)`.
pub fn two_validations_two_losses(
    x: &Tensor,
    y: &Tensor,
    w: &Tensor,
    rng: &mut Rng,
) -> Result<f64> {
    // BUG
    loss(x, y, w, Mode::Inference, rng)
    //| loss(x, y, w, Mode::Training, rng)
    // END
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Validate = fn(&Tensor, &Tensor, &Tensor, &mut Rng) -> Result<f64>;

/// Grader. The reference is the mean squared error itself.
pub const GRADE: Fill<Validate> = Fill {
    cases,
    reference: |x, y, w, _rng| (x.matmul(w)? - y)?.sqr()?.mean_all()?.to_scalar(),
    tolerance: 1e-9,
    wrong: &[Wrong {
        f: |x, y, w, _rng| loss(x, y, w, Mode::Training, &mut Rng::new(0)),
        says: "a fixed seed makes the losses equal, and half the inputs are still dropped",
        read: "",
    }],
};

fn cases(f: Validate, answers: &mut Answers) {
    let (x, y, w) = (answers.normal(&[16, 8]), answers.normal(&[16, 1]), answers.normal(&[8, 1]));
    let mut rng = answers.rng().fork();
    answers.record("two validations in a row, their difference", || {
        Ok(f(&x, &y, &w, &mut rng)? - f(&x, &y, &w, &mut rng)?)
    });
    answers.record("validation loss", || f(&x, &y, &w, &mut rng));
}
