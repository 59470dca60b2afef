//! 7.3 Losses: agreement with PyTorch, numerical stability, the original course's worked example.

use anyhow::Result;
use candle_core::{DType, Tensor, Var};
use serde_json::Value;
use tensor_core::testing::{assert_close, assert_grad, devices};
use tensor_core::{backward, json_file};

use super::{CPU, golden};
use crate::losses::{bradley_terry, centering_penalty, margin_ranking, softplus};

#[test]
fn losses_and_gradients_agree_with_pytorch_up_to_rewards_of_10_000() -> Result<()> {
    let golden_file = json_file::read(&golden("golden.json"))?["on_scores"].clone();
    let numbers = |value: &Value| -> Result<Tensor> {
        Ok(Tensor::new(serde_json::from_value::<Vec<f32>>(value.clone())?, &CPU)?)
    };
    for key in ["bradley_terry", "margin_ranking"] {
        let chosen = Var::new(&[2.25f32, 3., 0., 1e4, -1e4], &CPU)?;
        let rejected = Var::new(&[1f32, 1.5, 0., -1e4, 1e4], &CPU)?;
        let loss = match key {
            "bradley_terry" => bradley_terry(&chosen, &rejected)?,
            _ => margin_ranking(&chosen, &rejected, 1.)?,
        };
        let reference = &golden_file[key];
        let expected = reference["loss"].as_f64().expect("a number") as f32;
        assert_close(&loss, &Tensor::new(expected, &CPU)?, 1e-6);
        let grads = backward(&loss)?;
        for (var, name) in [(&chosen, "chosen"), (&rejected, "rejected")] {
            let grad = grads.get(var.as_tensor()).expect("a gradient");
            assert_close(grad, &numbers(&reference[name])?, 1e-6);
        }
    }
    Ok(())
}

#[test]
fn losses_of_two_pairs_match_the_worked_example() -> Result<()> {
    let pair = |a: f64, b: f64| Tensor::new(&[a, b], &CPU);
    let (chosen, rejected) = (pair(2., 3.)?, pair(1., 1.5)?);
    let assert_loss = |loss: Tensor, expected: f64| assert_close(loss, expected, 1e-5);
    assert_loss(bradley_terry(&chosen, &rejected)?, 0.257337);
    assert_loss(bradley_terry(&pair(3., 4.)?, &rejected)?, 0.102909);
    assert_loss(margin_ranking(&chosen, &rejected, 1.)?, 0.);
    assert_loss(margin_ranking(&rejected, &chosen, 1.)?, 2.25);
    assert_loss(bradley_terry(&chosen, &chosen)?, 2f64.ln());
    assert_loss(centering_penalty(&chosen, &rejected)?, (9. + 4.5 * 4.5) / 2.);
    Ok(())
}

#[test]
fn gradients_match_finite_differences_on_each_device_also_at_a_tie() -> Result<()> {
    for device in devices()? {
        let x = Tensor::new(&[0f64, 1e-3, -2., 3.5, -40., 40.], &device)?;
        assert_grad(&x, softplus, 1e-6)?;
        let extreme = softplus(&Tensor::new(&[-1e4f32, 1e4, -1e30], &device)?)?;
        assert_close(&extreme, &Tensor::new(&[0f32, 1e4, 0.], &device)?, 0.);
        let x = Tensor::new(&[0.3f64, -2.], &device)?;
        let other = Tensor::new(&[0.1f64, 4.], &device)?;
        assert_grad(&x, |x| bradley_terry(x, &other), 1e-6)?;
        assert_grad(&x, |x| bradley_terry(&other, x), 1e-6)?;
        assert_grad(&x, |x| centering_penalty(x, &other), 1e-6)?;
    }
    assert_eq!(softplus(&Tensor::zeros(3, DType::F32, &CPU)?)?.dims(), [3]);
    Ok(())
}
