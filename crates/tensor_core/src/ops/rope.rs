//! Rotary position embedding (RoPE; Su et al., <https://arxiv.org/abs/2104.09864>): pairs of
//! channels of a query or key are rotated by an angle proportional to the position, so that q · k
//! depends on the distance between the two tokens.
//!
//! With x split into halves (a, b), and cos and sin those of the position: y = (a cos − b sin, b
//! cos + a sin). This is the "rotate-half" form of Llama checkpoints; the paper pairs neighboring
//! channels instead. The gradient is rotated back.

use candle_core::{D, Result, Tensor, bail};

use super::dispatch::{check, fused_or_reference};
use crate::graph::{is_tracked, record};
use crate::kernels::{Float, map_rows, tensor_like, values};

/// Position of each token in its sequence.
#[derive(Debug, Clone, Copy)]
pub enum Positions<'a> {
    /// Token t of every row is at this position plus t.
    StartAt(usize),
    /// Token t of row b is at `starts[b] + t`. A row with p padding tokens on the left starts at
    /// −p; its padding counts as position 0.
    RowStarts(&'a [i64]),
    /// Token t of row b is at `positions[b T + t]`, for sequences that are packed into a row.
    PerToken(&'a [usize]),
}

impl Positions<'_> {
    /// Position of token `t` of row `b`, where rows have `t_all` tokens.
    ///
    /// # Panics
    /// When the row does not exist.
    pub fn position(&self, b: usize, t: usize, t_all: usize) -> usize {
        match self {
            Self::StartAt(start) => start + t,
            Self::RowStarts(starts) => (starts[b] + t as i64).max(0) as usize,
            Self::PerToken(positions) => positions[b * t_all + t],
        }
    }
}

/// Rotates every head of `x: (B, T, H, D)` by its position; row p of `cos` and `sin: (P, D/2)`
/// holds the cosines and sines of position p.
///
/// # Errors
/// When the shapes do not fit or a position lies beyond the tables.
pub fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor, positions: Positions<'_>) -> Result<Tensor> {
    let (b, t, _h, d) = x.dims4()?;
    let (n_positions, half) = cos.dims2()?;
    let fit = sin.dims() == cos.dims() && 2 * half == d;
    check("rope", &[("x", x), ("cos", cos), ("sin", sin)], fit)?;
    if let Positions::RowStarts(starts) = positions
        && starts.len() != b
    {
        bail!("rope: {} starting positions for the {b} rows of {:?}", starts.len(), x.dims());
    }
    if let Positions::PerToken(per_token) = positions
        && per_token.len() != b * t
    {
        bail!("rope: {} positions for the {b} x {t} tokens of {:?}", per_token.len(), x.dims());
    }
    if is_tracked(cos) || is_tracked(sin) {
        bail!("rope: the tables have no gradient, as they are constants: detach them");
    }
    let last_of_row = |start: &i64| start.saturating_add(t as i64 - 1).max(0) as usize;
    let last = match positions {
        Positions::StartAt(start) => start.saturating_add(t - 1),
        Positions::RowStarts(starts) => starts.iter().map(last_of_row).max().unwrap_or(0),
        Positions::PerToken(per_token) => per_token.iter().copied().max().unwrap_or(0),
    };
    if last >= n_positions {
        bail!("rope: position {last} of {:?} lies beyond the tables {:?}", x.dims(), cos.dims());
    }
    fused_or_reference!(x, cos, sin, positions)
}

/// Reference implementation from plain tensor operations.
pub fn reference(
    x: &Tensor,
    cos: &Tensor,
    sin: &Tensor,
    positions: Positions<'_>,
) -> Result<Tensor> {
    let (b, t, _h, d) = x.dims4()?;
    let indices = all_positions(b, t, positions);
    let indices = Tensor::from_iter(indices.map(|p| p as u32), x.device())?; // (B T)
    let rows =
        |table: &Tensor| table.contiguous()?.index_select(&indices, 0)?.reshape((b, t, 1, d / 2));
    let (cos, sin) = (rows(cos)?, rows(sin)?);
    let (a, b) = (x.narrow(D::Minus1, 0, d / 2)?, x.narrow(D::Minus1, d / 2, d / 2)?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    Tensor::cat(&[first, second], D::Minus1)
}

fn all_positions(b: usize, t: usize, positions: Positions<'_>) -> impl Iterator<Item = usize> {
    (0..b * t).map(move |row| positions.position(row / t, row % t, t))
}

fn fused<T: Float>(
    x: &Tensor,
    cos: &Tensor,
    sin: &Tensor,
    positions: Positions<'_>,
) -> Result<Tensor> {
    let (b, t, _h, d) = x.dims4()?;
    let (x, cos, sin) = (x.contiguous()?, cos.contiguous()?.detach(), sin.contiguous()?.detach());
    let positions: Vec<usize> = all_positions(b, t, positions).collect();
    let y = rotate::<T>(&values(&x)?, &values(&cos)?, &values(&sin)?, &positions, d, T::ONE);
    record("rope", [&x], y, x.shape(), move |grad, _| {
        let (cos, sin) = (values(&cos)?, values(&sin)?);
        let grad_x = rotate::<T>(&values(grad)?, &cos, &sin, &positions, d, -T::ONE);
        Ok([Some(tensor_like(grad_x, grad)?)])
    })
}

/// Rotates token i of `x: (B T, H, D)` by the angles of `positions[i]`, forward (`direction` 1) or
/// backward (−1).
fn rotate<T: Float>(
    x: &[T],
    cos: &[T],
    sin: &[T],
    positions: &[usize],
    d: usize,
    direction: T,
) -> Vec<T> {
    let (width, half) = (x.len() / positions.len(), d / 2); // elements per token, of half a head
    map_rows!(width, [x], |token, y| {
        let first = positions[token] * half;
        let (cos, sin) = (&cos[first..][..half], &sin[first..][..half]);
        y.fill_rows(d, |head, y| {
            let (a, b) = x[head * d..][..d].split_at(half);
            y.fill_halves([a, b, cos, sin], |[a, b, cos, sin]| {
                let sin = direction * sin;
                [a * cos - b * sin, b * cos + a * sin]
            })
        })
    })
}
