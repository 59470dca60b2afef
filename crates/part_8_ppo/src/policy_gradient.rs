//! 8.1 Policy gradient: the gradient of the expected reward, written as an expectation, so that
//! samples can estimate it (Williams 1992, <https://doi.org/10.1007/BF00992696>; Sutton et al.
//! 2000, <https://papers.nips.cc/paper/1999/hash/464d828b85b0bed98e80ade0a5c43b0f-Abstract.html>).
//!
//! ```text
//! ∇E[r] = Σ_y r(y) ∇π(y)                       the reward does not depend on the parameters
//!       = Σ_y π(y) r(y) ∇log π(y)              because ∇π = π ∇log π
//!       = E[ r(y) Σ_t ∇log π(y_t | y_<t) ]     because log π(y) = Σ_t log π(y_t | y_<t)
//! ```
//!
//! The reward is only evaluated, so it may be a rule, a program or a person. Sampling a token has
//! no derivative; its log-probability has one.
//!
//! In the [tabular MDP](crate::tabular_mdp) both sides are exact: the left one by differentiating
//! the expectation, the right one as a sum over all completions. For the logits of a softmax,
//! ∇log π, which statistics calls the score, is one line:
//! `∂ log π(a) / ∂ logit_v = [v = a] − π(v)`.

use candle_core::{DType, Device, Result, Tensor, Var};
use tensor_core::backward;
use tensor_core::ops::softmax;

use crate::tabular_mdp::{
    COMPLETION_LEN, N_COMPLETIONS, N_STATES, VOCAB_SIZE, completion_probs, completion_tokens,
    expectation_over_completions, prefix_states,
};

/// Gradient of the scalar `f` at `x`, of the shape of `x`; 0 if `f` does not depend on it.
///
/// # Errors
/// When `f` fails or has no derivative.
pub fn gradient(x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    Ok(value_and_gradient(x, f)?.1)
}

/// Value of the scalar `f` at `x`, and its gradient, of the shape of `x`; 0 if `f` does not depend
/// on it.
///
/// # Errors
/// When `f` fails or has no derivative.
pub fn value_and_gradient(
    x: &Tensor,
    f: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<(f64, Tensor)> {
    let x = Var::from_tensor(x)?;
    let value = f(x.as_tensor())?;
    let gradients = backward(&value)?;
    let gradient = gradients.get(x.as_tensor()).map_or_else(|| x.zeros_like(), |g| Ok(g.clone()));
    Ok((value.to_dtype(DType::F64)?.to_scalar()?, gradient?))
}

/// Gradient of the expected reward, the left side of the theorem, by differentiating the sum
/// Σ_y π(y) r(y): (N_STATES, VOCAB_SIZE), as `policy`. Completions get `rewards: (Y)`.
///
/// # Errors
/// When memory is short.
pub fn expected_reward_gradient(policy: &Tensor, rewards: &Tensor) -> Result<Tensor> {
    gradient(policy, |policy| expectation_over_completions(policy, rewards))
}

// ANCHOR: theorem
/// Policy gradient, the right side of the theorem: E[Σ_t A_t ∇log π(y_t | y_<t)], as a sum over all
/// completions: (N_STATES, VOCAB_SIZE). `advantages` are the rewards, less a baseline if there is
/// one: (Y, T), or (Y, 1) if all tokens of a completion share one.
///
/// # Errors
/// When memory is short.
pub fn policy_gradient(policy: &Tensor, advantages: &Tensor) -> Result<Tensor> {
    let weights = advantages.broadcast_mul(&completion_probs(policy)?.unsqueeze(1)?)?;
    let weights = weights.unsqueeze(2)?.unsqueeze(3)?; // (Y, T, 1, 1) or (Y, 1, 1, 1)
    log_prob_gradients(policy)?.broadcast_mul(&weights)?.sum((0, 1))
}
// ANCHOR_END: theorem

/// Gradients ∇log π(y_t | y_<t) of the tokens of all completions, by the formula for a softmax:
/// (Y, T, N_STATES, VOCAB_SIZE). Only the row of the state before the token is not 0.
///
/// # Errors
/// When memory is short.
pub fn log_prob_gradients(policy: &Tensor) -> Result<Tensor> {
    let probs = softmax(policy)?.to_vec2::<f64>()?; // (N_STATES, VOCAB_SIZE)
    let mut gradients = vec![0.; N_COMPLETIONS * COMPLETION_LEN * N_STATES * VOCAB_SIZE];
    let tokens =
        (0..N_COMPLETIONS).flat_map(|y| prefix_states(y).into_iter().zip(completion_tokens(y)));
    for (gradient, (state, token)) in gradients.chunks_exact_mut(N_STATES * VOCAB_SIZE).zip(tokens)
    {
        let row = &mut gradient[state * VOCAB_SIZE..][..VOCAB_SIZE];
        for (v, element) in row.iter_mut().enumerate() {
            *element = f64::from(u8::from(v == token)) - probs[state][v];
        }
    }
    let shape = (N_COMPLETIONS, COMPLETION_LEN, N_STATES, VOCAB_SIZE);
    Tensor::from_vec(gradients, shape, &Device::Cpu)
}

/// Relative error of the gradient `estimate`: |estimate − truth| / |truth|.
///
/// # Errors
/// When the shapes differ.
pub fn relative_error(estimate: &Tensor, truth: &Tensor) -> Result<f64> {
    let error = (estimate - truth)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
    Ok((error / truth.sqr()?.sum_all()?.to_scalar::<f64>()?).sqrt())
}
