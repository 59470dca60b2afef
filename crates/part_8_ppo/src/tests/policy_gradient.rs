//! 8.1: both sides of the policy-gradient theorem, by enumeration.

use anyhow::Result;
use candle_core::{DType, Tensor};
use tensor_core::Rng;
use tensor_core::testing::{assert_close, assert_grad};

use super::{CPU, number};
use crate::policy_gradient::{
    expected_reward_gradient, gradient, log_prob_gradients, policy_gradient,
};
use crate::tabular_mdp::{
    COMPLETION_LEN, N_COMPLETIONS, exact_token_values, expectation_over_completions, log_probs,
    random_policy,
};

fn rewards() -> Result<Tensor> {
    Ok(Rng::new(9).normal_tensor(N_COMPLETIONS, 1., DType::F64, &CPU)?)
}

#[test]
fn the_gradient_of_the_expected_reward_is_an_expectation_of_gradients() -> Result<()> {
    let (policy, rewards) = (random_policy(1)?, rewards()?);
    let left = expected_reward_gradient(&policy, &rewards)?;
    assert!(number(&left.sqr()?.sum_all()?.sqrt()?) > 0.1, "there is something to ascend");
    assert_close(&policy_gradient(&policy, &rewards.unsqueeze(1)?)?, &left, 1e-12);
    Ok(assert_grad(&policy, |policy| expectation_over_completions(policy, &rewards), 1e-7)?)
}

#[test]
fn the_formula_for_a_softmax_is_the_gradient_of_each_log_probability() -> Result<()> {
    let policy = random_policy(1)?;
    let formula = log_prob_gradients(&policy)?; // (Y, T, N_STATES, VOCAB_SIZE)
    for y in (0..N_COMPLETIONS).step_by(4) {
        for t in 0..COMPLETION_LEN {
            let by_autograd = gradient(&policy, |policy| log_probs(policy)?.get(y)?.get(t))?;
            assert_close(&formula.get(y)?.get(t)?, &by_autograd, 1e-12);
        }
    }
    Ok(())
}

#[test]
fn a_baseline_may_depend_on_the_prefix_but_not_on_the_token() -> Result<()> {
    let (policy, rewards) = (random_policy(1)?, rewards()?);
    let truth = expected_reward_gradient(&policy, &rewards)?;
    let of_prefix = exact_token_values(&policy, &rewards)?; // (Y, T): V before each token
    let rewards = rewards.unsqueeze(1)?; // (Y, 1)
    let unbiased = policy_gradient(&policy, &rewards.broadcast_sub(&of_prefix)?)?;
    assert_close(&unbiased, &truth, 1e-12);
    // The value after the token is that of the next prefix, of which the token is a part.
    let of_token = Tensor::cat(&[&of_prefix.narrow(1, 1, 2)?, &rewards], 1)?;
    let biased = policy_gradient(&policy, &rewards.broadcast_sub(&of_token)?)?;
    // Nothing is left: in the mean, the reward is the value after the token.
    assert_close(&biased, &truth.zeros_like()?, 1e-12);
    Ok(())
}

#[test]
fn gradients_of_log_probabilities_have_mean_0() -> Result<()> {
    let policy = random_policy(3)?;
    let ones = Tensor::ones((N_COMPLETIONS, COMPLETION_LEN), DType::F64, &CPU)?;
    assert_close(&policy_gradient(&policy, &ones)?, &policy.zeros_like()?, 1e-12);
    Ok(())
}
