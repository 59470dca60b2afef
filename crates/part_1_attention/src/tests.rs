//! Tests of part 1.

use anyhow::Result;
use candle_core::{DType, Device, Module, Tensor, Var};
use ndarray::Array2;
use serde_json::Value;
use tensor_core::ops::Gelu;
use tensor_core::testing::{
    assert_close, assert_grad, assert_gradients_flow, assert_same_step_on_each_device, devices,
};
use tensor_core::{AdamW, AdamWConfig, Parameters, Rng, backward};

use crate::by_hand::{SelfAttention, example_tokens};
use crate::positions::similarity_at_distance;
use crate::readable_heads::{ReadableHead, attention_maps};
use crate::{
    Block, BlockConfig, Head, LearnedPositions, MultiHeadAttention, attention_weights,
    causal_attention, causal_mask, picture, sinusoidal_positions,
};

const CPU: Device = Device::Cpu;

fn config() -> BlockConfig {
    BlockConfig {
        n_layer: 1,
        n_head: 3,
        n_embd: 12,
        dropout: 0.,
        gelu: Gelu::Tanh,
        layer_norm_eps: 1e-5,
    }
}

fn random(seed: u64, shape: impl Into<candle_core::Shape>) -> candle_core::Result<Tensor> {
    Rng::new(seed).normal_tensor(shape, 1., DType::F64, &CPU)
}

/// Reference results of PyTorch for the three-token example, made by `scripts/golden_attention.py`.
fn golden(name: &str) -> Result<Array2<f64>> {
    let all: Value = serde_json::from_str(include_str!("../tests/golden/attention.json"))?;
    let rows: Vec<Vec<f64>> = serde_json::from_value(all[name].clone())?;
    let shape = (rows.len(), rows[0].len());
    Ok(Array2::from_shape_vec(shape, rows.concat())?)
}

fn to_tensor(a: &Array2<f64>) -> candle_core::Result<Tensor> {
    Tensor::from_vec(a.iter().copied().collect::<Vec<_>>(), a.dim(), &CPU)
}

#[test]
fn sinusoidal_positions_follow_the_formula() -> Result<()> {
    let table = sinusoidal_positions(3, 4, DType::F64, &CPU)?;
    let row = |t: f64| [t.sin(), t.cos(), (t / 100.).sin(), (t / 100.).cos()];
    assert_close(&table, &Tensor::new(&[row(0.), row(1.), row(2.)], &CPU)?, 1e-12);
    assert_eq!(sinusoidal_positions(2, 3, DType::F64, &CPU)?.dims(), [2, 3], "odd widths work");
    Ok(())
}

#[test]
fn positions_are_alike_by_their_distance_wherever_they_stand() -> Result<()> {
    let table = sinusoidal_positions(12, 8, DType::F64, &CPU)?.to_vec2::<f64>()?;
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    for start in [0, 3, 7] {
        for distance in 0..5 {
            let (a, b) = (&table[start], &table[start + distance]);
            let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
            assert_close(similarity_at_distance(distance, 8), cosine, 1e-12);
        }
    }
    Ok(())
}

#[test]
fn learned_positions_reject_sequences_beyond_context_len() -> Result<()> {
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    let init = tensor_core::Init::Normal { std: 1. };
    let positions = LearnedPositions::new(parameters.root(), 4, 2, init)?;
    assert_eq!(positions.forward(4)?.dims(), [4, 2]);
    let error = positions.forward(5).unwrap_err().to_string();
    assert!(error.contains("5 tokens do not fit a model with context_len 4"), "{error}");
    Ok(())
}

#[test]
fn the_head_by_hand_agrees_with_pytorch_at_every_step() -> Result<()> {
    let trace = SelfAttention::example().forward(&example_tokens());
    assert_close(to_tensor(&trace.q)?, to_tensor(&golden("q")?)?, 1e-15);
    assert_close(to_tensor(&trace.k)?, to_tensor(&golden("k")?)?, 1e-15);
    assert_close(to_tensor(&trace.v)?, to_tensor(&golden("v")?)?, 1e-15);
    assert_close(to_tensor(&trace.weights)?, to_tensor(&golden("weights")?)?, 1e-15);
    assert_close(to_tensor(&trace.output)?, to_tensor(&golden("output")?)?, 1e-15);
    Ok(())
}

#[test]
fn the_head_by_hand_has_the_published_values() -> Result<()> {
    // Printed to six digits by the NumPy demo of the Python curriculum that this part follows.
    let trace = SelfAttention::example().forward(&example_tokens());
    let weights = [[1., 0., 0.], [0.499399, 0.500601, 0.], [0.333373, 0.333231, 0.333396]];
    let output = [[0.05, 0.07], [0.060012, 0.059988], [0.036661, 0.05]];
    assert_close(to_tensor(&trace.weights)?, weights, 1e-6);
    assert_close(to_tensor(&trace.output)?, output, 1e-6);
    Ok(())
}

#[test]
fn the_gradients_by_hand_agree_with_pytorch() -> Result<()> {
    let (x, head) = (example_tokens(), SelfAttention::example());
    let gradients = head.backward(&x, &head.forward(&x), &golden("grad_output")?);
    assert_close(to_tensor(&gradients.x)?, to_tensor(&golden("grad_x")?)?, 1e-15);
    assert_close(to_tensor(&gradients.w_q)?, to_tensor(&golden("grad_w_q")?)?, 1e-15);
    assert_close(to_tensor(&gradients.w_k)?, to_tensor(&golden("grad_w_k")?)?, 1e-15);
    assert_close(to_tensor(&gradients.w_v)?, to_tensor(&golden("grad_w_v")?)?, 1e-15);
    Ok(())
}

#[test]
fn the_candle_head_agrees_with_the_head_by_hand_and_its_gradients() -> Result<()> {
    let (tokens, by_hand) = (example_tokens(), SelfAttention::example());
    let trace = by_hand.forward(&tokens);
    let grad_output = golden("grad_output")?;
    let expected = by_hand.backward(&tokens, &trace, &grad_output);

    let mut parameters = Parameters::seeded(0, DType::F64, &CPU);
    let head = Head::new(parameters.root(), 4, 2)?;
    for (parameter, w) in parameters.iter().zip([&by_hand.w_q, &by_hand.w_k, &by_hand.w_v]) {
        parameter.var.set(&to_tensor(w)?.t()?)?; // a Linear weight is (out, in)
    }
    let x = Var::from_tensor(&to_tensor(&tokens)?.unsqueeze(0)?)?; // (1, 3, 4)
    let y = head.forward(&x)?; // (1, 3, 2)
    assert_close(&y.squeeze(0)?, &to_tensor(&trace.output)?, 1e-12);

    let grads = backward(&(y.squeeze(0)? * to_tensor(&grad_output)?)?.sum_all()?)?;
    let grad_x = grads.get(&x).unwrap().squeeze(0)?;
    assert_close(&grad_x, &to_tensor(&expected.x)?, 1e-12);
    for (parameter, grad) in parameters.iter().zip([&expected.w_q, &expected.w_k, &expected.w_v]) {
        let actual = grads.get(parameter.var.as_tensor()).unwrap();
        assert_close(actual, &to_tensor(grad)?.t()?, 1e-12);
    }
    assert_gradients_flow(&parameters, &grads)?;
    Ok(())
}

#[test]
fn the_causal_mask_of_five_tokens_masks_ten_cells_above_the_diagonal() -> Result<()> {
    let mask = causal_mask(5, DType::F32, &CPU)?.to_vec2::<f32>()?;
    let mut n_masked = 0;
    for (query, row) in mask.iter().enumerate() {
        for (key, &cell) in row.iter().enumerate() {
            assert_eq!(cell == f32::NEG_INFINITY, key > query);
            assert!(cell == 0. || key > query);
            n_masked += usize::from(key > query);
        }
    }
    assert_eq!(n_masked, 10);
    Ok(())
}

#[test]
fn the_future_never_leaks_into_the_past_on_each_device() -> Result<()> {
    for device in devices()? {
        let x = random(0, (1, 2, 4, 3))?.to_device(&device)?;
        let last = random(1, (1, 2, 1, 3))?.to_device(&device)?;
        let edited = Tensor::cat(&[&x.narrow(2, 0, 3)?, &last], 2)?; // same past, new last token
        let a = causal_attention(&x, &x, &x)?;
        let b = causal_attention(&edited, &edited, &edited)?;
        assert_close(&a.narrow(2, 0, 3)?, &b.narrow(2, 0, 3)?, 1e-12);
        assert!(
            (a - b)?.abs()?.sum_all()?.to_scalar::<f64>()? > 0.1,
            "the last row attends to itself"
        );
    }
    Ok(())
}

#[test]
fn attention_weights_are_probabilities_over_the_past() -> Result<()> {
    let (q, k) = (random(2, (2, 3, 5, 4))?, random(3, (2, 3, 5, 4))?);
    let weights = attention_weights(&q, &k)?; // (2, 3, 5, 5)
    assert_close(&weights.sum(3)?, &Tensor::ones((2, 3, 5), DType::F64, &CPU)?, 1e-12);
    let future = causal_mask(5, DType::F64, &CPU)?.lt(0.)?.to_dtype(DType::F64)?;
    assert_eq!(weights.broadcast_mul(&future)?.sum_all()?.to_scalar::<f64>()?, 0.);
    Ok(())
}

#[test]
fn backprop_through_attention_matches_finite_differences() -> Result<()> {
    let (q, k, v) = (random(1, (1, 2, 4, 3))?, random(2, (1, 2, 4, 3))?, random(3, (1, 2, 4, 3))?);
    assert_grad(&q, |q| causal_attention(q, &k, &v), 1e-7)?;
    assert_grad(&k, |k| causal_attention(&q, k, &v), 1e-7)?;
    assert_grad(&v, |v| causal_attention(&q, &k, v), 1e-7)?;
    Ok(())
}

#[test]
fn the_multi_head_trace_has_the_documented_shapes() -> Result<()> {
    let mut parameters = Parameters::seeded(0, DType::F64, &CPU);
    let layer = MultiHeadAttention::new(parameters.root(), &config())?;
    let trace = layer.trace(&random(0, (1, 5, 12))?)?;
    let shapes: Vec<&[usize]> = trace.shapes().into_iter().map(|(_, shape)| shape).collect();
    let by_head = [1, 3, 5, 4];
    let expected: [&[usize]; 9] = [
        &[1, 5, 36],
        &[1, 5, 3, 3, 4],
        &[1, 5, 3, 4],
        &by_head,
        &[1, 3, 5, 5],
        &[1, 3, 5, 5],
        &by_head,
        &[1, 5, 12],
        &[1, 5, 12],
    ];
    assert_eq!(shapes, expected);
    Ok(())
}

#[test]
fn fused_multi_head_attention_agrees_with_the_traced_steps() -> Result<()> {
    let mut parameters = Parameters::seeded(0, DType::F64, &CPU);
    let layer = MultiHeadAttention::new(parameters.root(), &config())?;
    let x = Var::from_tensor(&random(0, (2, 5, 12))?)?;
    let (traced, fused) = (layer.trace(&x)?.output, layer.forward(&x)?);
    assert_close(&fused, &traced, 1e-12);
    let grad = random(1, (2, 5, 12))?;
    let traced = backward(&(traced * &grad)?.sum_all()?)?;
    let fused = backward(&(fused * &grad)?.sum_all()?)?;
    let tensors = parameters.iter().map(|p| p.var.as_tensor()).chain([x.as_tensor()]);
    for tensor in tensors {
        assert_close(fused.get(tensor).unwrap(), traced.get(tensor).unwrap(), 1e-11);
    }
    Ok(())
}

#[test]
fn dropout_of_attention_weights_takes_the_unfused_path() -> Result<()> {
    let mut parameters = Parameters::seeded(0, DType::F64, &CPU);
    let config = BlockConfig { dropout: 0.5, ..config() };
    let layer = MultiHeadAttention::new(parameters.root(), &config)?;
    let x = random(0, (2, 5, 12))?;
    let change = (layer.forward(&x)? - layer.forward(&x)?)?.abs()?.sum_all()?;
    assert!(change.to_scalar::<f64>()? > 0., "two passes drop different weights");
    let inference = MultiHeadAttention::new(parameters.for_inference().root(), &config)?;
    assert_close(&inference.forward(&x)?, &inference.trace(&x)?.output, 1e-12);
    Ok(())
}

#[test]
fn each_head_is_a_single_head_on_its_own_channels() -> Result<()> {
    let mut parameters = Parameters::seeded(0, DType::F64, &CPU);
    let layer = MultiHeadAttention::new(parameters.root(), &config())?;
    let trace = layer.trace(&random(0, (2, 5, 12))?)?;
    for head in 0..3 {
        // Packed as Q|K|V, then by head: head h has channels 4h..4h+4 of each third.
        let part = |third: usize| trace.qkv.narrow(2, 12 * third + 4 * head, 4); // (B, T, D)
        let alone = causal_attention(
            &part(0)?.contiguous()?,
            &part(1)?.contiguous()?,
            &part(2)?.contiguous()?,
        )?;
        assert_close(&trace.merged.narrow(2, 4 * head, 4)?, &alone, 1e-12);
    }
    Ok(())
}

#[test]
fn a_block_never_looks_ahead_and_trains_every_parameter() -> Result<()> {
    let mut parameters = Parameters::seeded(0, DType::F64, &CPU);
    let block = Block::new(parameters.root(), &config())?;
    let x = random(0, (2, 5, 12))?;
    let edited = Tensor::cat(&[&x.narrow(1, 0, 4)?, &random(9, (2, 1, 12))?], 1)?;
    let past = |x: &Tensor| block.forward(x)?.narrow(1, 0, 4);
    assert_close(&past(&x)?, &past(&edited)?, 1e-12);
    let grads = backward(&block.forward(&x)?.sqr()?.sum_all()?)?;
    assert_gradients_flow(&parameters, &grads)?;
    assert_grad(&x, |x| block.forward(x), 1e-6)?;
    Ok(())
}

#[test]
fn a_block_and_a_step_of_it_are_the_same_on_each_device() -> Result<()> {
    assert_same_step_on_each_device(1e-9, |device| {
        let mut parameters = Parameters::seeded(0, DType::F64, device);
        let block = Block::new(parameters.root(), &config())?;
        let y = block.forward(&random(0, (2, 5, 12))?.to_device(device)?)?;
        let config = AdamWConfig { eps: 1., ..AdamWConfig::default() };
        let grads = backward(&y.sqr()?.mean_all()?)?;
        AdamW::new(&parameters, config)?.step(&grads, 1.)?;
        Ok((y, parameters))
    })
}

#[test]
fn attention_without_positions_ignores_the_order_of_the_past() -> Result<()> {
    let mut parameters = Parameters::seeded(0, DType::F64, &CPU);
    let block = Block::new(parameters.root(), &config())?;
    let x = random(0, (1, 3, 12))?;
    let swapped = x.index_select(&Tensor::new(&[1u32, 0, 2], &CPU)?, 1)?;
    let last = |x: &Tensor| block.forward(x)?.narrow(1, 2, 1);
    assert_close(&last(&x)?, &last(&swapped)?, 1e-12);
    let positions = sinusoidal_positions(3, 12, DType::F64, &CPU)?;
    let with_positions = |x: &Tensor| last(&x.broadcast_add(&positions)?);
    let change = (with_positions(&x)? - with_positions(&swapped)?)?;
    let change = change.abs()?.sum_all()?.to_scalar::<f64>()?;
    assert!(change > 1e-4, "positions must make a difference, got {change}");
    Ok(())
}

#[test]
fn n_head_must_divide_n_embd() {
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    for n_head in [0, 5] {
        let config = BlockConfig { n_head, ..config() };
        let error = Block::new(parameters.root(), &config).unwrap_err().to_string();
        let expected = format!("n_embd 12 is not divisible by n_head {n_head}");
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn readable_heads_attend_where_their_titles_say() -> Result<()> {
    let words: Vec<&str> = "the cat sat on the mat and the dog sat on the rug".split(' ').collect();
    let maps = attention_maps(&words)?.to_vec3::<f32>()?;
    assert_eq!(maps.len(), ReadableHead::ALL.len());
    for query in 1..words.len() {
        let strongest =
            (0..=query).max_by(|&a, &b| maps[0][query][a].total_cmp(&maps[0][query][b]));
        assert_eq!(strongest, Some(query - 1), "the token before `{}`", words[query]);
        let even = 1. / (query + 1) as f32;
        let is_uniform = maps[2][query][..=query].iter().all(|weight| (weight - even).abs() < 1e-6);
        assert!(is_uniform, "uniform weights");
        let same: f32 =
            (0..=query).filter(|&k| words[k] == words[query]).map(|k| maps[1][query][k]).sum();
        assert!(same > 0.5, "weight {same} on earlier `{}`", words[query]);
    }
    Ok(())
}

#[test]
fn a_picture_of_the_wrong_size_is_an_error_and_leaves_no_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("maps.png");
    let maps = attention_maps(&["a", "b"])?;
    assert!(picture::write_attention_png(&path, &maps, &["one title"], &["a", "b"]).is_err());
    assert!(!path.exists());
    picture::write_attention_png(&path, &maps, &["1", "2", "3", "4"], &["a", "b"])?;
    let header = std::fs::read(&path)?;
    assert!(header.starts_with(b"\x89PNG"));
    Ok(())
}
