//! Ranks as threads: sums, broadcasts, shares, and the mean gradient.

use anyhow::{Result, bail};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use tensor_core::testing::assert_close;
use tensor_core::{Init, Parameters, WeightDecay, backward};

use crate::process::threads_flag;
use crate::{BatchGradients, PartialGradients, RankGradients, Ranks, in_threads};

#[test]
fn shares_cover_the_rows_once_and_differ_by_one_at_most() {
    for (n_rows, n_ranks) in [(16, 1), (16, 4), (7, 3), (2, 4), (0, 2)] {
        let shares = in_threads(n_ranks, |ranks| Ok(ranks.rows(n_rows)));
        let shares: Vec<_> = shares.into_iter().map(Result::unwrap).collect();
        let rows: Vec<usize> = shares.iter().cloned().flatten().collect();
        assert_eq!(rows, (0..n_rows).collect::<Vec<_>>());
        let lengths: Vec<usize> = shares.iter().map(ExactSizeIterator::len).collect();
        let spread = lengths.iter().max().unwrap() - lengths.iter().min().unwrap();
        assert!(spread <= 1, "{n_rows} rows on {n_ranks} ranks: {lengths:?}");
    }
}

#[test]
fn a_sum_is_added_in_the_order_of_the_ranks_and_the_same_everywhere() {
    // In another order, 1 would be lost beside 1e8.
    let values = [1e8f32, -1e8, 1.];
    for _ in 0..20 {
        let sums = in_threads(3, |ranks| {
            let mut sum = [values[ranks.rank()], 1.];
            ranks.all_reduce_sum(&mut sum)?;
            Ok(sum)
        });
        for sum in sums {
            assert_eq!(sum.unwrap(), [1., 3.]);
        }
    }
}

#[test]
fn all_ranks_get_what_the_first_has() {
    let results = in_threads(3, |ranks| {
        let rank = ranks.rank();
        let mut bytes = vec![rank as u8; rank + 1];
        ranks.broadcast(&mut bytes)?;
        let value = ranks.on_first(|| Ok((rank, "text".to_string(), 0.1)))?;
        Ok((bytes, value, ranks.any(rank == 2)?, ranks.any(false)?))
    });
    for result in results {
        assert_eq!(result.unwrap(), (vec![0], (0, "text".to_string(), 0.1), true, false));
    }
}

#[test]
fn what_each_rank_has_is_gathered_in_their_order_also_what_json_lacks() {
    let results = in_threads(3, |ranks| {
        let rank = ranks.rank();
        let numbers = ranks.gather(&vec![f64::NAN; rank])?;
        let bits: Vec<u32> =
            ranks.gather(&(0.1 * rank as f32))?.iter().map(|x| x.to_bits()).collect();
        // Two rows on the first rank, none on the second, one on the third.
        let rows = [2, 0, 1][rank];
        let own: Vec<Tensor> = (0..rows)
            .map(|row| Tensor::full((10 * rank + row) as f32, (1, 2), &Device::Cpu))
            .collect::<candle_core::Result<_>>()?;
        Ok((numbers, bits, ranks.concat(&own, &Device::Cpu)?.to_vec2::<f32>()?))
    });
    for result in results {
        let (numbers, bits, rows) = result.unwrap();
        assert_eq!(numbers.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(numbers.concat().iter().all(|x| x.is_nan()));
        assert_eq!(bits, [0f32, 0.1, 0.2].map(f32::to_bits));
        assert_eq!(rows, [[0., 0.], [1., 1.], [20., 20.]]);
    }
}

#[test]
fn a_rank_with_something_else_is_named() {
    let results = in_threads(3, |ranks| {
        ranks
            .ensure_same(&"a".to_string(), "model")
            .map_err(|_| anyhow::anyhow!("all have the same"))?;
        ranks.ensure_same(&(ranks.rank() == 2), "model")
    });
    for result in results {
        assert_eq!(result.unwrap_err().to_string(), "rank 2 has another model than the first");
    }
}

#[test]
fn a_rank_that_ends_early_ends_the_others() {
    let results = in_threads(3, |ranks| {
        if ranks.rank() == 1 {
            bail!("out of memory");
        }
        ranks.any(true)?;
        ranks.any(true)
    });
    let errors: Vec<String> = results.into_iter().map(|r| r.unwrap_err().to_string()).collect();
    assert_eq!(errors, ["rank 1 has ended", "out of memory", "rank 1 has ended"]);
}

/// Parameters `used` and `unused` of the loss below.
fn parameters() -> Result<Parameters> {
    let mut parameters = Parameters::seeded(1, DType::F32, &Device::Cpu);
    for name in ["used", "unused"] {
        parameters.root().parameter(name, 3, Init::Normal { std: 1. }, WeightDecay::Yes)?;
    }
    Ok(parameters)
}

/// Mean over the `rows` of (row · used)², and its gradient.
fn mean_square(parameters: &Parameters, rows: &[[f32; 3]]) -> Result<RankGradients> {
    let n_targets = rows.len();
    if rows.is_empty() {
        return Ok(RankGradients { loss: f64::NAN, grads: None, n_targets, n_tokens: 0 });
    }
    let used = parameters.trainable().next().unwrap().var.as_tensor();
    let rows = Tensor::new(rows.as_flattened(), &Device::Cpu)?.reshape(((), 3))?; // (N, 3)
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

#[test]
fn the_number_of_threads_is_read_before_the_other_flags() {
    let threads = |line: &str| threads_flag(line.split(' ').map(String::from)).map(usize::from);
    assert_eq!(threads("part_4 train --threads 2 --out runs/x"), Some(2));
    assert_eq!(threads("part_4 train --threads 2 --threads=3"), Some(3));
    assert_eq!(threads("part_4 train --threads"), None);
}
