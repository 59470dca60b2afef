//! y = x Wᵀ + b, with W stored as (out, in).

use candle_core::{Result, Tensor, bail};

/// Maps `x: (.., in)` by `weight: (out, in)` and `bias: (out)` to `(.., out)`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (n_out, n_in) = weight.dims2()?;
    let mut shape = x.dims().to_vec();
    match shape.last_mut() {
        Some(last) if *last == n_in => *last = n_out,
        _ => bail!("linear: input {:?} does not fit weight {:?}", x.dims(), weight.dims()),
    }
    // One product over all rows: candle would copy the weight for every batch row otherwise.
    let y = x.reshape(((), n_in))?.matmul(&weight.t()?)?; // (N, in) x (in, out) -> (N, out)
    let y = match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    y.reshape(shape)
}
