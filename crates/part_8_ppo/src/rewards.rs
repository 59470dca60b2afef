//! 8.3 The reward of every token: what the KL costs, and at the last token the score of the whole response.
//!
//! ```text
//! r_t = −β · kl_t  +  score if t is the response's last token
//! ```
//!
//! The last token is the last of the response, its end included, found by the response's length: the first token of padding is
//! past it.

use candle_core::{D, DType, Result, Tensor};

/// The reward of every token, (R, T): `scores: (R)` at the last token of each row of `mask: (R, T)`, less `price` times `kl: (R, T)`.
/// A row without tokens gets nothing.
///
/// # Errors
/// When the shapes do not fit.
pub fn token_rewards(scores: &Tensor, kl: &Tensor, price: f64, mask: &Tensor) -> Result<Tensor> {
    let last = last_tokens(mask)?.to_dtype(kl.dtype())?; // (R, T)
    let scores = last.broadcast_mul(&scores.unsqueeze(1)?)?;
    crate::masked::masked(&(scores - (kl * price)?)?, mask)
}

/// 1 at the last token of each row of `mask: (R, T)`, whose rows are filled from the left, else 0.
fn last_tokens(mask: &Tensor) -> Result<Tensor> {
    let (_r, t) = mask.dims2()?;
    let lengths = mask.ne(0.)?.to_dtype(DType::I64)?.sum_keepdim(D::Minus1)?; // (R, 1)
    let places = Tensor::arange(1i64, t as i64 + 1, mask.device())?.unsqueeze(0)?; // (1, T)
    places.broadcast_eq(&lengths)
}

/// A score kept between −`most` and `most`, if there is a bound.
pub fn clipped_score(score: f64, most: Option<f64>) -> f64 {
    most.map_or(score, |most| score.clamp(-most, most))
}
