//! 8.4 against PyTorch (`scripts/golden_ppo.py`): rewards, advantages, losses and their gradients.

use anyhow::Result;
use candle_core::{DType, Tensor, Var};
use serde_json::Value;
use tensor_core::backward;
use tensor_core::ops::{entropy, token_log_probs};
use tensor_core::testing::assert_close;

use super::{CPU, number};
use crate::gae::{GaeConfig, gae};
use crate::kl::KlEstimator;
use crate::losses::{Clip, LossWeights, clip_fraction, clipped_surrogate, total_loss, value_loss};
use crate::masked::{ShiftMean, masked_mean, masked_whiten};
use crate::rewards::token_rewards;

const TOLERANCE: f64 = 1e-6;

fn golden(key: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("../../tests/golden/objective.json"))
        .expect("the golden file");
    all[key].clone()
}

fn numbers(value: &Value, into: &mut Vec<f64>) {
    match value {
        Value::Array(all) => all.iter().for_each(|value| numbers(value, into)),
        value => into.push(value.as_f64().expect("a number")),
    }
}

fn tensor(key: &str, shape: &[usize]) -> Result<Tensor> {
    let mut all = Vec::new();
    numbers(&golden(key), &mut all);
    Ok(Tensor::from_vec(all, shape, &CPU)?)
}

fn same(found: &Tensor, key: &str) {
    let (found, expected) = (number(found), golden(key).as_f64().expect("a number"));
    assert_close(found, expected, TOLERANCE);
}

#[test]
fn the_objective_and_its_gradients_equal_pytorch() -> Result<()> {
    let (r, t, v) = (4, 6, 7);
    let mut lengths = Vec::new();
    numbers(&golden("lengths"), &mut lengths);
    let mask = lengths.iter().flat_map(|&len| (0..t).map(move |i| f64::from(i < len as usize)));
    let mask = Tensor::from_iter(mask.collect::<Vec<f64>>(), &CPU)?.reshape((r, t))?;
    let of_tokens = |key| tensor(key, &[r, t]);
    let (old, reference) = (of_tokens("old")?, of_tokens("reference")?);
    for (estimator, key) in [
        (KlEstimator::K1, "k1"),
        (KlEstimator::AbsK1, "abs-k1"),
        (KlEstimator::K2, "k2"),
        (KlEstimator::K3, "k3"),
    ] {
        let found = number(&masked_mean(&estimator.estimate(&old, &reference)?, &mask)?);
        let expected = golden("estimates")[key].as_f64().expect("a number");
        assert_close(found, expected, TOLERANCE);
    }
    let kl = KlEstimator::K1.estimate(&old, &reference)?;
    let rewards = token_rewards(&tensor("scores", &[r])?, &kl, 0.05, &mask)?;
    assert_close(&rewards, &of_tokens("rewards")?, TOLERANCE);
    let (old_values, bootstrap) = (of_tokens("old_values")?, tensor("bootstrap", &[r])?);
    let discount = GaeConfig { gamma: 0.97, lambda: 0.9 };
    let found = gae(&rewards, &old_values, &bootstrap, &mask, discount)?;
    assert_close(&found.advantages, &of_tokens("advantages")?, TOLERANCE);
    assert_close(&found.returns, &of_tokens("returns")?, TOLERANCE);
    let advantages = masked_whiten(&found.advantages, &mask, ShiftMean::Yes)?;
    assert_close(&advantages, &of_tokens("whitened")?, TOLERANCE);

    let logits = Var::from_tensor(&tensor("logits", &[r, t, v])?)?;
    let values = Var::from_tensor(&of_tokens("values")?)?;
    let tokens = of_tokens("tokens")?.to_dtype(DType::I64)?;
    let log_probs = token_log_probs(logits.as_tensor(), &tokens)?;
    let clip = Clip::symmetric(0.2);
    let policy = clipped_surrogate(&log_probs, &old, &advantages, clip)?;
    let value = value_loss(values.as_tensor(), &old_values, &found.returns, Some(0.2))?;
    let entropy = entropy(logits.as_tensor())?;
    same(&masked_mean(&policy.detach(), &mask)?, "policy_loss");
    same(&masked_mean(&value.detach(), &mask)?, "value_loss");
    same(&masked_mean(&entropy.detach(), &mask)?, "entropy");
    let outside = clip_fraction(&log_probs.detach(), &old, &mask, clip)?;
    assert_close(outside, golden("clip_fraction").as_f64().expect("one"), TOLERANCE);
    let weights = LossWeights { value_coef: 0.5, entropy_coef: 0.01 };
    let loss = total_loss(&policy, &value, &entropy, &mask, weights)?;
    same(&loss.detach(), "loss");
    let grads = backward(&loss)?;
    let grad = |var: &Var| grads.get(var.as_tensor()).expect("one").clone();
    assert_close(grad(&logits), &tensor("logits_grad", &[r, t, v])?, TOLERANCE);
    assert_close(grad(&values), &of_tokens("values_grad")?, TOLERANCE);
    Ok(())
}
