//! Each operation on each device against its reference on the CPU, which is the CPU's fused
//! implementation against plain operations, and those of a GPU against those of the CPU: f32 (with
//! its fast exp) and f64, values and gradients, contiguous and transposed inputs, random shapes.

use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;

use crate::ops::{self, AttentionMask, Gelu, IGNORE_INDEX, Positions};
use crate::testing::{assert_close, devices};
use crate::{Rng, backward};

const CPU: Device = Device::Cpu;

/// Operation or its reference, as a function of its inputs.
type Op<'a> = &'a dyn Fn(&[Tensor]) -> Result<Tensor>;

/// Runs both functions on the same `inputs`, `op` on each device and its `reference` on the CPU,
/// and compares results and gradients.
pub(super) fn agree(inputs: &[Tensor], op: Op<'_>, reference: Op<'_>) {
    // f32 rounds at 6e-8; sums over a few hundred terms and gradients of quotients lose one or two
    // digits.
    for (dtype, tol) in [(DType::F64, 1e-11), (DType::F32, 5e-5)] {
        for layout in [Layout::Contiguous, Layout::Transposed] {
            let expected = run(inputs, dtype, layout, &CPU, reference).unwrap();
            for device in devices().unwrap() {
                let actual = run(inputs, dtype, layout, &device, op).unwrap();
                for (a, b) in actual.iter().zip(&expected) {
                    assert_close(a, b, tol);
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Layout {
    Contiguous,
    Transposed,
}

/// Result of `op` on `device`, then the gradients of its inputs.
fn run(
    inputs: &[Tensor],
    dtype: DType,
    layout: Layout,
    device: &Device,
    op: Op<'_>,
) -> Result<Vec<Tensor>> {
    let swap = |x: &Tensor| match layout {
        Layout::Transposed if x.rank() > 1 => x.transpose(0, x.rank() - 1),
        _ => Ok(x.clone()),
    };
    let var =
        |x: &Tensor| Var::from_tensor(&swap(&x.to_dtype(dtype)?.to_device(device)?)?.contiguous()?);
    let vars = inputs.iter().map(var).collect::<Result<Vec<_>>>()?;
    let result = op(&vars.iter().map(|var| swap(var)).collect::<Result<Vec<_>>>()?)?;
    let grad = Rng::new(77).normal_tensor(result.shape(), 1., dtype, device)?;
    let grads = backward(&(&result * grad)?.sum_all()?)?;
    let grads = vars.iter().map(|var| grads.get(var).expect("a gradient").clone());
    Ok([result].into_iter().chain(grads).collect())
}

/// `other` on the device of the inputs `x`.
fn beside(x: &[Tensor], other: &Tensor) -> Result<Tensor> {
    other.to_device(x[0].device())
}

/// Reproducible normal samples in f64.
pub(super) fn random(seed: u64, shape: impl Into<candle_core::Shape>) -> Tensor {
    Rng::new(seed).normal_tensor(shape, 1.5, DType::F64, &CPU).unwrap()
}

/// Rows and width: sizes around the lanes of vector units, and enough rows for several tasks.
fn rows_and_width() -> impl Strategy<Value = (usize, usize)> {
    prop_oneof![
        (1usize..8, 1usize..70),
        Just((1, 1)),
        Just((2, 16)),
        Just((300, 70)),
        Just((2, 17_000)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn softmax_matches_its_reference_on_each_device(shape in rows_and_width()) {
        agree(&[random(0, shape)], &|x| ops::softmax(&x[0]), &|x| ops::softmax::reference(&x[0]));
    }

    #[test]
    fn log_softmax_matches_its_reference_on_each_device(shape in rows_and_width()) {
        let reference: Op<'_> = &|x| ops::log_softmax::reference(&x[0]);
        agree(&[random(0, shape)], &|x| ops::log_softmax(&x[0]), reference);
    }

    #[test]
    fn layer_norm_matches_its_reference_on_each_device((rows, width) in rows_and_width()) {
        prop_assume!(width > 1); // a single element is its own mean: the result is 0 / √ε
        agree(
            &[random(0, (1, rows, width)), random(1, width), random(2, width)],
            &|x| ops::layer_norm(&x[0], &x[1], &x[2], 1e-2),
            &|x| ops::layer_norm::reference(&x[0], &x[1], &x[2], 1e-2),
        );
    }

    #[test]
    fn rms_norm_matches_its_reference_on_each_device((rows, width) in rows_and_width()) {
        agree(
            &[random(0, (rows, 1, width)), random(1, width)],
            &|x| ops::rms_norm(&x[0], &x[1], 1e-2),
            &|x| ops::rms_norm::reference(&x[0], &x[1], 1e-2),
        );
    }

    #[test]
    fn gelu_matches_its_reference_on_each_device(shape in rows_and_width()) {
        for form in [Gelu::Exact, Gelu::Tanh] {
            let reference: Op<'_> = &|x| ops::gelu::reference(&x[0], form);
            agree(&[random(0, shape)], &|x| ops::gelu(&x[0], form), reference);
        }
    }

    #[test]
    fn silu_mul_matches_its_reference_on_each_device(shape in rows_and_width()) {
        agree(
            &[random(0, shape), random(1, shape)],
            &|x| ops::silu_mul(&x[0], &x[1]),
            &|x| ops::silu_mul::reference(&x[0], &x[1]),
        );
    }

    #[test]
    fn dropout_matches_its_reference_on_each_device(
        shape in rows_and_width(),
        p in 0f64..0.9,
        seed: u64,
    ) {
        agree(
            &[random(0, shape)],
            &|x| ops::dropout(&x[0], p, seed),
            &|x| ops::dropout::reference(&x[0], p, seed),
        );
    }

    #[test]
    fn add_with_and_without_broadcasting_matches_its_reference_on_each_device(
        (rows, width) in rows_and_width(),
    ) {
        for other in [vec![2, rows, width], vec![rows, width], vec![width], vec![]] {
            agree(
                &[random(0, (2, rows, width)), random(1, other)],
                &|x| ops::add(&x[0], &x[1]),
                &|x| ops::add::reference(&x[0], &x[1]),
            );
        }
    }

    #[test]
    fn linear_with_and_without_bias_matches_its_reference_on_each_device(
        rows in 1usize..140,
        n_in in 1usize..70,
        n_out in 1usize..140,
    ) {
        let inputs = [random(0, (1, rows, n_in)), random(1, (n_out, n_in)), random(2, n_out)];
        agree(
            &inputs,
            &|x| ops::linear(&x[0], &x[1], Some(&x[2])),
            &|x| ops::linear::reference(&x[0], &x[1], Some(&x[2])),
        );
        agree(
            &inputs[..2],
            &|x| ops::linear(&x[0], &x[1], None),
            &|x| ops::linear::reference(&x[0], &x[1], None),
        );
    }

    #[test]
    fn embedding_matches_its_reference_on_each_device(
        v in 1usize..2_000,
        c in 1usize..40,
        n in 1usize..60,
    ) {
        let ids = (0..2 * n).map(|i| (i * 31 % v) as u32);
        let ids = Tensor::from_iter(ids, &CPU).unwrap().reshape((2, n)).unwrap();
        let reference: Op<'_> = &|x| ops::embedding::reference(&x[0], &ids);
        agree(&[random(0, (v, c))], &|x| ops::embedding(&x[0], &beside(x, &ids)?), reference);
    }

    #[test]
    fn rope_matches_its_reference_on_each_device(
        b in 1usize..4,
        t in 1usize..20,
        h in 1usize..4,
        half in 1usize..20,
        start in 0usize..5,
    ) {
        let (cos, sin) = (random(1, (30, half)), random(2, (30, half)));
        let starts: Vec<i64> = (0..b as i64).map(|row| 3 - 4 * row).collect();
        let per_token: Vec<usize> = (0..b * t).map(|i| i * 7 % 23).collect();
        let variants = [
            Positions::StartAt(start),
            Positions::RowStarts(&starts),
            Positions::PerToken(&per_token),
        ];
        for positions in variants {
            let like = |table: &Tensor, x: &[Tensor]| beside(x, &table.to_dtype(x[0].dtype())?);
            let op: Op<'_> = &|x| ops::rope(&x[0], &like(&cos, x)?, &like(&sin, x)?, positions);
            let reference: Op<'_> =
                &|x| ops::rope::reference(&x[0], &like(&cos, x)?, &like(&sin, x)?, positions);
            agree(&[random(0, (b, t, h, 2 * half))], op, reference);
        }
    }

    #[test]
    fn losses_and_log_probs_match_their_references_on_each_device(
        (rows, width) in rows_and_width(),
    ) {
        let target = |row: usize| match row % 3 {
            1 => IGNORE_INDEX,
            _ => (row * 31 % width) as i64,
        };
        let targets = Tensor::from_iter((0..rows).map(target), &CPU).unwrap();
        let logits = [random(0, (rows, width))];
        let (loss, log_probs): (Op<'_>, Op<'_>) = (
            &|x| ops::cross_entropy::reference(&x[0], &targets),
            &|x| ops::token_log_probs::reference(&x[0], &targets),
        );
        agree(&logits, &|x| ops::cross_entropy(&x[0], &beside(x, &targets)?), loss);
        agree(&logits, &|x| ops::token_log_probs(&x[0], &beside(x, &targets)?), log_probs);
        let reference: Op<'_> = &|x| ops::entropy::reference(&x[0]);
        agree(&logits, &|x| ops::entropy(&x[0]), reference);
    }

    #[test]
    fn self_attention_matches_its_reference_on_each_device(
        b in 1usize..3,
        t in 1usize..150,
        h in 1usize..4,
        d in 1usize..9,
    ) {
        let window = AttentionMask::sliding_window(t / 3 + 1, 2);
        for mask in [AttentionMask::causal(), AttentionMask::bidirectional(), window] {
            agree(
                &[random(0, (b, t, 3 * h * d))],
                &|x| ops::self_attention(&x[0], h, &mask),
                &|x| ops::self_attention::reference(&x[0], h, &mask),
            );
        }
    }
}

#[test]
fn both_gelu_forms_match_their_references_at_extreme_inputs_on_each_device() {
    let extreme = [-1e4f64, -90., -12., -4., -1e-6, 0., 1e-6, 4., 12., 90., 1e4];
    let extreme = Tensor::new(&extreme, &CPU).unwrap();
    for form in [Gelu::Exact, Gelu::Tanh] {
        let reference: Op<'_> = &|x| ops::gelu::reference(&x[0], form);
        agree(std::slice::from_ref(&extreme), &|x| ops::gelu(&x[0], form), reference);
    }
}

#[test]
fn fused_operations_are_deterministic() -> Result<()> {
    let (b, t, h, d) = (2, 90, 3, 16);
    let ids = Tensor::from_iter((0..b * t).map(|i| (i % 7) as u32), &CPU)?.reshape((b, t))?;
    let targets = ids.to_dtype(DType::I64)?;
    let inputs = [random(0, (7, h * d)), random(1, (3 * h * d, h * d)), random(2, h * d)];
    let step: Op<'_> = &|x| {
        let hidden = ops::rms_norm(&ops::embedding(&x[0], &ids)?, &x[2], 1e-5)?; // (B, T, C)
        let mixed =
            ops::self_attention(&ops::linear(&hidden, &x[1], None)?, h, &AttentionMask::causal())?;
        ops::cross_entropy(&ops::linear(&mixed, &x[0], None)?, &targets)
    };
    let first = run(&inputs, DType::F32, Layout::Contiguous, &CPU, step)?;
    for _ in 0..20 {
        let again = run(&inputs, DType::F32, Layout::Contiguous, &CPU, step)?;
        for (a, b) in first.iter().zip(&again) {
            assert_close(a, b, 0.);
        }
    }
    Ok(())
}
