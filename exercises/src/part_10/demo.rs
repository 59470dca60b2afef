//! Demo of part 10 with the learner's functions: one pair, three answers, and both of the pair
//! fall.

use candle_core::{D, Device, Result, Tensor, Var};
use tensor_core::backward;
use tensor_core::ops::log_softmax;

/// Learner's loss.
pub type Loss = fn(&Tensor, &Tensor, &Tensor, &Tensor, f64) -> Result<Tensor>;

/// Runs the demo with `implicit_reward` and `dpo_loss`.
///
/// # Errors
/// Those of the loss.
pub fn run(implicit_reward: fn(&[f64], &[f64], f64) -> Vec<f64>, dpo_loss: Loss) -> Result<()> {
    let features = Tensor::new(&[[1., 0.2], [1., -0.2], [-1., 2.]], &Device::Cpu)?;
    let start = Tensor::new(&[0.7f64, 0.2, 0.1], &Device::Cpu)?.log()?;
    let (beta, mut weights) = (0.5, Var::new(&[0., 0.], &Device::Cpu)?);
    let log_probs = |weights: &Tensor| {
        log_softmax(&(features.broadcast_mul(weights)?.sum(D::Minus1)? + &start)?)
    };
    println!("\nChosen and rejected are alike; a third answer is in no pair. Your DPO:");
    println!("  step    loss   chosen  rejected   third   implicit rewards");
    for step in 0..=30 {
        let now = log_probs(weights.as_tensor())?;
        let of = |log_probs: &Tensor, i: usize| log_probs.narrow(0, i, 1);
        let loss = dpo_loss(&of(&now, 0)?, &of(&now, 1)?, &of(&start, 0)?, &of(&start, 1)?, beta)?;
        if step % 6 == 0 {
            let p: Vec<f64> = now.exp()?.to_vec1()?;
            let rewards = implicit_reward(&now.to_vec1::<f64>()?, &start.to_vec1::<f64>()?, beta);
            let loss = loss.to_scalar::<f64>()?;
            println!(
                "  {step:4}  {loss:.4}  {:7.3}  {:8.3}  {:6.3}   {rewards:.2?}",
                p[0], p[1], p[2]
            );
        }
        let grads = backward(&loss)?;
        let Some(gradient) = grads.get(weights.as_tensor()) else {
            candle_core::bail!("no gradient reaches the policy: is your loss made of tensors?")
        };
        weights = Var::from_tensor(&(weights.as_tensor() - (gradient * 0.5)?)?)?;
    }
    println!("The margin grows as it should; look at the chosen column.");
    Ok(())
}
