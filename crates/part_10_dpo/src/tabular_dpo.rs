//! 10.1 DPO in part 8's tabular MDP: with 125 completions, its loss on *all* pairs is a sum, and so
//! is its gradient.
//!
//! ```text
//! L(π) = −Σ_{y, y'} w(y, y') p(y ≻ y') log σ(h(y) − h(y'))     p from the true reward r
//! h(y) = β (log π(y) − log π_ref(y))                            w: how often a pair is drawn
//! ```
//!
//! A sum of cross-entropies is least where each prediction σ(h(y) − h(y')) is the true probability
//! σ(r(y) − r(y')): where h and r differ by a constant, whatever the weights w > 0. That policy is
//! π_ref exp(r/β)/Z, the one that PPO with a KL penalty tries to reach.

use candle_core::{Result, Tensor};
use ppo::policy_gradient::gradient;
use ppo::tabular_mdp::log_probs;
use reward::losses::softplus;

use crate::implicit_reward::{implicit_reward, pairwise_differences};

/// Log-probabilities of all completions under `policy: (N_STATES, VOCAB_SIZE)`: (Y).
///
/// # Errors
/// When memory is short.
pub fn completion_log_probs(policy: &Tensor) -> Result<Tensor> {
    log_probs(policy)?.sum(1) // (Y, T) -> (Y)
}

/// DPO's loss over all pairs, each drawn equally often and labeled by Bradley-Terry with the true
/// `rewards: (Y)`, as an exact expectation: ().
///
/// # Errors
/// When memory is short.
pub fn exact_loss(
    policy: &Tensor,
    ref_log_probs: &Tensor,
    rewards: &Tensor,
    beta: f64,
) -> Result<Tensor> {
    // ANCHOR: exact_loss
    let h = implicit_reward(&completion_log_probs(policy)?, ref_log_probs, beta)?; // (Y)
    let margins = pairwise_differences(&h)?; // (Y, Y)
    // p(y ≻ y') = σ(r − r') = exp(−softplus(r' − r))
    let preferred = all_softplus(&pairwise_differences(rewards)?.neg()?)?.neg()?.exp()?; // (Y, Y)
    (preferred * all_softplus(&margins.neg()?)?)?.mean_all()
    // ANCHOR_END: exact_loss
}

/// Policy after `steps` steps of gradient descent on [`exact_loss`] from `policy`.
///
/// # Errors
/// When memory is short.
pub fn minimize_exact_loss(
    policy: &Tensor,
    ref_log_probs: &Tensor,
    rewards: &Tensor,
    beta: f64,
    (steps, lr): (usize, f64),
) -> Result<Tensor> {
    let mut policy = policy.clone();
    for _ in 0..steps {
        let gradient =
            gradient(&policy, |policy| exact_loss(policy, ref_log_probs, rewards, beta))?;
        policy = (policy - (gradient * lr)?)?.detach();
    }
    Ok(policy)
}

/// Softplus of the elements of a matrix: (Y, Y) -> (Y, Y).
fn all_softplus(x: &Tensor) -> Result<Tensor> {
    softplus(&x.flatten_all()?)?.reshape(x.shape())
}
