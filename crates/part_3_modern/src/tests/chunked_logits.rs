//! Losses of logits that are computed in chunks: those of all logits at once.

use candle_core::{DType, Module, Result, Tensor};
use model_io::testing::variants;
use tensor_core::ops::{cross_entropy, entropy, token_log_probs};
use tensor_core::testing::assert_close;
use tensor_core::{Parameters, backward};

use super::{CPU, ids};
use crate::GptModern;

/// Loss of a model whose logits are computed in chunks of so many positions, or at once.
type Loss = fn(&GptModern, Option<usize>) -> Result<Tensor>;

/// Targets of 2 texts of 9 tokens, the last 7 of which are ignored.
fn targets() -> Result<Tensor> {
    let targets: Vec<u32> = ids(2, 9, 2)?.flatten_all()?.to_vec1()?;
    let targets = targets.into_iter().zip(0..);
    let targets = targets.map(|(id, i)| if i < 11 { i64::from(id) } else { -100 });
    Tensor::from_iter(targets, &CPU)
}

fn cross_entropy_loss(model: &GptModern, chunk_len: Option<usize>) -> Result<Tensor> {
    let hidden = model.hidden_states(&ids(2, 9, 1)?)?;
    match chunk_len {
        Some(chunk_len) => model.cross_entropy_in_chunks(&hidden, &targets()?, chunk_len),
        None => {
            let logits = model.forward(&ids(2, 9, 1)?)?.to_dtype(DType::F32)?;
            cross_entropy(&logits.flatten(0, 1)?, &targets()?)
        }
    }
}

/// Loss of log-probabilities and entropies, as in PPO.
fn policy_loss(model: &GptModern, chunk_len: Option<usize>) -> Result<Tensor> {
    let hidden = model.hidden_states(&ids(2, 9, 1)?)?.flatten(0, 1)?;
    let targets = targets()?;
    let f = move |rows: std::ops::Range<usize>, logits: &Tensor| {
        let targets = targets.narrow(0, rows.start, rows.len())?;
        Ok(vec![token_log_probs(logits, &targets)?, entropy(logits)?])
    };
    let all = match chunk_len {
        Some(chunk_len) => model.map_logits_in_chunks(&hidden, chunk_len, f)?,
        None => f(0..18, &model.logits(&hidden)?.to_dtype(DType::F32)?)?,
    };
    (all[0].exp()? + (&all[1] * 0.1)?)?.mean_all()
}

#[test]
fn losses_of_chunks_have_the_gradients_of_all_logits_in_every_family() -> Result<()> {
    for (name, config) in variants() {
        for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::BF16, 1e-2), (DType::F16, 1e-3)] {
            for loss in [cross_entropy_loss as Loss, policy_loss] {
                let mut parameters = Parameters::seeded(1, DType::F32, &CPU);
                GptModern::new(&config, parameters.root())?;
                let model = GptModern::new(&config, parameters.with_compute_dtype(dtype).root())?;
                let whole = loss(&model, None)?;
                let expected = backward(&whole)?;
                for chunk_len in [4, 18, 100] {
                    let chunked = loss(&model, Some(chunk_len))?;
                    assert_close(&chunked, &whole, tolerance);
                    let grads = backward(&chunked)?;
                    for parameter in parameters.iter() {
                        println!("{name} {dtype:?} {chunk_len} {}", parameter.name);
                        let grad = |grads: &candle_core::backprop::GradStore| {
                            grads.get(parameter.var.as_tensor()).expect("a gradient").clone()
                        };
                        assert_close(grad(&grads), grad(&expected), tolerance);
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_chunk_has_64_megabytes_of_logits_or_256_positions() -> Result<()> {
    for (vocab_size, chunk_len) in [(50_000, 335), (200_000, 256), (256, 65_536)] {
        let config = model_io::ModelConfig { vocab_size, ..model_io::testing::tiny() };
        let mut parameters = Parameters::seeded(1, DType::F32, &CPU);
        assert_eq!(GptModern::new(&config, parameters.root())?.logits_chunk_len(), chunk_len);
    }
    Ok(())
}
