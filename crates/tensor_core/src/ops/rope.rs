//! Rotary position embedding (Su et al., <https://arxiv.org/abs/2104.09864>): pairs of numbers of a query or key are
//! turned by an angle that grows with the position, so that q · k depends on the distance between the two tokens.
//!
//! With x split into halves (a, b), cos and sin those of the position: y = (a cos − b sin, b cos + a sin). This is the
//! "rotate-half" form of Llama checkpoints; the paper pairs neighbours instead. The gradient is turned back.

use candle_core::{D, Result, Tensor, bail};

use super::check::check;
use super::cpu::{by_type, has_fused_loops, vectorized, whole_rows};
use super::float::Real;
use super::storage::{tensor_like, values};
use super::uninit::build;
use crate::graph::{is_tracked, record};

/// The position of each token in its sequence.
#[derive(Debug, Clone, Copy)]
pub enum Positions<'a> {
    /// Token t of every row is at this number plus t.
    StartAt(usize),
    /// Token t of row b is at `starts[b] + t`. A row padded by p tokens on its left starts at −p; its padding counts
    /// as position 0.
    RowStarts(&'a [i64]),
    /// Token t of row b is at `positions[b T + t]`, for texts that are packed into a row.
    PerToken(&'a [usize]),
}

impl Positions<'_> {
    /// Position of token `t` of row `b`, where rows have `t_all` tokens.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn position(&self, b: usize, t: usize, t_all: usize) -> usize {
        match self {
            Self::StartAt(start) => start + t,
            Self::RowStarts(starts) => (starts[b] + t as i64).max(0) as usize,
            Self::PerToken(positions) => positions[b * t_all + t],
        }
    }
}

/// Turns every head of `x: (B, T, H, D)` by its position; row p of `cos` and `sin: (P, D/2)` holds those of the angles
/// at position p.
///
/// # Errors
/// When the shapes do not fit or a position lies beyond the tables.
pub fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor, positions: Positions<'_>) -> Result<Tensor> {
    let (b, t, _h, d) = x.dims4()?;
    let (longest, half) = cos.dims2()?;
    let fit = sin.dims() == cos.dims() && 2 * half == d;
    check("rope", &[("x", x), ("cos", cos), ("sin", sin)], fit)?;
    if let Positions::RowStarts(starts) = positions
        && starts.len() != b
    {
        bail!("rope: {} starting positions for the {b} rows of {:?}", starts.len(), x.dims());
    }
    if let Positions::PerToken(each) = positions
        && each.len() != b * t
    {
        bail!("rope: {} positions for the {b} x {t} tokens of {:?}", each.len(), x.dims());
    }
    if is_tracked(cos) || is_tracked(sin) {
        bail!("rope: the tables are constants, their gradient is not computed: detach them");
    }
    let far = |start: &i64| start.saturating_add(t as i64 - 1).max(0) as usize;
    let last = match positions {
        Positions::StartAt(start) => start.saturating_add(t - 1),
        Positions::RowStarts(starts) => starts.iter().map(far).max().unwrap_or(0),
        Positions::PerToken(each) => each.iter().copied().max().unwrap_or(0),
    };
    if last >= longest {
        bail!("rope: position {last} of {:?} lies beyond the tables {:?}", x.dims(), cos.dims());
    }
    if has_fused_loops(x) {
        by_type!(x, fused(x, cos, sin, positions))
    } else {
        reference(x, cos, sin, positions)
    }
}

/// The same from plain tensor operations.
pub fn reference(
    x: &Tensor,
    cos: &Tensor,
    sin: &Tensor,
    positions: Positions<'_>,
) -> Result<Tensor> {
    let (b, t, _h, d) = x.dims4()?;
    let at = all_positions(b, t, positions);
    let at = Tensor::from_iter(at.map(|at| at as u32), x.device())?; // (B T)
    let rows = |table: &Tensor| table.contiguous()?.index_select(&at, 0)?.reshape((b, t, 1, d / 2));
    let (cos, sin) = (rows(cos)?, rows(sin)?);
    let (a, b) = (x.narrow(D::Minus1, 0, d / 2)?, x.narrow(D::Minus1, d / 2, d / 2)?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    Tensor::cat(&[first, second], D::Minus1)
}

fn all_positions(b: usize, t: usize, positions: Positions<'_>) -> impl Iterator<Item = usize> {
    (0..b * t).map(move |row| positions.position(row / t, row % t, t))
}

fn fused<T: Real>(
    x: &Tensor,
    cos: &Tensor,
    sin: &Tensor,
    positions: Positions<'_>,
) -> Result<Tensor> {
    let (b, t, h, d) = x.dims4()?;
    let (x, cos, sin) = (x.contiguous()?, cos.contiguous()?.detach(), sin.contiguous()?.detach());
    let positions: Vec<usize> = all_positions(b, t, positions).collect();
    let y = turn::<T>(&values(&x)?, (&values(&cos)?, &values(&sin)?), &positions, (h, d), T::ONE);
    record("rope", [&x], y, x.shape(), move |grad, _| {
        let tables = (&*values(&cos)?, &*values(&sin)?);
        let grad_x = turn::<T>(&values(grad)?, tables, &positions, (h, d), -T::ONE);
        Ok([Some(tensor_like(grad_x, grad)?)])
    })
}

/// Turns token i of `x: (B T, H, D)` by the angles of `positions[i]`, forwards (`direction` 1) or backwards (−1).
fn turn<T: Real>(
    x: &[T],
    (cos, sin): (&[T], &[T]),
    positions: &[usize],
    (h, d): (usize, usize),
    direction: T,
) -> Vec<T> {
    let half = d / 2;
    let part = whole_rows(h * d);
    let [y] = build([(x.len(), part)], |i, [y]| {
        let (x, positions) = (&x[i * part..], &positions[i * part / (h * d)..]);
        [vectorized!({
            y.fill_rows(d, |row, y| {
                let at = positions[row / h];
                let (cos, sin) = (&cos[at * half..], &sin[at * half..]);
                let (a, b) = x[row * d..][..d].split_at(half);
                y.fill_halves([a, b, cos, sin], |[a, b, cos, sin]| {
                    let sin = direction * sin;
                    [a * cos - b * sin, b * cos + a * sin]
                })
            })
        })]
    });
    y
}
