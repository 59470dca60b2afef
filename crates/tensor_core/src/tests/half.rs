//! 16-bit inputs give the results of f32 for the same values, rounded.

use candle_core::{DType, Device, Result, Tensor};

use crate::Rng;
use crate::ops::*;
use crate::testing::{assert_close, devices};

const CPU: Device = Device::Cpu;

#[test]
fn half_precision_results_equal_rounded_f32_results_on_each_device() -> Result<()> {
    let mut rng = Rng::new(0);
    for (dtype, tol) in [(DType::BF16, 1e-2), (DType::F16, 2e-3)] {
        // Long rows of large values, whose sums and squares overflow in 16 bits.
        let x = (rng.normal_tensor((4, 4096), 1., dtype, &CPU)? * 300.)?;
        let small = (&x / 100.)?;
        let [weight, bias] = [Tensor::ones(4096, dtype, &CPU)?, Tensor::zeros(4096, dtype, &CPU)?];
        let check = |f: &dyn Fn(&Tensor) -> Result<Tensor>, x: &Tensor| {
            let exact = f(&x.to_dtype(DType::F32)?)?;
            for device in devices()? {
                assert_close(f(&x.to_device(&device)?)?, &exact, tol);
            }
            Result::Ok(())
        };
        let like = |t: &Tensor, x: &Tensor| t.to_dtype(x.dtype())?.to_device(x.device());
        check(&|x| rms_norm(x, &like(&weight, x)?, 1e-5), &x)?;
        check(&|x| layer_norm(x, &like(&weight, x)?, &like(&bias, x)?, 1e-5), &x)?;
        check(&|x| softmax(x), &small)?;
        check(&|x| log_softmax(x), &small)?;
        check(&|x| entropy(x), &small)?;
        let targets = Tensor::new(&[0i64, 7, IGNORE_INDEX, 4095], &CPU)?;
        check(&|x| cross_entropy(x, &targets.to_device(x.device())?), &small)?;
        check(&|x| token_log_probs(x, &targets.to_device(x.device())?), &small)?;
    }
    Ok(())
}

#[test]
fn ignored_rows_may_hold_infinite_logits() -> Result<()> {
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let rows = [[f32::NEG_INFINITY, 1., 2.], [0., f32::NEG_INFINITY, 1.]];
        let logits = Tensor::new(&rows, &CPU)?.to_dtype(dtype)?;
        let targets = Tensor::new(&[IGNORE_INDEX, 2], &CPU)?;
        let expected = (1f32 + (-1f32).exp()).ln(); // −log softmax of 1 beside 0
        let loss = cross_entropy(&logits, &targets)?.to_dtype(DType::F32)?.to_scalar::<f32>()?;
        assert_close(loss, expected, 1e-2);
        let log_probs =
            token_log_probs(&logits, &targets)?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        assert_close(&log_probs, [0., -expected], 1e-2);
        let entropy = entropy(&logits)?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        // 0.5822 is the entropy of probabilities in the ratio 1 : e.
        entropy.iter().for_each(|h| assert_close(*h, 0.5822, 1e-2));
    }
    Ok(())
}
