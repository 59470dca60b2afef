//! Demo of part 9 with the learner's functions: policy gradients in the world of 125 completions,
//! once with each of five baselines, and pass@k before and after.

use candle_core::{Device, Result, Tensor, Var};
use ppo::tabular_mdp::{
    N_COMPLETIONS, completion_tokens, expectation_over_completions, log_probs, random_policy,
    sample_completions,
};
use tensor_core::{Rng, backward};

/// Learner's five advantages.
pub type Five = fn(&[f64], f64) -> [Vec<f64>; 5];

/// Runs the demo with `five_baselines` and `pass_at_k`.
///
/// # Errors
/// When memory is short.
pub fn run(five_baselines: Five, pass_at_k: fn(usize, usize, usize) -> f64) -> Result<()> {
    let sum = |y: usize| completion_tokens(y).iter().sum::<usize>();
    let rewards = (0..N_COMPLETIONS).map(|y| f64::from(u8::from(sum(y) == 4)));
    let rewards: Vec<f64> = rewards.collect();
    println!(
        "\nThree tokens of five, right if their sum is 4. 60 steps of 4 groups of 8 with each"
    );
    println!("of your baselines, and your pass@k of 100 samples:");
    println!("  baseline        expected reward   pass@1   pass@8");
    let start = random_policy(9)?;
    row("(before)", &start, &rewards, pass_at_k)?;
    let names = ["none", "group mean", "group std", "leave-one-out", "best"];
    for (i, name) in names.into_iter().enumerate() {
        let (mut rng, mut policy) = (Rng::new(9), Var::from_tensor(&start)?);
        for _ in 0..60 {
            let sampled = sample_completions(policy.as_tensor(), 32, &mut rng)?;
            let earned = sampled.to_vec1::<u32>()?.into_iter().map(|y| rewards[y as usize]);
            let earned: Vec<f64> = earned.collect();
            let advantages =
                earned.chunks(8).flat_map(|group| five_baselines(group, 1e-4)[i].clone());
            let advantages = Tensor::from_iter(advantages, &Device::Cpu)?;
            let chosen = log_probs(policy.as_tensor())?.sum(1)?.index_select(&sampled, 0)?;
            let loss = (chosen * advantages)?.mean_all()?.neg()?;
            let grads = backward(&loss)?;
            let Some(gradient) = grads.get(policy.as_tensor()) else {
                candle_core::bail!("no gradient reaches the policy")
            };
            policy = Var::from_tensor(&(policy.as_tensor() - (gradient * 2.)?)?)?;
        }
        row(name, policy.as_tensor(), &rewards, pass_at_k)?;
    }
    Ok(())
}

/// Prints a row of the table.
fn row(
    name: &str,
    policy: &Tensor,
    rewards: &[f64],
    pass_at_k: fn(usize, usize, usize) -> f64,
) -> Result<()> {
    let exact = expectation_over_completions(policy, &Tensor::new(rewards, &Device::Cpu)?)?;
    let sampled = sample_completions(policy, 100, &mut Rng::new(1))?.to_vec1::<u32>()?;
    let right = sampled.iter().filter(|&&y| rewards[y as usize] > 0.).count();
    println!(
        "  {name:<14}  {:15.3}  {:7.3}  {:7.3}",
        exact.to_scalar::<f64>()?,
        pass_at_k(100, right, 1),
        pass_at_k(100, right, 8)
    );
    Ok(())
}
