use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor};

use crate::testing::{assert_close, assert_gradients_flow};
use crate::{Bias, Embedding, Init, LayerNorm, Linear, Parameters, Scope, WeightDecay, backward};

const CPU: Device = Device::Cpu;

struct Model {
    table: Embedding,
    norm: LayerNorm,
    map: Linear,
    dropout: crate::Dropout,
}

impl Model {
    fn new(mut scope: Scope<'_>) -> Result<Self> {
        let normal = Init::Normal { std: 1. };
        Ok(Self {
            table: Embedding::new(scope.at("table"), 5, 4, normal)?,
            norm: LayerNorm::new(scope.at("norm"), 4, 1e-5)?,
            map: Linear::new(scope.at("map"), 4, 3, Bias::Yes, normal)?,
            dropout: scope.dropout(0.5),
        })
    }

    fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let x = self.norm.forward(&self.table.forward(ids)?)?;
        self.map.forward(&self.dropout.forward(&x)?)
    }
}

fn ids() -> Result<Tensor> {
    Tensor::new(&[[0u32, 1, 2], [3, 4, 0]], &CPU)
}

fn tensors(parameters: &Parameters) -> BTreeMap<String, Tensor> {
    parameters.iter().map(|p| (p.name.clone(), p.var.as_tensor().clone())).collect()
}

#[test]
fn names_and_order_follow_the_constructor() -> Result<()> {
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    Model::new(parameters.root())?;
    let names: Vec<_> = parameters.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["table.weight", "norm.weight", "norm.bias", "map.weight", "map.bias"]);
    assert_eq!(parameters.n_parameters(), 5 * 4 + 4 + 4 + 3 * 4 + 3);
    let decayed: Vec<_> = parameters
        .iter()
        .filter(|p| p.weight_decay == WeightDecay::Yes)
        .map(|p| p.name.as_str())
        .collect();
    assert_eq!(decayed, ["map.weight"], "norms, biases and embeddings do not decay");
    Ok(())
}

#[test]
fn the_same_seed_gives_the_same_weights_and_another_seed_others() -> Result<()> {
    let weights = |seed| {
        let mut parameters = Parameters::seeded(seed, DType::F32, &CPU);
        Model::new(parameters.root())?.map.weight.as_tensor()?.flatten_all()?.to_vec1::<f32>()
    };
    assert_eq!(weights(1)?, weights(1)?);
    assert_ne!(weights(1)?, weights(2)?);
    Ok(())
}

#[test]
fn the_inference_twin_shares_memory_builds_no_graph_and_drops_nothing() -> Result<()> {
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    let model = Model::new(parameters.root())?;
    let twin = Model::new(parameters.for_inference().root())?;
    let before = twin.forward(&ids()?)?;
    assert_close(&before, &twin.forward(&ids()?)?, 0.)?;
    assert!(backward(&before.sum_all()?)?.get_ids().count() <= 1, "the twin built a graph");

    let bias = parameters.iter().last().unwrap();
    bias.var.set(&Tensor::new(&[1f32, 2., 3.], &CPU)?)?;
    let moved = before.broadcast_add(bias.var.as_tensor())?;
    assert_close(&twin.forward(&ids()?)?, &moved, 1e-6)?;

    let (a, b) = (model.forward(&ids()?)?, model.forward(&ids()?)?);
    assert!((a - b)?.abs()?.sum_all()?.to_scalar::<f32>()? > 0., "dropout draws anew each time");
    Ok(())
}

#[test]
fn running_the_twin_does_not_disturb_the_dropout_of_training() -> Result<()> {
    let run = |use_twin: bool| {
        let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
        let model = Model::new(parameters.root())?;
        let twin = Model::new(parameters.for_inference().root())?;
        if use_twin {
            twin.forward(&ids()?)?;
        }
        model.forward(&ids()?)
    };
    assert_close(&run(true)?, &run(false)?, 0.)
}

#[test]
fn dropout_keeps_the_mean_and_drops_the_given_share() -> Result<()> {
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    let x = Tensor::ones((100, 400), DType::F32, &CPU)?;
    let y = parameters.root().dropout(0.3).forward(&x)?.flatten_all()?.to_vec1::<f32>()?;
    let dropped = y.iter().filter(|&&y| y == 0.).count() as f64 / y.len() as f64;
    let mean = y.iter().map(|&y| f64::from(y)).sum::<f64>() / y.len() as f64;
    assert!((dropped - 0.3).abs() < 0.01, "{dropped}"); // 4 standard errors are 0.0092
    assert!((mean - 1.).abs() < 0.02, "{mean}");
    let alike = y.chunks(8192).map(|part| &part[..64]).collect::<Vec<_>>();
    assert!(alike.windows(2).all(|parts| parts[0] != parts[1]), "each thread's part is drawn anew");
    Ok(())
}

#[test]
fn every_parameter_gets_a_gradient_and_a_frozen_one_none() -> Result<()> {
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    let model = Model::new(parameters.root())?;
    let loss = |model: &Model| model.forward(&ids()?)?.sqr()?.sum_all();
    assert_gradients_flow(&parameters, &backward(&loss(&model)?)?)?;

    parameters.freeze(|name| name.starts_with("table"));
    let model = Model::new(parameters.root())?;
    assert_gradients_flow(&parameters, &backward(&loss(&model)?)?)?;
    assert_eq!(parameters.trainable().count(), 4);
    Ok(())
}

#[test]
fn a_store_read_from_a_file_gives_the_same_model() -> Result<()> {
    let mut seeded = Parameters::seeded(0, DType::F32, &CPU);
    Model::new(seeded.root())?;
    let mut opened = Parameters::from_tensors(tensors(&seeded), "file", 9, DType::F32, &CPU);
    let model = Model::new(opened.root())?;
    opened.ensure_all_used()?;
    let twin = Model::new(seeded.for_inference().root())?;
    let opened_twin = Model::new(opened.for_inference().root())?;
    assert_close(&opened_twin.forward(&ids()?)?, &twin.forward(&ids()?)?, 0.)?;
    assert_gradients_flow(&opened, &backward(&model.forward(&ids()?)?.sqr()?.sum_all()?)?)
}

#[test]
fn a_missing_a_misshapen_and_an_unexpected_tensor_are_named() -> Result<()> {
    let mut seeded = Parameters::seeded(0, DType::F32, &CPU);
    Model::new(seeded.root())?;
    let open = |change: fn(&mut BTreeMap<String, Tensor>)| {
        let mut tensors = tensors(&seeded);
        change(&mut tensors);
        let mut opened = Parameters::from_tensors(tensors, "w.safetensors", 0, DType::F32, &CPU);
        let built = Model::new(opened.root()).and_then(|_| opened.ensure_all_used());
        built.unwrap_err().to_string()
    };
    let missing = open(|t| drop(t.remove("map.bias")));
    assert!(missing.contains("w.safetensors: tensor `map.bias` is missing"), "{missing}");
    let misshapen = open(|t| {
        t.insert("map.bias".into(), Tensor::zeros(7, DType::F32, &CPU).unwrap());
    });
    assert!(misshapen.contains("map.bias has shape [7], the model expects [3]"), "{misshapen}");
    let extra = open(|t| {
        t.insert("map.scale".into(), Tensor::zeros(7, DType::F32, &CPU).unwrap());
    });
    assert!(extra.contains("unexpected tensor `map.scale`"), "{extra}");
    Ok(())
}

#[test]
fn a_model_in_fewer_bits_learns_on_numbers_kept_in_all_of_them() -> Result<()> {
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    Model::new(parameters.root())?;
    let half = Model::new(parameters.with_compute_dtype(DType::BF16).root())?;
    let y = half.forward(&ids()?)?;
    assert_eq!(y.dtype(), DType::BF16);
    let grads = backward(&y)?;
    assert_gradients_flow(&parameters, &grads)?;
    for parameter in parameters.iter() {
        let grad = grads.get(parameter.var.as_tensor()).expect("checked above");
        assert_eq!(grad.dtype(), DType::F32, "{}", parameter.name);
        parameter.var.set(&(parameter.var.as_tensor() + 1.)?)?;
    }
    let anew = Model::new(parameters.with_compute_dtype(DType::BF16).root())?;
    let moved = (anew.map.weight.as_tensor()? - half.map.weight.as_tensor()?)?.min_all()?;
    assert!(moved.to_dtype(DType::F32)?.to_scalar::<f32>()? > 0.9, "built anew, it sees the step");
    Ok(())
}

#[test]
fn dropouts_stream_can_be_saved_and_set() -> Result<()> {
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    let model = Model::new(parameters.root())?;
    let dropped = || model.forward(&ids()?)?.flatten_all()?.to_vec1::<f32>();
    let stream = parameters.dropout_rng().expect("a model in training drops");
    let first = dropped()?;
    assert_ne!(first, dropped()?);
    parameters.set_dropout_rng(stream);
    assert_eq!(first, dropped()?);
    assert!(parameters.for_inference().dropout_rng().is_none());
    Ok(())
}
