//! Demo of part 8 with the learner's functions: PPO in the world of 125 completions.

use candle_core::{Device, Result, Tensor, Var};
use ppo::tabular_mdp::{
    COMPLETION_LEN, N_COMPLETIONS, completion_tokens, expectation_over_completions, log_probs,
    random_policy, sample_completions,
};
use tensor_core::{Rng, backward};

/// Learner's advantages.
pub type Gae = fn(&[f64], &[f64], f64, f64, f64) -> Vec<f64>;
/// Learner's loss of each token.
pub type Loss = fn(&Tensor, &Tensor, &Tensor, f64) -> Result<Tensor>;

/// Runs the demo with `gae_backwards` and `ratios_that_run_away`.
///
/// # Errors
/// Those of the loss.
pub fn run(gae_backwards: Gae, policy_loss: Loss) -> Result<()> {
    let ascending = |y: usize| completion_tokens(y).windows(2).filter(|w| w[0] < w[1]).count();
    let rewards: Vec<f64> = (0..N_COMPLETIONS).map(|y| ascending(y) as f64 / 2.).collect();
    let exact = Tensor::new(rewards.clone(), &Device::Cpu)?;
    let (mut rng, mut values) = (Rng::new(8), [0.; COMPLETION_LEN]);
    let mut policy = Var::from_tensor(&random_policy(8)?)?;
    println!("\nThree tokens of five, paid for ascending ones. PPO with your advantages and loss:");
    for step in 0..=60 {
        if step % 15 == 0 {
            let reward = expectation_over_completions(policy.as_tensor(), &exact)?;
            println!("  step {step:2}  expected reward {:.3}", reward.to_scalar::<f64>()?);
        }
        let sampled = sample_completions(policy.as_tensor(), 64, &mut rng)?;
        let old = log_probs(policy.as_tensor())?.index_select(&sampled, 0)?.detach();
        let mut advantages = Vec::new();
        for y in sampled.to_vec1::<u32>()? {
            let rewards = [0., 0., rewards[y as usize]];
            let a = gae_backwards(&rewards, &values, 0., 1., 0.95);
            for (value, a) in values.iter_mut().zip(&a) {
                *value += 0.02 * a; // towards the return, a + value
            }
            advantages.extend(a);
        }
        let advantages = Tensor::from_vec(advantages, (64, COMPLETION_LEN), &Device::Cpu)?;
        for _ in 0..4 {
            let new = log_probs(policy.as_tensor())?.index_select(&sampled, 0)?;
            let loss = policy_loss(&new, &old, &advantages, 0.2)?.mean_all()?;
            let grads = backward(&loss)?;
            let Some(gradient) = grads.get(policy.as_tensor()) else {
                candle_core::bail!("no gradient reaches the policy")
            };
            policy = Var::from_tensor(&(policy.as_tensor() - (gradient * 20.)?)?)?;
        }
    }
    println!("\nSome of its completions:");
    for y in sample_completions(policy.as_tensor(), 6, &mut rng)?.to_vec1::<u32>()? {
        println!("  {:?}  reward {}", completion_tokens(y as usize), rewards[y as usize]);
    }
    Ok(())
}
