//! The mean loss and gradient of all ranks.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use tensor_core::testing::assert_close;
use tensor_core::{Init, Parameters, WeightDecay, backward};

use crate::{BatchGradients, PartialGradients, RankGradients, Ranks, in_threads};

/// Parameters `used` and `unused` of the loss below.
pub(super) fn parameters() -> Result<Parameters> {
    parameters_on(&Device::Cpu)
}

pub(super) fn parameters_on(device: &Device) -> Result<Parameters> {
    let mut parameters = Parameters::seeded(1, DType::F32, device);
    for name in ["used", "unused"] {
        parameters.root().parameter(name, 3, Init::Normal { std: 1. }, WeightDecay::Yes)?;
    }
    Ok(parameters)
}

/// Mean over the `rows` of (row · used)², and its gradient.
pub(super) fn mean_square(parameters: &Parameters, rows: &[[f32; 3]]) -> Result<RankGradients> {
    let n_targets = rows.len();
    if rows.is_empty() {
        return Ok(RankGradients { loss: f64::NAN, grads: None, n_targets, n_tokens: 0 });
    }
    let used = parameters.trainable().next().unwrap().var.as_tensor();
    let rows = Tensor::new(rows.as_flattened(), used.device())?.reshape(((), 3))?; // (N, 3)
    let loss = rows.broadcast_mul(used)?.sum(1)?.sqr()?.mean(0)?;
    let grads = Some(backward(&loss)?);
    let loss = f64::from(loss.to_scalar::<f32>()?);
    Ok(RankGradients { loss, grads, n_targets, n_tokens: 5000 * n_targets })
}

#[test]
fn the_mean_over_ranks_is_that_of_the_whole_batch() -> Result<()> {
    let rows: Vec<[f32; 3]> = (0..5).map(|i| [0.1 * i as f32, 1., -0.5 * i as f32]).collect();
    let grad = |step: &BatchGradients, parameters: &Parameters, i: usize| {
        let parameter = parameters.trainable().nth(i).unwrap().var.as_tensor();
        step.grads.get(parameter).map(|grad| grad.to_vec1::<f32>().unwrap())
    };
    let alone = parameters()?;
    let whole = mean_square(&alone, &rows)?.average(&Ranks::Alone, &[&alone])?;
    // Shares of unequal size, and with 8 ranks some have nothing to learn from.
    for n_ranks in [2, 3, 8] {
        let steps = in_threads(n_ranks, |ranks| {
            let own = parameters()?;
            let step =
                mean_square(&own, &rows[ranks.rows(rows.len())])?.average(&ranks, &[&own])?;
            let grads = (grad(&step, &own, 0), grad(&step, &own, 1));
            Ok((step.loss, step.n_targets, step.n_tokens, grads))
        });
        for step in steps {
            let (loss, n_targets, n_tokens, (used, unused)) = step?;
            assert_close(loss, whole.loss, 1e-6);
            assert_eq!((n_targets, n_tokens), (5, 25_000));
            assert_close(&used.unwrap()[..], &grad(&whole, &alone, 0).unwrap()[..], 1e-6);
            assert_eq!(unused, None, "as on one rank, a weight without a gradient does not decay");
        }
    }
    Ok(())
}

#[test]
fn the_mean_is_a_sum_in_the_order_of_the_ranks_which_is_divided_once() -> Result<()> {
    for (n_rows, n_ranks) in [(5, 2), (7, 3), (11, 4), (13, 5)] {
        let rows: Vec<[f32; 3]> = (0..n_rows).map(|i| [0.1 * i as f32, 1., 0.7]).collect();
        let shares = in_threads(n_ranks, |ranks| {
            let (parameters, share) = (parameters()?, &rows[ranks.rows(n_rows)]);
            let of_rank = mean_square(&parameters, share)?;
            let used = parameters.trainable().next().unwrap().var.as_tensor();
            let own = of_rank.grads.as_ref().unwrap().get(used).unwrap().to_vec1::<f32>()?;
            let step = of_rank.average(&ranks, &[&parameters])?;
            Ok((share.len() as f32, own, step.grads.get(used).unwrap().to_vec1::<f32>()?))
        });
        let shares: Vec<_> = shares.into_iter().collect::<Result<_>>()?;
        let mut expected = vec![0f32; 3];
        for (n, own, _) in &shares {
            expected.iter_mut().zip(own).for_each(|(sum, grad)| *sum += n * grad);
        }
        expected.iter_mut().for_each(|sum| *sum /= n_rows as f32);
        for (_, _, mean) in shares {
            assert_eq!(mean, expected, "{n_rows} rows on {n_ranks} ranks, bit by bit");
        }
    }
    Ok(())
}

/// By hand: rank 0 has a gradient of the second parameter alone, (1, 2), and rank 1 of the third,
/// (2, 4). The mean over their two targets halves both.
#[test]
fn a_gradient_that_a_rank_does_not_have_leaves_its_place_to_those_of_others() -> Result<()> {
    let results = in_threads(2, |ranks| {
        let mut parameters = Parameters::seeded(1, DType::F32, &Device::Cpu);
        for name in ["first", "second", "third"] {
            parameters.root().parameter(name, 2, Init::Ones, WeightDecay::Yes)?;
        }
        let own = parameters.trainable().nth(1 + ranks.rank()).unwrap().var.as_tensor();
        let weights = (Tensor::new(&[1f32, 2.], &Device::Cpu)? * (1. + ranks.rank() as f64))?;
        let grads = Some(backward(&(own * weights)?.sum_all()?)?);
        let of_rank = RankGradients { loss: 0., grads, n_targets: 1, n_tokens: 1 };
        let BatchGradients { grads, .. } = of_rank.average(&ranks, &[&parameters])?;
        let of_all = parameters.trainable().skip(1).map(|parameter| {
            let grad = grads.get(parameter.var.as_tensor()).expect("a gradient of some rank");
            grad.to_vec1::<f32>()
        });
        Ok(of_all.collect::<candle_core::Result<Vec<_>>>()?)
    });
    for grads in results {
        assert_eq!(grads?, [[0.5, 1.], [1., 2.]]);
    }
    Ok(())
}

#[test]
fn each_parameter_gets_its_own_gradient_in_its_shape_and_type() -> Result<()> {
    for dtype in [DType::F32, DType::BF16] {
        let results = in_threads(2, |ranks| {
            let (init, mut parameters) =
                (Init::Normal { std: 1. }, Parameters::seeded(1, dtype, &Device::Cpu));
            for dims in [&[2usize, 3][..], &[], &[4]] {
                let name = format!("of_{}_dimensions", dims.len());
                parameters.root().parameter(&name, dims, init, WeightDecay::Yes)?;
            }
            let variables: Vec<_> = parameters.trainable().map(|p| p.var.clone()).collect();
            let squares = variables.iter().map(|x| x.sqr()?.sum_all());
            let squares = squares.collect::<candle_core::Result<Vec<_>>>()?;
            let grads = backward(&Tensor::stack(&squares, 0)?.sum_all()?)?;
            let own = variables.iter().map(|x| grads.get(x).unwrap().clone()).collect::<Vec<_>>();
            let of_rank = RankGradients { loss: 0., grads: Some(grads), n_targets: 1, n_tokens: 1 };
            let step = of_rank.average(&ranks, &[&parameters])?;
            for (variable, own) in variables.iter().zip(own) {
                let mean = step.grads.get(variable).unwrap();
                assert_eq!((mean.dims(), mean.dtype()), (variable.dims(), dtype));
                let [mean, own] = [mean, &own].map(|grad| grad.to_dtype(DType::F32));
                assert_close(&mean?, &own?, 0.); // both ranks have the same gradient
            }
            Ok(())
        });
        results.into_iter().collect::<Result<()>>()?;
    }
    Ok(())
}

#[test]
fn parts_of_a_sum_are_added_and_not_divided() -> Result<()> {
    let rows: Vec<[f32; 3]> = (0..5).map(|i| [0.1 * i as f32, 1., -0.5 * i as f32]).collect();
    let part = |parameters: &Parameters, rows: &[[f32; 3]]| -> Result<PartialGradients> {
        let RankGradients { mut loss, mut grads, .. } = mean_square(parameters, rows)?;
        let share = rows.len() as f64 / 5.;
        loss *= share;
        if let Some(grads) = &mut grads {
            let used = parameters.trainable().next().unwrap().var.as_tensor();
            let grad = (grads.remove(used).unwrap() * share)?;
            grads.insert(used, grad);
        }
        Ok(PartialGradients { loss, grads })
    };
    let alone = parameters()?;
    let whole = mean_square(&alone, &rows)?.average(&Ranks::Alone, &[&alone])?;
    let grad = |grads: &GradStore, parameters: &Parameters| {
        let used = parameters.trainable().next().unwrap().var.as_tensor();
        grads.get(used).unwrap().to_vec1::<f32>()
    };
    for n_ranks in [2, 8] {
        let steps = in_threads(n_ranks, |ranks| {
            let own = parameters()?;
            let (loss, grads) = part(&own, &rows[ranks.rows(rows.len())])?.sum(&ranks, &[&own])?;
            Ok((loss, grad(&grads, &own)?))
        });
        for step in steps {
            let (loss, used) = step?;
            assert_close(loss, whole.loss, 1e-6);
            assert_close(&used[..], &grad(&whole.grads, &alone)?[..], 1e-6);
        }
    }
    Ok(())
}

#[test]
fn a_rank_that_is_early_waits_for_the_others() -> Result<()> {
    const DELAY: Duration = Duration::from_millis(500);
    let steps = in_threads(2, |ranks| {
        let own = parameters()?;
        let of_rank = mean_square(&own, &[[1.; 3]])?;
        ranks.any(false)?; // from here on, the second is late
        if !ranks.is_first() {
            thread::sleep(DELAY);
        }
        Ok(of_rank.average(&ranks, &[&own])?.reduction.expect("there are two ranks").wait)
    });
    let waited = steps.into_iter().collect::<Result<Vec<_>>>()?;
    assert!(waited[0] >= DELAY / 2 && waited[0] > waited[1], "{waited:?}");
    let alone = parameters()?;
    let step = mean_square(&alone, &[[1.; 3]])?.average(&Ranks::Alone, &[&alone])?;
    assert!(step.reduction.is_none());
    Ok(())
}

#[test]
fn a_step_without_targets_is_an_error_on_all_ranks() {
    let results = in_threads(2, |ranks| {
        let own = parameters()?;
        mean_square(&own, &[])?.average(&ranks, &[&own]).map(drop)
    });
    for result in results {
        assert!(result.unwrap_err().to_string().contains("no targets"));
    }
}

#[test]
fn a_sum_without_a_part_is_an_error_on_all_ranks() {
    for n_ranks in [1, 2] {
        let results = in_threads(n_ranks, |ranks| {
            let own = parameters()?;
            PartialGradients { loss: 0., grads: None }.sum(&ranks, &[&own]).map(drop)
        });
        for result in results {
            assert!(result.unwrap_err().to_string().contains("no targets"));
        }
    }
}
