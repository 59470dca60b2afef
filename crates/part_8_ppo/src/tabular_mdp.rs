//! A world so small that nothing has to be drawn: 5 tokens, responses of 3, all 125 of them at once.
//!
//! What the estimators of this part are estimates of can be counted out here, and so can their gradients: an expectation is a sum over
//! all responses y of π(y) times what is expected.

use candle_core::{Device, Result, Tensor};
use tensor_core::Rng;
use tensor_core::ops::log_softmax;

/// Tokens.
pub const VOCAB_SIZE: usize = 5;
/// Of each response.
pub const COMPLETION_LEN: usize = 3;
/// All responses.
pub const N_COMPLETIONS: usize = VOCAB_SIZE * VOCAB_SIZE * VOCAB_SIZE;
/// All beginnings of responses: none, one token, two tokens.
pub const N_STATES: usize = 1 + VOCAB_SIZE + VOCAB_SIZE * VOCAB_SIZE;

/// The tokens of response `y`.
pub fn completion_tokens(y: usize) -> [usize; COMPLETION_LEN] {
    [y / (VOCAB_SIZE * VOCAB_SIZE), y / VOCAB_SIZE % VOCAB_SIZE, y % VOCAB_SIZE]
}

/// What was said before each of them, as the number of a beginning.
pub fn prefix_states(y: usize) -> [usize; COMPLETION_LEN] {
    let [a, b, _] = completion_tokens(y);
    [0, 1 + a, 1 + VOCAB_SIZE + VOCAB_SIZE * a + b]
}

/// A random policy: the scores of each token after each beginning, (STATES, V), in f64.
///
/// # Errors
/// When memory is short.
pub fn random_policy(seed: u64) -> Result<Tensor> {
    Rng::new(seed).normal_tensor((N_STATES, VOCAB_SIZE), 0.7, candle_core::DType::F64, &Device::Cpu)
}

/// log π of every token of every response under `policy: (STATES, V)`: (ALL, T).
///
/// # Errors
/// When memory is short.
pub fn log_probs(policy: &Tensor) -> Result<Tensor> {
    let at = (0..N_COMPLETIONS).flat_map(|y| {
        prefix_states(y)
            .into_iter()
            .zip(completion_tokens(y))
            .map(|(state, token)| (state * VOCAB_SIZE + token) as u32)
    });
    let at = Tensor::from_iter(at.collect::<Vec<u32>>(), &Device::Cpu)?;
    log_softmax(policy)?
        .flatten_all()?
        .index_select(&at, 0)?
        .reshape((N_COMPLETIONS, COMPLETION_LEN))
}

/// π of every response under `policy`: (ALL).
///
/// # Errors
/// When memory is short.
pub fn completion_probs(policy: &Tensor) -> Result<Tensor> {
    log_probs(policy)?.sum(1)?.exp()
}

/// The mean of `x: (ALL)` under `policy`: ().
///
/// # Errors
/// When memory is short.
pub fn expectation(policy: &Tensor, x: &Tensor) -> Result<Tensor> {
    (completion_probs(policy)? * x)?.sum_all()
}

/// What is still to come after each beginning when responses score `scores: (ALL)`, laid out by response: (ALL, T). No critic
/// could know more.
///
/// # Errors
/// When memory is short.
pub fn true_values(policy: &Tensor, scores: &Tensor) -> Result<Tensor> {
    let probabilities: Vec<f64> = completion_probs(policy)?.to_vec1()?;
    let scores: Vec<f64> = scores.to_vec1()?;
    let (mut total, mut weight) = ([0.; N_STATES], [0.; N_STATES]);
    for y in 0..N_COMPLETIONS {
        for state in prefix_states(y) {
            total[state] += probabilities[y] * scores[y];
            weight[state] += probabilities[y];
        }
    }
    let values =
        (0..N_COMPLETIONS).flat_map(|y| prefix_states(y).map(|state| total[state] / weight[state]));
    Tensor::from_iter(values.collect::<Vec<f64>>(), &Device::Cpu)?
        .reshape((N_COMPLETIONS, COMPLETION_LEN))
}
