//! Sums by NCCL, with as many ranks as there are GPUs: one GPU shows that it starts and how it is
//! called, two show that it adds.

use anyhow::Result;
use candle_core::Device;
use candle_core::cuda_backend::cudarc::driver::CudaContext;
use tensor_core::testing::{assert_close, devices};

use super::average::{mean_square, parameters, parameters_on};
use crate::nccl::{Communicator, ensure_one_rank_per_gpu};
use crate::{BatchGradients, Ranks, in_threads};

#[test]
fn ranks_that_nccl_joins_have_the_gradients_of_one_on_each_device() -> Result<()> {
    if devices()?.len() < 2 {
        eprintln!("skipped: there is no GPU");
        return Ok(());
    }
    let rows: Vec<[f32; 3]> = (0..7).map(|i| [0.1 * i as f32, 1., -0.5 * i as f32]).collect();
    let alone = parameters()?;
    let whole = mean_square(&alone, &rows)?.average(&Ranks::Alone, &[&alone])?;
    let used = alone.trainable().next().unwrap().var.as_tensor();
    let expected = whole.grads.get(used).unwrap().to_vec1::<f32>()?;
    let n_gpus = CudaContext::device_count()? as usize;
    let steps = in_threads(n_gpus, |ranks| {
        let device = Device::new_cuda(ranks.rank())?;
        let own = parameters_on(&device)?;
        let communicator = Communicator::start(&ranks, &device)?;
        let of_rank = mean_square(&own, &rows[ranks.rows(rows.len())])?;
        let sums = of_rank.summands(&[&own])?;
        communicator.all_reduce_sum(&sums)?;
        let step = BatchGradients::from_sums(&sums, &[&own])?;
        let grad = |i: usize| {
            let parameter = own.trainable().nth(i)?;
            step.grads.get(parameter.var.as_tensor())?.to_vec1::<f32>().ok()
        };
        let grads = (grad(0), grad(1));
        ranks.any(false)?; // NCCL ends when no rank needs it any more
        Ok((step.loss, step.n_targets, grads))
    });
    for step in steps {
        let (loss, n_targets, (used, unused)) = step?;
        assert_close(loss, whole.loss, 1e-5);
        assert_eq!(n_targets, rows.len());
        assert_close(&used.unwrap()[..], &expected[..], 1e-5);
        assert_eq!(unused, None, "as on one rank, a weight without a gradient does not decay");
    }
    Ok(())
}

#[test]
fn two_ranks_on_one_gpu_are_refused_with_their_numbers() {
    assert!(ensure_one_rank_per_gpu(&[[1; 16], [2; 16]]).is_ok());
    let error = ensure_one_rank_per_gpu(&[[1; 16], [2; 16], [1; 16]]).unwrap_err().to_string();
    assert!(error.starts_with("ranks 0 and 2 are on the same GPU"), "{error}");
}
