//! 8.1 Tabular MDP: 5 tokens and completions of 3 tokens, so that all 125 completions can be
//! enumerated.
//!
//! Expectations and their gradients are exact here, as sums over all completions y of π(y) f(y),
//! which tests the estimators of this part.

use candle_core::{Device, Result, Tensor};
use tensor_core::Rng;
use tensor_core::ops::log_softmax;

/// Number of tokens.
pub const VOCAB_SIZE: usize = 5;
/// Tokens per completion.
pub const COMPLETION_LEN: usize = 3;
/// Number of completions.
pub const N_COMPLETIONS: usize = VOCAB_SIZE * VOCAB_SIZE * VOCAB_SIZE;
/// Number of states: the prefixes of 0, 1 and 2 tokens.
pub const N_STATES: usize = 1 + VOCAB_SIZE + VOCAB_SIZE * VOCAB_SIZE;

/// Tokens of completion `y`.
pub fn completion_tokens(y: usize) -> [usize; COMPLETION_LEN] {
    [y / (VOCAB_SIZE * VOCAB_SIZE), y / VOCAB_SIZE % VOCAB_SIZE, y % VOCAB_SIZE]
}

/// State before each token of completion `y`, as the index of a prefix.
pub fn prefix_states(y: usize) -> [usize; COMPLETION_LEN] {
    let [a, b, _] = completion_tokens(y);
    [0, 1 + a, 1 + VOCAB_SIZE + VOCAB_SIZE * a + b]
}

/// Random policy: logits of each token in each state, (N_STATES, VOCAB_SIZE), in f64.
///
/// # Errors
/// When memory is short.
pub fn random_policy(seed: u64) -> Result<Tensor> {
    Rng::new(seed).normal_tensor((N_STATES, VOCAB_SIZE), 0.7, candle_core::DType::F64, &Device::Cpu)
}

/// Log-probabilities of the tokens of all completions under `policy: (N_STATES, VOCAB_SIZE)`:
/// (N_COMPLETIONS, COMPLETION_LEN).
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

/// Probabilities of all completions under `policy`: (N_COMPLETIONS).
///
/// # Errors
/// When memory is short.
pub fn completion_probs(policy: &Tensor) -> Result<Tensor> {
    log_probs(policy)?.sum(1)?.exp()
}

/// `n` completions sampled from `policy`, as indices: (n).
///
/// # Errors
/// When memory is short.
pub fn sample_completions(policy: &Tensor, n: usize, rng: &mut Rng) -> Result<Tensor> {
    let probs: Vec<f64> = completion_probs(policy)?.to_vec1()?;
    let mut completions = Vec::with_capacity(n);
    for _ in 0..n {
        let mut rest = rng.uniform();
        let sampled = probs.iter().position(|p| {
            rest -= p;
            rest < 0.
        });
        completions.push(sampled.unwrap_or(N_COMPLETIONS - 1) as u32); // rounding left a rest
    }
    Tensor::from_vec(completions, n, &Device::Cpu)
}

/// Expectation of `x: (N_COMPLETIONS)` under `policy`: ().
///
/// # Errors
/// When memory is short.
pub fn expectation_over_completions(policy: &Tensor, x: &Tensor) -> Result<Tensor> {
    (completion_probs(policy)? * x)?.sum_all()
}

/// Variance of `x: (N_COMPLETIONS)` under `policy`: ().
///
/// # Errors
/// When memory is short.
pub fn variance_over_completions(policy: &Tensor, x: &Tensor) -> Result<Tensor> {
    let mean = expectation_over_completions(policy, x)?;
    expectation_over_completions(policy, &x.broadcast_sub(&mean)?.sqr()?)
}

/// True value of the state before each token when completions get `rewards: (N_COMPLETIONS)`:
/// (N_COMPLETIONS, COMPLETION_LEN). A perfect critic gives these.
///
/// # Errors
/// When memory is short.
pub fn exact_token_values(policy: &Tensor, rewards: &Tensor) -> Result<Tensor> {
    let probabilities: Vec<f64> = completion_probs(policy)?.to_vec1()?;
    let rewards: Vec<f64> = rewards.to_vec1()?;
    let (mut total, mut weight) = ([0.; N_STATES], [0.; N_STATES]);
    for y in 0..N_COMPLETIONS {
        for state in prefix_states(y) {
            total[state] += probabilities[y] * rewards[y];
            weight[state] += probabilities[y];
        }
    }
    let values =
        (0..N_COMPLETIONS).flat_map(|y| prefix_states(y).map(|state| total[state] / weight[state]));
    Tensor::from_iter(values.collect::<Vec<f64>>(), &Device::Cpu)?
        .reshape((N_COMPLETIONS, COMPLETION_LEN))
}
