//! What does an estimator estimate, and where does its gradient point? Counted out, on 5 tokens and responses of 3:
//!
//! ```sh
//! cargo run --release --example estimator_lab
//! ```
//!
//! Every expectation is a sum over all 125 responses, so what is printed has no noise but what it says it has.

use anyhow::Result;
use candle_core::{DType, Device, Tensor, Var};
use ppo::tabular_mdp::{
    COMPLETION_LEN, N_COMPLETIONS, completion_probs, expectation, log_probs, random_policy,
    true_values,
};
use ppo::{GaeConfig, KlEstimator, gae};
use tensor_core::{Rng, backward};

fn main() -> Result<()> {
    let (at, reference) = (random_policy(1)?, random_policy(2)?);
    let scores = Rng::new(9).normal_tensor(N_COMPLETIONS, 1., DType::F64, &Device::Cpu)?;
    println!("1. Policy gradients: E Σ A ∇log π beside the gradient of the mean score\n");
    print_policy_gradients(&at, &scores)?;
    println!("\n2. The KL from the policy to its reference, of a whole response\n");
    print_kl_estimators(&at, &reference)
}

/// Each way to make advantages, and how its gradient differs from the true one.
fn print_policy_gradients(at: &Tensor, scores: &Tensor) -> Result<()> {
    let truth = gradient(at, |at| expectation(at, scores))?;
    let zero = Tensor::zeros((N_COMPLETIONS, COMPLETION_LEN), DType::F64, &Device::Cpu)?;
    let last = Tensor::cat(&[&zero.narrow(1, 0, COMPLETION_LEN - 1)?, &scores.unsqueeze(1)?], 1)?; // the score, at the last token
    let exact = true_values(at, scores)?;
    let half = (&exact * 0.5)?;
    println!("{:32} {:>4}  {:>18}  {:>18}", "values", "λ", "bias of gradient", "variance of A");
    for (name, values) in [("none", &zero), ("half the truth", &half), ("the truth", &exact)] {
        for lambda in [1., 0.95, 0.] {
            let discount = GaeConfig { gamma: 1., lambda };
            let none = Tensor::zeros(N_COMPLETIONS, DType::F64, &Device::Cpu)?;
            let a = gae(&last, values, &none, &zero.ones_like()?, discount)?.advantages;
            let chances = completion_probs(at)?.unsqueeze(1)?.broadcast_mul(&a)?;
            let found = gradient(at, |at| (log_probs(at)? * &chances)?.sum_all())?;
            let bias = norm(&(found - &truth)?)? / norm(&truth)?;
            let first = a.narrow(1, 0, 1)?.squeeze(1)?;
            println!(
                "{name:32} {lambda:>4}  {:>17.2}%  {:>18.4}",
                100. * bias,
                variance(at, &first)?
            );
        }
    }
    println!(
        "A wrong critic with λ < 1 points elsewhere; a right one costs nothing and calms the first token."
    );
    Ok(())
}

/// Each estimator of the KL: its value, and its gradient in a reward and in a loss.
fn print_kl_estimators(at: &Tensor, reference: &Tensor) -> Result<()> {
    let of = |x: &Tensor| log_probs(x)?.sum(1); // (ALL)
    let (p, q) = (of(at)?, of(reference)?);
    let kl = scalar(&expectation(at, &(&p - &q)?)?)?;
    let truth = gradient(at, |at| expectation(at, &(of(at)? - &q)?))?;
    println!("the truth: {kl:.4} nats, a gradient of size {:.4}\n", norm(&truth)?);
    println!(
        "{:8} {:>8} {:>8} {:>10}   {:>16} {:>14}",
        "", "mean", "bias", "deviation", "gradient, reward", "gradient, loss"
    );
    for (name, estimator) in [
        ("k1", KlEstimator::K1),
        ("|k1|", KlEstimator::AbsK1),
        ("k2", KlEstimator::K2),
        ("k3", KlEstimator::K3),
    ] {
        let each = estimator.estimate(&p, &q)?;
        let mean = scalar(&expectation(at, &each)?)?;
        let chances = completion_probs(at)?; // draws: no gradient goes through them
        let in_reward = gradient(at, |at| ((of(at)? * &each)? * &chances)?.sum_all())?;
        let in_loss = gradient(at, |at| (estimator.estimate(&of(at)?, &q)? * &chances)?.sum_all())?;
        let off = |x: &Tensor| -> Result<String> {
            let (size, off) = (norm(x)?, norm(&(x - &truth)?)? / norm(&truth)?);
            Ok(if size < 1e-9 { "is 0".into() } else { format!("{:.0}% off", 100. * off) })
        };
        println!(
            "{name:8} {mean:>8.4} {:>8.4} {:>10.4}   {:>16} {:>14}",
            mean - kl,
            variance(at, &each)?.sqrt(),
            off(&in_reward)?,
            off(&in_loss)?
        );
    }
    println!(
        "In a reward k1 is right; in a loss it teaches nothing, k2 is right, and k3 is the other KL."
    );
    Ok(())
}

fn gradient(at: &Tensor, f: impl Fn(&Tensor) -> candle_core::Result<Tensor>) -> Result<Tensor> {
    let var = Var::from_tensor(at)?;
    let grads = backward(&f(var.as_tensor())?)?;
    Ok(grads.get(var.as_tensor()).cloned().unwrap_or(at.zeros_like()?))
}

fn variance(at: &Tensor, x: &Tensor) -> Result<f64> {
    let mean = expectation(at, x)?;
    scalar(&expectation(at, &x.broadcast_sub(&mean)?.sqr()?)?)
}

fn norm(x: &Tensor) -> Result<f64> {
    scalar(&x.sqr()?.sum_all()?.sqrt()?)
}

fn scalar(x: &Tensor) -> Result<f64> {
    Ok(x.to_scalar()?)
}
