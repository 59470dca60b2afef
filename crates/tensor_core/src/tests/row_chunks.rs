//! Functions of chunks of rows: values and gradients are those without chunks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Module, Result, Tensor, Var};

use crate::testing::{assert_close, assert_grad};
use crate::{
    Bias, Dropout, Init, Linear, LoraScaling, Parameters, Rng, backward, map_row_chunks, ops,
    sum_row_chunks,
};

const CPU: Device = Device::Cpu;
const N: usize = 7;
const V: usize = 11;

/// Head of a vocabulary of 11, the embedding that it may be tied to, hidden states and targets, one
/// of which is ignored.
struct Model {
    parameters: Parameters,
    head: Linear,
    hidden: Var,
    targets: Tensor,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Head {
    Trainable,
    Frozen,
    Adapter,
}

impl Model {
    fn new(kind: Head, dropout: f64) -> Result<Self> {
        let mut parameters = Parameters::seeded(3, DType::F64, &CPU);
        let mut rng = Rng::new(4);
        let init = Init::Normal { std: 1. };
        let build = |parameters: &mut Parameters| {
            Linear::new(parameters.root().at("head"), 3, V, Bias::No, init)
        };
        let mut head = build(&mut parameters)?;
        if kind == Head::Adapter {
            let lora_a = rng.normal_tensor((2, 3), 1., DType::F64, &CPU)?;
            let lora_b = rng.normal_tensor((V, 2), 1., DType::F64, &CPU)?;
            let scaling = LoraScaling { scale: 0.7, dropout };
            parameters.freeze(|_| true);
            parameters.add_adapter("head", &lora_a, &lora_b, scaling)?;
            head = build(&mut parameters)?;
        }
        if kind == Head::Frozen {
            parameters.freeze(|_| true);
            head = build(&mut parameters)?;
        }
        let hidden = Var::from_tensor(&rng.normal_tensor((N, 3), 1., DType::F64, &CPU)?)?;
        let targets = Tensor::new(&[3i64, 0, -100, 10, 3, 5, 1], &CPU)?;
        Ok(Self { parameters, head, hidden, targets })
    }

    /// Gradients of `loss` of the hidden states and of the trained parameters.
    fn gradients(&self, loss: &Tensor) -> Result<Vec<Tensor>> {
        let grads = backward(loss)?;
        let trained = self.parameters.trainable().map(|parameter| parameter.var.as_tensor());
        let variables = trained.chain([self.hidden.as_tensor()]);
        Ok(variables.map(|x| grads.get(x).expect("a gradient").clone()).collect())
    }
}

/// The sum of a function of log-probabilities and entropies, with another weight for each row.
fn of_rows(results: &[Tensor]) -> Result<Tensor> {
    let weights = Tensor::from_iter((1..=N).map(|i| (i as f64).sin()), &CPU)?;
    let log_probs = (results[0].exp()? * &weights)?.sum_all()?;
    log_probs + (results[1].sqr()? * weights.sqr()?)?.sum_all()?
}

#[test]
fn log_probs_and_entropies_of_chunks_have_the_gradients_of_the_whole() -> Result<()> {
    for kind in [Head::Trainable, Head::Frozen, Head::Adapter] {
        let model = Model::new(kind, 0.)?;
        let f = |logits: &Tensor, targets: &Tensor| -> Result<Vec<Tensor>> {
            Ok(vec![ops::token_log_probs(logits, targets)?, ops::entropy(logits)?])
        };
        let whole = f(&model.head.forward(&model.hidden)?, &model.targets)?;
        let expected = model.gradients(&of_rows(&whole)?)?;
        for chunk_len in [1, 2, 3, 6, 7, 100] {
            let (head, targets) = (model.head.clone(), model.targets.clone());
            let chunked =
                map_row_chunks(&model.hidden, chunk_len, &Dropout::disabled(), move |rows, x| {
                    f(&head.forward(x)?, &targets.narrow(0, rows.start, rows.len())?)
                })?;
            for (whole, chunked) in whole.iter().zip(&chunked) {
                assert_close(chunked, whole, 1e-12);
            }
            for (a, b) in model.gradients(&of_rows(&chunked)?)?.iter().zip(&expected) {
                assert_close(a, b, 1e-12);
            }
        }
    }
    Ok(())
}

#[test]
fn the_cross_entropy_of_chunks_has_the_gradients_of_the_whole_times_any_factor() -> Result<()> {
    for kind in [Head::Trainable, Head::Frozen, Head::Adapter] {
        let model = Model::new(kind, 0.)?;
        for scale in [1., 0.3] {
            let whole = ops::cross_entropy(&model.head.forward(&model.hidden)?, &model.targets)?;
            let expected = model.gradients(&(&whole * scale)?)?;
            for chunk_len in [1, 2, 5, 7] {
                let chunked = sum_row_chunks(&model.hidden, chunk_len, |rows, x| {
                    let targets = model.targets.narrow(0, rows.start, rows.len())?;
                    let n_targets = rows.len() - usize::from(rows.contains(&2));
                    let loss = ops::cross_entropy(&model.head.forward(x)?, &targets)?;
                    loss * (n_targets as f64 / 6.)
                })?;
                assert_close(&chunked, &whole, 1e-12);
                for (a, b) in model.gradients(&(chunked * scale)?)?.iter().zip(&expected) {
                    assert_close(a, b, 1e-12);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn chunks_backpropagate_as_finite_differences_say_also_into_what_the_rows_come_from() -> Result<()>
{
    let model = Model::new(Head::Trainable, 0.)?;
    let x = Rng::new(8).normal_tensor((N, 3), 1., DType::F64, &CPU)?;
    let f = |x: &Tensor| {
        let rows = ops::softmax(&x.sqr()?)?; // recorded by this crate and by candle
        let head = model.head.clone();
        let squares = map_row_chunks(&rows, 2, &Dropout::disabled(), move |_, x| {
            Ok(vec![head.forward(x)?.sqr()?.sum(1)?])
        })?;
        let sum = sum_row_chunks(&rows, 3, |_, x| model.head.forward(x)?.sqr()?.sum_all())?;
        &squares[0] + sum.broadcast_as(N)?
    };
    assert_grad(&x, f, 1e-7)
}

/// A weight that is the head's and the embedding's gets both gradients.
#[test]
fn a_tied_weight_gets_the_gradients_of_both_ends() -> Result<()> {
    let mut rng = Rng::new(5);
    let weight = rng.normal_tensor((V, 3), 1., DType::F64, &CPU)?;
    let (ids, targets) =
        (Tensor::new(&[1u32, 4, 4, 9, 0], &CPU)?, Tensor::new(&[4i64, 4, 9, 0, 2], &CPU)?);
    let whole = |w: &Tensor| {
        ops::cross_entropy(&ops::linear(&ops::embedding(w, &ids)?, w, None)?, &targets)
    };
    let chunked = |w: &Tensor| {
        sum_row_chunks(&ops::embedding(w, &ids)?, 2, |rows, x| {
            let targets = targets.narrow(0, rows.start, rows.len())?;
            ops::cross_entropy(&ops::linear(x, w, None)?, &targets)? * (rows.len() as f64 / 5.)
        })
    };
    let gradient = |f: &dyn Fn(&Tensor) -> Result<Tensor>| -> Result<Tensor> {
        let weight = Var::from_tensor(&weight)?;
        Ok(backward(&f(weight.as_tensor())?)?.get(&weight).expect("a gradient").clone())
    };
    assert_close(&gradient(&chunked)?, &gradient(&whole)?, 1e-12);
    Ok(())
}

#[test]
fn recomputed_chunks_have_the_masks_of_the_adapters_dropout() -> Result<()> {
    let gradients = |chunk_len: usize| -> Result<_> {
        let mut model = Model::new(Head::Adapter, 0.5)?;
        let dropout = model.parameters.root().dropout(0.);
        let (head, masks) = (model.head.clone(), Arc::new(AtomicUsize::new(0)));
        let calls = masks.clone();
        // The head runs row by row, so the masks do not depend on the chunks.
        let results = map_row_chunks(&model.hidden, chunk_len, &dropout, move |rows, x| {
            let logits = (0..rows.len()).map(|i| {
                calls.fetch_add(1, Ordering::Relaxed);
                head.forward(&x.narrow(0, i, 1)?)
            });
            let logits = Tensor::cat(&logits.collect::<Result<Vec<_>>>()?, 0)?;
            Ok(vec![logits.sqr()?.sum(1)?])
        })?;
        let gradients = model.gradients(&results[0].sum_all()?)?;
        Ok((results[0].clone(), gradients, masks.load(Ordering::Relaxed)))
    };
    let (whole, expected, n_calls) = gradients(N)?;
    assert_eq!(n_calls, 2 * N, "once forward and once backward");
    let (chunked, actual, _) = gradients(3)?;
    assert_close(&chunked, &whole, 0.);
    for (a, b) in actual.iter().zip(&expected) {
        assert_close(a, b, 1e-12);
    }
    let model = Model::new(Head::Adapter, 0.5)?;
    let plain = model.head.forward(&model.hidden)?.sqr()?.sum(1)?;
    assert_ne!(plain.to_vec1::<f64>()?, whole.to_vec1::<f64>()?, "a mask for all rows at once");
    Ok(())
}

#[test]
fn without_a_gradient_chunks_are_computed_once() -> Result<()> {
    let x = Rng::new(8).normal_tensor((N, 3), 1., DType::F32, &CPU)?;
    let sum = sum_row_chunks(&x, 2, |_, x| x.sum_all())?;
    let rows = map_row_chunks(&x, 2, &Dropout::disabled(), |_, x| Ok(vec![x.sum(1)?]))?;
    assert!(!sum.track_op() && !rows[0].track_op());
    assert_close(&sum, &x.sum_all()?, 1e-6);
    assert_close(&rows[0], &x.sum(1)?, 1e-6);
    Ok(())
}
