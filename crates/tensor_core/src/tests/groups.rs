//! Grouped linear layers and sums of scattered rows: the operations of a mixture of experts.

use candle_core::{DType, Result, Tensor, Var};
use proptest::prelude::*;

use super::fused::{agree, random};
use crate::ops::grouped_linear::GroupWeights;
use crate::ops::{self};
use crate::testing::assert_close;
use crate::{Dropout, Rng, backward, gradient_checkpoint_all};

/// Weights and biases among the inputs of a test, after x.
fn groups(x: &[Tensor], biases: usize) -> Vec<GroupWeights<'_>> {
    let (weights, biases) = x[1..].split_at(x.len() - 1 - biases);
    weights.iter().enumerate().map(|(i, weight)| (weight, biases.get(i))).collect()
}

/// Row of each of `n` by `k` router weights, about one in five of them dropped; and the number of
/// rows.
fn positions(n: usize, k: usize) -> (Vec<Option<u32>>, usize) {
    let mut rng = Rng::new(9);
    let mut rows: Vec<u32> = (0..(n * k) as u32).collect();
    rng.shuffle(&mut rows);
    let positions = rows.iter().map(|&row| (rng.uniform() < 0.8).then_some(row));
    (positions.collect(), n * k)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn grouped_linear_matches_its_reference_on_each_device(
        counts in proptest::collection::vec(1usize..60, 1..5),
        n_in in 1usize..40,
        n_out in 1usize..80,
    ) {
        let (n, e) = (counts.iter().sum::<usize>(), counts.len() as u64);
        let weights = (0..e).map(|i| random(1 + i, (n_out, n_in)));
        let biases = (0..e).map(|i| random(100 + i, n_out));
        let x = random(0, (n, n_in));
        let inputs: Vec<Tensor> = [x].into_iter().chain(weights).chain(biases).collect();
        for (inputs, biases) in [(&inputs[..], counts.len()), (&inputs[..=counts.len()], 0)] {
            agree(
                inputs,
                &|x| ops::grouped_linear(&x[0], &groups(x, biases), &counts),
                &|x| ops::grouped_linear::reference(&x[0], &groups(x, biases), &counts),
            );
        }
    }

    #[test]
    fn scatter_combine_matches_its_reference_on_each_device(
        n in 1usize..200,
        k in 1usize..4,
        c in 1usize..90,
    ) {
        let (positions, m) = positions(n, k);
        agree(
            &[random(0, (m, c)), random(1, (n, k))],
            &|x| ops::scatter_combine(&x[0], &x[1], &positions),
            &|x| ops::scatter_combine::reference(&x[0], &x[1], &positions),
        );
    }
}

#[test]
fn a_group_without_rows_gets_a_gradient_of_zeros() -> Result<()> {
    let var = |seed, shape: (usize, usize)| Var::from_tensor(&random(seed, shape));
    let (x, a, b) = (var(0, (3, 4))?, var(1, (5, 4))?, var(2, (5, 4))?);
    let y = ops::grouped_linear(&x, &[(&a, None), (&b, None)], &[0, 3])?;
    assert_close(&y, &x.matmul(&b.t()?)?, 1e-12);
    let grads = backward(&y.sqr()?.sum_all()?)?;
    assert_close(grads.get(&a).expect("a gradient"), &a.zeros_like()?, 0.);
    assert!(grads.get(&b).expect("a gradient").abs()?.min_all()?.to_scalar::<f64>()? > 0.);
    Ok(())
}

#[test]
fn grouped_linear_and_scatter_combine_reject_mismatched_rows() -> Result<()> {
    let (x, w) = (random(0, (3, 4)), random(1, (5, 4)));
    let error = |result: Result<Tensor>| result.expect_err("mismatch").to_string();
    let bias = random(2, 5);
    assert!(error(ops::grouped_linear(&x, &[], &[])).contains("no groups"));
    assert!(
        error(ops::grouped_linear(&x, &[(&w, None)], &[2])).contains("3 rows in groups of [2]")
    );
    let mixed = [(&w, Some(&bias)), (&w, None)];
    assert!(error(ops::grouped_linear(&x, &mixed, &[1, 2])).contains("shapes do not fit"));
    let weights = random(3, (2, 1));
    let combine = |positions: &[Option<u32>]| error(ops::scatter_combine(&x, &weights, positions));
    assert!(combine(&[Some(0), Some(3)]).contains("row 3 of 3"));
    assert!(combine(&[Some(1), Some(1)]).contains("used twice"));
    assert!(combine(&[Some(1)]).contains("shapes do not fit"));
    Ok(())
}

#[test]
fn checkpointing_several_results_works_when_some_are_unused() -> Result<()> {
    let f = |x: &Tensor| {
        let largest = x.detach().argmax(1)?;
        Ok(vec![ops::softmax(x)?, x.sqr()?.sum(1)?, ops::softmax(&x.sqr()?)?, largest])
    };
    let loss = |all: &[Tensor]| all[0].sqr()?.sum_all()? + (all[1].sqr()?.sum_all()? * 0.3)?;
    let x = Var::from_tensor(&random(0, (3, 4)).to_dtype(DType::F64)?)?;
    let gradient = |all: Vec<Tensor>| -> Result<Tensor> {
        Ok(backward(&loss(&all)?)?.get(&x).expect("a gradient").clone())
    };
    let again = gradient(gradient_checkpoint_all(&x, &Dropout::disabled(), f)?)?;
    assert_close(&again, &gradient(f(&x)?)?, 1e-12);
    let all = gradient_checkpoint_all(&x, &Dropout::disabled(), f)?;
    assert_eq!(
        all[3].to_vec1::<u32>()?,
        x.argmax(1)?.to_vec1::<u32>()?,
        "integer results are returned unchanged"
    );
    Ok(())
}
