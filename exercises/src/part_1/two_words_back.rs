//! 1.8 Look two words back (fill in, 15 minutes, ●●○)
//!
//! In the sinusoidal vector of position t the channels 2i and 2i + 1 are (sin tω, cos tω), with ω =
//! `frequency(i, c)`: a point on a circle. Moving back two positions turns it by −2ω, and a turn is
//! a matrix. (A position is a row here and stands left of W_q; the book's matrix, written for
//! columns, is the transpose.) Build the matrix W_q for which position t times W_q is position
//! t − 2. A head that makes its queries with W_q, and whose keys are the positions themselves,
//! attends to the token two places before its own.
//!
//! Hint: sin(a − b) = sin a cos b − cos a sin b, and cos(a − b) = cos a cos b + sin a sin b.
//! Hint: The product is a row times the matrix, so cell (row, column) says how much of channel
//! `row` goes to channel `column`. All cells outside the 2 × 2 blocks on the diagonal are 0.
//! Hint: With (sin, cos) of 2ω: cell (2i, 2i) = cos, (2i + 1, 2i) = −sin, (2i, 2i + 1) = sin,
//! (2i + 1, 2i + 1) = cos.
//! Read: book/src/01_attention.md: ## Order
//! Read: crates/part_1_attention/src/readable_heads.rs: fn rotate_back_one_position
//! Read: book/src/01_attention.md: ## Intelligence by hand: an induction head

use attention::positions::frequency;
use candle_core::{Device, Result, Tensor};

/// Matrix (C, C) that takes the sinusoidal vector of position t to that of t − 2.
pub fn two_words_back(c: usize) -> Result<Tensor> {
    let mut cells = vec![0.; c * c]; // cell (row, column) is cells[row * c + column]
    for i in 0..c / 2 {
        let (sin, cos) = (2. * frequency(i, c)).sin_cos();
        // SOLUTION: 5 lines: four cells of the block of channels 2i and 2i + 1
        let (s, k) = (2 * i, 2 * i + 1);
        cells[s * c + s] = cos;
        cells[k * c + s] = -sin;
        cells[s * c + k] = sin;
        cells[k * c + k] = cos;
        // END
    }
    Tensor::from_vec(cells, (c, c), &Device::Cpu)
}

// GRADE

use attention::sinusoidal_positions;
use candle_core::{D, DType};

use crate::grading::{Answers, Fill, Wrong};

type Matrix = fn(usize) -> Result<Tensor>;

/// Grader. That the solution moves positions by two is a test of its own.
pub const GRADE: Fill<Matrix> = Fill {
    cases,
    reference: two_words_back,
    tolerance: 1e-6,
    wrong: &[
        Wrong {
            f: |c| two_words_back(c)?.t()?.contiguous(),
            says: "it turns forwards: position t goes to t + 2 (or rows and columns are exchanged)",
            read: "",
        },
        Wrong {
            f: |c| {
                let mut cells = vec![0.; c * c];
                for i in 0..c / 2 {
                    let (sin, cos) = frequency(i, c).sin_cos();
                    cells[2 * i * c + 2 * i] = cos;
                    cells[(2 * i + 1) * c + 2 * i] = -sin;
                    cells[2 * i * c + 2 * i + 1] = sin;
                    cells[(2 * i + 1) * c + 2 * i + 1] = cos;
                }
                Tensor::from_vec(cells, (c, c), &Device::Cpu)
            },
            says: "it turns by ω, which is one position; two are 2ω",
            read: "",
        },
        Wrong {
            f: |c| {
                let mut cells = vec![0.; c * c];
                let half = c / 2;
                for i in 0..half {
                    let (sin, cos) = (2. * frequency(i, c)).sin_cos();
                    cells[i * c + i] = cos;
                    cells[(i + half) * c + i] = -sin;
                    cells[i * c + i + half] = sin;
                    cells[(i + half) * c + i + half] = cos;
                }
                Tensor::from_vec(cells, (c, c), &Device::Cpu)
            },
            says: "it pairs channel i with i + C/2; here neighbours 2i and 2i + 1 are a pair",
            read: "crates/part_1_attention/src/positions.rs: pub fn sinusoidal_positions",
        },
        Wrong {
            f: |c| of_blocks(c, |sin, cos| [cos, sin, sin, cos]),
            says: "both sines have the same sign; of a turn's two sines one has a minus",
            read: "",
        },
        Wrong {
            f: |c| of_blocks(c, |sin, cos| [sin, cos, -cos, sin]),
            says: "sine and cosine are exchanged: the diagonal has the cosine, 1 for no turn",
            read: "",
        },
    ],
};

/// Matrix of blocks, each from (sin, cos) of 2ω: cells (2i, 2i), (2i, 2i + 1), (2i + 1, 2i) and
/// (2i + 1, 2i + 1).
fn of_blocks(c: usize, block: impl Fn(f64, f64) -> [f64; 4]) -> Result<Tensor> {
    let mut cells = vec![0.; c * c];
    for i in 0..c / 2 {
        let (sin, cos) = (2. * frequency(i, c)).sin_cos();
        let [first, second, third, fourth] = block(sin, cos);
        let at = 2 * i * c + 2 * i;
        (cells[at], cells[at + 1]) = (first, second);
        (cells[at + c], cells[at + c + 1]) = (third, fourth);
    }
    Tensor::from_vec(cells, (c, c), &Device::Cpu)
}

fn cases(f: Matrix, answers: &mut Answers) {
    for c in [2, 8, 32] {
        let positions = sinusoidal_positions(12, c, DType::F64, &Device::Cpu);
        let moved = || -> Result<(Tensor, Tensor)> {
            let positions = positions.as_ref().expect("memory for a small table");
            Ok((positions.matmul(&f(c)?)?, positions.clone()))
        };
        answers.record(format!("{c} channels: position 5 moved"), || moved()?.0.narrow(0, 5, 1));
        answers.record(format!("{c} channels: moved less that of two before"), || {
            let (moved, positions) = moved()?;
            moved.narrow(0, 2, 10)? - positions.narrow(0, 0, 10)?
        });
        answers.record(format!("{c} channels: where each token looks"), || {
            let (moved, positions) = moved()?;
            let scores = moved.narrow(0, 2, 10)?.matmul(&positions.t()?)?; // (10, 12)
            scores.argmax(D::Minus1)?.to_dtype(DType::F64)
        });
    }
}
