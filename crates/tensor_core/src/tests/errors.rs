//! Invalid input gives an error that names the operation and every input, never a panic.

use candle_core::{DType, Device, Result, Tensor};

use super::fused::random;
use crate::ops::{self, AttentionMask, Gelu, IGNORE_INDEX, Positions};

const CPU: Device = Device::Cpu;

/// First line of the error message, without the backtrace that candle adds.
fn message(result: Result<Tensor>) -> String {
    let text = result.expect_err("bad input").to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn shape_errors_name_the_operation_and_its_inputs() -> Result<()> {
    let (x, y, row) = (random(0, (2, 3)), random(0, (4, 5)), random(0, 4));
    let ids = Tensor::zeros((2, 2), DType::I64, &CPU)?;
    let table = random(0, (9, 2));
    let cases = [
        ("add: shapes do not fit: a [2, 3] (F64, Cpu), b [4, 5] (F64, Cpu)", ops::add(&x, &y)),
        (
            "rms_norm: shapes do not fit: x [2, 3] (F64, Cpu), weight [4] (F64, Cpu)",
            ops::rms_norm(&x, &row, 1e-5),
        ),
        ("layer_norm: shapes do not fit: x [2, 3]", ops::layer_norm(&x, &row, &row, 1e-5)),
        ("silu_mul: shapes do not fit: gate [2, 3] (F64, Cpu), up [4, 5]", ops::silu_mul(&x, &y)),
        (
            "linear: shapes do not fit: x [2, 3] (F64, Cpu), weight [4, 5]",
            ops::linear(&x, &y, None),
        ),
        (
            "linear: shapes do not fit: x [4, 5] (F64, Cpu), weight [4, 5] (F64, Cpu), bias [2, 3]",
            ops::linear(&y, &y, Some(&x)),
        ),
        (
            "cross_entropy: logits ([2, 3], F64, Cpu) do not fit targets ([2, 2], I64, Cpu)",
            ops::cross_entropy(&x, &ids),
        ),
        (
            "token_log_probs: logits ([2, 3], F64, Cpu) do not fit targets",
            ops::token_log_probs(&x, &ids),
        ),
        (
            "self_attention: [1, 2, 16] is not (B, T, 3 C) with C divisible by 2 heads",
            ops::self_attention(&random(0, (1, 2, 16)), 2, &AttentionMask::causal()),
        ),
        (
            "rope: shapes do not fit: x [1, 1, 1, 6]",
            ops::rope(&random(0, (1, 1, 1, 6)), &table, &table, Positions::StartAt(0)),
        ),
        (
            "rope: position 9 of [1, 1, 1, 4] lies beyond the tables [9, 2]",
            ops::rope(&random(0, (1, 1, 1, 4)), &table, &table, Positions::StartAt(9)),
        ),
        (
            "rope: 2 starting positions for the 1 rows of [1, 1, 1, 4]",
            ops::rope(&random(0, (1, 1, 1, 4)), &table, &table, Positions::RowStarts(&[0, 0])),
        ),
        (
            "rope: 2 positions for the 1 x 1 tokens of [1, 1, 1, 4]",
            ops::rope(&random(0, (1, 1, 1, 4)), &table, &table, Positions::PerToken(&[0, 0])),
        ),
        (
            "rope: position 9 of [1, 1, 1, 4] lies beyond the tables [9, 2]",
            ops::rope(&random(0, (1, 1, 1, 4)), &table, &table, Positions::PerToken(&[9])),
        ),
    ];
    for (expected, result) in cases {
        let text = message(result);
        assert!(text.starts_with(expected), "`{text}` does not start with `{expected}`");
    }
    Ok(())
}

#[test]
fn dtype_errors_name_the_operation_and_its_inputs() -> Result<()> {
    let (x, y) = (random(0, (2, 3)), random(0, (2, 3)).to_dtype(DType::F32)?);
    let text = message(ops::silu_mul(&x, &y));
    assert_eq!(text, "silu_mul: dtypes differ: gate [2, 3] (F64, Cpu), up [2, 3] (F32, Cpu)");
    assert!(message(ops::linear(&x, &y, None)).starts_with("linear: dtypes differ"));
    Ok(())
}

#[test]
fn errors_name_ids_and_targets_outside_the_vocabulary() -> Result<()> {
    let x = random(0, (2, 3));
    let text = message(ops::cross_entropy(&x, &Tensor::new(&[0i64, 3], &CPU)?));
    assert_eq!(text, "cross_entropy: target 3 lies outside the vocabulary of 3");
    assert!(ops::token_log_probs(&x, &Tensor::new(&[IGNORE_INDEX, -1], &CPU)?).is_err());
    let text = message(ops::embedding(&x, &Tensor::new(&[2u32], &CPU)?));
    assert_eq!(text, "embedding: id 2 lies outside the 2 rows of the weight");
    assert!(message(ops::embedding(&x, &x)).starts_with("embedding: ids ([2, 3], F64"));
    Ok(())
}

#[test]
fn empty_tensors_are_rejected_with_their_shape() -> Result<()> {
    let (empty, no_weight) = (random(0, (2, 0)), random(0, 0));
    let no_ids = Tensor::zeros(0, DType::U32, &CPU)?;
    let results = [
        ops::softmax(&empty),
        ops::log_softmax(&empty),
        ops::gelu(&empty, Gelu::Tanh),
        ops::add(&empty, &empty),
        ops::silu_mul(&empty, &empty),
        ops::rms_norm(&empty, &no_weight, 1e-5),
        ops::layer_norm(&empty, &no_weight, &no_weight, 1e-5),
        ops::linear(&empty, &random(0, (3, 0)), None),
        ops::embedding(&random(0, (2, 3)), &no_ids),
        ops::self_attention(&random(0, (2, 0, 6)), 2, &AttentionMask::causal()),
        ops::cross_entropy(&empty, &Tensor::new(&[0i64, 0], &CPU)?),
        ops::entropy(&empty),
    ];
    for result in results {
        let text = message(result);
        assert!(text.contains("[0]") || text.contains(", 0"), "`{text}` shows no empty shape");
    }
    Ok(())
}

#[test]
fn huge_sizes_and_positions_are_errors_and_not_overflows() -> Result<()> {
    let x = random(0, (1, 2, 2, 4));
    let table = random(0, (9, 2));
    for positions in [Positions::StartAt(usize::MAX), Positions::RowStarts(&[i64::MAX])] {
        assert!(
            message(ops::rope(&x, &table, &table, positions)).contains("lies beyond the tables")
        );
    }
    let after = AttentionMask::causal().with_offset(usize::MAX);
    assert!(message(ops::attention(&x, &x, &x, &after)).contains("need more keys"));
    let qkv = random(0, (1, 2, 6));
    assert!(
        message(ops::self_attention(&qkv, usize::MAX / 3 + 1, &AttentionMask::causal()))
            .contains("is not (B, T, 3 C)")
    );
    let learned = candle_core::Var::from_tensor(&table)?;
    let result = ops::rope(&x, learned.as_tensor(), &table, Positions::StartAt(0));
    assert!(message(result).contains("the tables have no gradient"));
    Ok(())
}

#[test]
fn integer_activations_are_rejected() -> Result<()> {
    let x = Tensor::new(&[[1u32, 2]], &CPU)?;
    for (op, result) in [("softmax", ops::softmax(&x)), ("gelu", ops::gelu(&x, Gelu::Exact))] {
        assert!(
            message(result)
                .starts_with(&format!("{op}: expected floating-point tensors: x [1, 2]"))
        );
    }
    Ok(())
}

#[test]
fn every_dtype_rejects_ids_and_targets_out_of_range() -> Result<()> {
    for dtype in [DType::F32, DType::BF16] {
        let table = random(0, (9, 2)).to_dtype(dtype)?;
        let huge_id = Tensor::new(&[u32::MAX], &CPU)?;
        assert!(
            message(ops::embedding(&table, &huge_id)).contains("id 4294967295 lies outside the 9")
        );
        let target = Tensor::new(&[i64::MAX], &CPU)?;
        let logits = random(0, (1, 5)).to_dtype(dtype)?;
        for result in [ops::cross_entropy(&logits, &target), ops::token_log_probs(&logits, &target)]
        {
            assert!(message(result).contains("target 9223372036854775807 lies outside"));
        }
    }
    Ok(())
}
