//! Divergences of a student from its teacher: TRL's, and the sampled estimate.

use anyhow::{Context, Result};
use candle_core::{D, DType, Tensor, Var};
use tensor_core::ops::softmax;
use tensor_core::testing::assert_close;
use tensor_core::{Rng, backward};

use super::{CPU, golden};
use crate::distillation::Divergence;

/// Sum of the divergence over the tokens, and its gradient with respect to the student's logits.
fn sum_and_gradient(
    divergence: Divergence,
    student: &Tensor,
    teacher: &Tensor,
    tokens: &Tensor,
) -> Result<(f64, Tensor)> {
    let student = Var::from_tensor(student)?;
    let sum = divergence.per_token(student.as_tensor(), teacher, tokens)?.sum_all()?;
    let gradient = backward(&sum)?.get(student.as_tensor()).context("a gradient")?.clone();
    Ok((sum.to_scalar()?, gradient))
}

#[test]
fn the_divergence_over_the_vocabulary_and_its_gradient_are_trls() -> Result<()> {
    let golden = golden("distillation.json")?;
    let rows = |value: &serde_json::Value| -> Result<Tensor> {
        let rows: Vec<Vec<f64>> = serde_json::from_value(value.clone())?;
        Ok(Tensor::new(rows, &CPU)?)
    };
    let (student, teacher) = (rows(&golden["student"])?, rows(&golden["teacher"])?);
    let tokens = Tensor::zeros(3, DType::I64, &CPU)?;
    for case in golden["cases"].as_array().context("cases")? {
        let divergence = Divergence::Jsd { beta: case["beta"].as_f64().context("beta")? };
        let (sum, gradient) = sum_and_gradient(divergence, &student, &teacher, &tokens)?;
        assert_close(sum, case["loss"].as_f64().context("a loss")?, 1e-9);
        assert_close(gradient, rows(&case["gradient"])?, 1e-9);
    }
    Ok(())
}

#[test]
fn on_average_the_sampled_divergence_and_its_gradient_are_the_reverse_kls() -> Result<()> {
    const V: usize = 6;
    let mut rng = Rng::new(3);
    let student = rng.normal_tensor((1, V), 1.5, DType::F64, &CPU)?;
    let teacher = rng.normal_tensor((1, V), 1.5, DType::F64, &CPU)?;
    let exact = Divergence::Jsd { beta: 1. };
    let token = |v: usize| Tensor::new(&[v as i64], &CPU);
    let (kl, kl_gradient) = sum_and_gradient(exact, &student, &teacher, &token(0)?)?;
    let probs = softmax(&student)?.flatten_all()?.to_vec1::<f64>()?;
    let (mut mean, mut mean_gradient) = (0., student.zeros_like()?);
    for (v, prob) in probs.into_iter().enumerate() {
        let (sum, gradient) =
            sum_and_gradient(Divergence::Sampled, &student, &teacher, &token(v)?)?;
        mean += prob * sum;
        mean_gradient = (mean_gradient + (gradient * prob)?)?;
    }
    assert_close(mean, kl, 1e-12);
    assert_close(mean_gradient, &kl_gradient, 1e-12);
    assert!(kl_gradient.abs()?.sum(D::Minus1)?.to_vec1::<f64>()?[0] > 0.1);
    Ok(())
}
