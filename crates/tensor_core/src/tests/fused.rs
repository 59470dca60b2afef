//! Each fused operation against its reference: f32 (with its fast exp) and f64, values and
//! gradients, contiguous and transposed inputs, random shapes.

use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;

use crate::ops::{self, AttentionMask, Gelu, IGNORE_INDEX, Positions};
use crate::{Rng, backward};

const CPU: Device = Device::Cpu;

/// Operation or its reference, as a function of its inputs.
type Op<'a> = &'a dyn Fn(&[Tensor]) -> Result<Tensor>;

/// Runs both functions on the same `inputs` and compares results and gradients.
pub(super) fn agree(inputs: &[Tensor], fused: Op<'_>, reference: Op<'_>) {
    // f32 rounds at 6e-8; sums over a few hundred terms and gradients of quotients lose one or two
    // digits.
    for (dtype, tol) in [(DType::F64, 1e-11), (DType::F32, 5e-5)] {
        for layout in [Layout::Contiguous, Layout::Transposed] {
            let run = |op| run(inputs, dtype, layout, op).unwrap();
            for (a, b) in run(fused).iter().zip(&run(reference)) {
                crate::testing::assert_close(a, b, tol);
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Layout {
    Contiguous,
    Transposed,
}

/// Result of `op`, then the gradients of its inputs.
fn run(inputs: &[Tensor], dtype: DType, layout: Layout, op: Op<'_>) -> Result<Vec<Tensor>> {
    let swap = |x: &Tensor| match layout {
        Layout::Transposed if x.rank() > 1 => x.transpose(0, x.rank() - 1),
        _ => Ok(x.clone()),
    };
    let var = |x: &Tensor| Var::from_tensor(&swap(&x.to_dtype(dtype)?)?.contiguous()?);
    let vars = inputs.iter().map(var).collect::<Result<Vec<_>>>()?;
    let result = op(&vars.iter().map(|var| swap(var)).collect::<Result<Vec<_>>>()?)?;
    let grad = Rng::new(77).normal_tensor(result.shape(), 1., dtype, &CPU)?;
    let grads = backward(&(&result * grad)?.sum_all()?)?;
    let grads = vars.iter().map(|var| grads.get(var).expect("a gradient").clone());
    Ok([result].into_iter().chain(grads).collect())
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
    fn fused_softmax_matches_its_reference(shape in rows_and_width()) {
        agree(&[random(0, shape)], &|x| ops::softmax(&x[0]), &|x| ops::softmax::reference(&x[0]));
    }

    #[test]
    fn fused_log_softmax_matches_its_reference(shape in rows_and_width()) {
        let reference: Op<'_> = &|x| ops::log_softmax::reference(&x[0]);
        agree(&[random(0, shape)], &|x| ops::log_softmax(&x[0]), reference);
    }

    #[test]
    fn fused_layer_norm_matches_its_reference((rows, width) in rows_and_width()) {
        prop_assume!(width > 1); // a single element is its own mean: the result is 0 / √ε
        agree(
            &[random(0, (1, rows, width)), random(1, width), random(2, width)],
            &|x| ops::layer_norm(&x[0], &x[1], &x[2], 1e-2),
            &|x| ops::layer_norm::reference(&x[0], &x[1], &x[2], 1e-2),
        );
    }

    #[test]
    fn fused_rms_norm_matches_its_reference((rows, width) in rows_and_width()) {
        agree(
            &[random(0, (rows, 1, width)), random(1, width)],
            &|x| ops::rms_norm(&x[0], &x[1], 1e-2),
            &|x| ops::rms_norm::reference(&x[0], &x[1], 1e-2),
        );
    }

    #[test]
    fn fused_gelu_matches_its_reference(shape in rows_and_width()) {
        for form in [Gelu::Exact, Gelu::Tanh] {
            let reference: Op<'_> = &|x| ops::gelu::reference(&x[0], form);
            agree(&[random(0, shape)], &|x| ops::gelu(&x[0], form), reference);
        }
    }

    #[test]
    fn fused_silu_mul_matches_its_reference(shape in rows_and_width()) {
        agree(
            &[random(0, shape), random(1, shape)],
            &|x| ops::silu_mul(&x[0], &x[1]),
            &|x| ops::silu_mul::reference(&x[0], &x[1]),
        );
    }

    #[test]
    fn fused_dropout_matches_its_reference(shape in rows_and_width(), p in 0f64..0.9, seed: u64) {
        agree(
            &[random(0, shape)],
            &|x| ops::dropout(&x[0], p, seed),
            &|x| ops::dropout::reference(&x[0], p, seed),
        );
    }

    #[test]
    fn fused_add_matches_its_reference_with_and_without_broadcasting(
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
    fn fused_linear_matches_its_reference_with_and_without_bias(
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
    fn fused_embedding_matches_its_reference(v in 1usize..2_000, c in 1usize..40, n in 1usize..60) {
        let ids = (0..2 * n).map(|i| (i * 31 % v) as u32);
        let ids = Tensor::from_iter(ids, &CPU).unwrap().reshape((2, n)).unwrap();
        let reference: Op<'_> = &|x| ops::embedding::reference(&x[0], &ids);
        agree(&[random(0, (v, c))], &|x| ops::embedding(&x[0], &ids), reference);
    }

    #[test]
    fn fused_rope_matches_its_reference(
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
            let tables = |x: &Tensor| {
                let (cos, sin) = (cos.to_dtype(x.dtype())?, sin.to_dtype(x.dtype())?);
                Ok::<_, candle_core::Error>((cos, sin))
            };
            let fused: Op<'_> = &|x| {
                let (cos, sin) = tables(&x[0])?;
                ops::rope(&x[0], &cos, &sin, positions)
            };
            let reference: Op<'_> = &|x| {
                let (cos, sin) = tables(&x[0])?;
                ops::rope::reference(&x[0], &cos, &sin, positions)
            };
            agree(&[random(0, (b, t, h, 2 * half))], fused, reference);
        }
    }

    #[test]
    fn fused_losses_and_log_probs_match_their_references((rows, width) in rows_and_width()) {
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
        agree(&logits, &|x| ops::cross_entropy(&x[0], &targets), loss);
        agree(&logits, &|x| ops::token_log_probs(&x[0], &targets), log_probs);
        let reference: Op<'_> = &|x| ops::entropy::reference(&x[0]);
        agree(&logits, &|x| ops::entropy(&x[0]), reference);
    }

    #[test]
    fn fused_self_attention_matches_its_reference(
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
fn both_gelu_forms_match_their_references_at_extreme_inputs() {
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
    let first = run(&inputs, DType::F32, Layout::Contiguous, step)?;
    for _ in 0..20 {
        let again = run(&inputs, DType::F32, Layout::Contiguous, step)?;
        for (a, b) in first.iter().zip(&again) {
            crate::testing::assert_close(a, b, 0.);
        }
    }
    Ok(())
}
