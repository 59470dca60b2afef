use std::collections::BTreeMap;

use candle_core::{DType, Device, Module, Result, Tensor};

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
fn parameter_names_and_order_follow_the_constructor() -> Result<()> {
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
    assert_eq!(decayed, ["map.weight"], "norms, biases and embeddings have no weight decay");
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
fn inference_copies_share_memory_and_build_no_graph() -> Result<()> {
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    let model = Model::new(parameters.root())?;
    let copy = Model::new(parameters.for_inference().root())?;
    let before = copy.forward(&ids()?)?;
    assert_close(&before, &copy.forward(&ids()?)?, 0.);
    assert!(
        backward(&before.sum_all()?)?.get_ids().count() <= 1,
        "the inference copy built a graph"
    );

    let bias = parameters.iter().last().unwrap();
    bias.var.set(&Tensor::new(&[1f32, 2., 3.], &CPU)?)?;
    let moved = before.broadcast_add(bias.var.as_tensor())?;
    assert_close(&copy.forward(&ids()?)?, &moved, 1e-6);

    let (a, b) = (model.forward(&ids()?)?, model.forward(&ids()?)?);
    assert!(
        (a - b)?.abs()?.sum_all()?.to_scalar::<f32>()? > 0.,
        "dropout uses a new mask each time"
    );
    Ok(())
}

#[test]
fn running_an_inference_copy_keeps_the_dropout_stream() -> Result<()> {
    let run = |use_copy: bool| {
        let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
        let model = Model::new(parameters.root())?;
        let copy = Model::new(parameters.for_inference().root())?;
        if use_copy {
            copy.forward(&ids()?)?;
        }
        model.forward(&ids()?)
    };
    assert_close(&run(true)?, &run(false)?, 0.);
    Ok(())
}

#[test]
fn dropout_keeps_the_mean_and_drops_the_given_fraction() -> Result<()> {
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    let x = Tensor::ones((100, 400), DType::F32, &CPU)?;
    let y = parameters.root().dropout(0.3).forward(&x)?.flatten_all()?.to_vec1::<f32>()?;
    let dropped = y.iter().filter(|&&y| y == 0.).count() as f64 / y.len() as f64;
    let mean = y.iter().map(|&y| f64::from(y)).sum::<f64>() / y.len() as f64;
    assert_close(dropped, 0.3, 0.007); // 4 standard errors are 0.0092
    assert_close(mean, 1., 0.02);
    let starts = y.chunks(8192).map(|part| &part[..64]).collect::<Vec<_>>();
    assert!(starts.windows(2).all(|parts| parts[0] != parts[1]), "each part has its own mask");
    Ok(())
}

#[test]
fn gradients_reach_every_trainable_and_no_frozen_parameter() -> Result<()> {
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
fn parameters_loaded_from_a_file_give_the_same_model() -> Result<()> {
    let mut seeded = Parameters::seeded(0, DType::F32, &CPU);
    Model::new(seeded.root())?;
    let mut loaded = Parameters::from_tensors(tensors(&seeded), "file", 9, DType::F32, &CPU);
    let model = Model::new(loaded.root())?;
    loaded.ensure_all_used()?;
    let copy = Model::new(seeded.for_inference().root())?;
    let loaded_copy = Model::new(loaded.for_inference().root())?;
    assert_close(&loaded_copy.forward(&ids()?)?, &copy.forward(&ids()?)?, 0.);
    assert_gradients_flow(&loaded, &backward(&model.forward(&ids()?)?.sqr()?.sum_all()?)?)
}

#[test]
fn missing_misshapen_and_unexpected_tensors_are_named() -> Result<()> {
    let mut seeded = Parameters::seeded(0, DType::F32, &CPU);
    Model::new(seeded.root())?;
    let open = |change: fn(&mut BTreeMap<String, Tensor>)| {
        let mut tensors = tensors(&seeded);
        change(&mut tensors);
        let mut loaded = Parameters::from_tensors(tensors, "w.safetensors", 0, DType::F32, &CPU);
        let built = Model::new(loaded.root()).and_then(|_| loaded.ensure_all_used());
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
fn a_model_in_16_bits_trains_f32_master_weights() -> Result<()> {
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    Model::new(parameters.root())?;
    let half = Model::new(parameters.with_compute_dtype(DType::F16).root())?;
    let y = half.forward(&ids()?)?;
    assert_eq!(y.dtype(), DType::F16);
    let grads = backward(&y)?;
    assert_gradients_flow(&parameters, &grads)?;
    for parameter in parameters.iter() {
        let grad = grads.get(parameter.var.as_tensor()).expect("checked above");
        assert_eq!(grad.dtype(), DType::F32, "{}", parameter.name);
        parameter.var.set(&(parameter.var.as_tensor() + 1.)?)?;
    }
    let rebuilt = Model::new(parameters.with_compute_dtype(DType::F16).root())?;
    let moved = (rebuilt.map.weight.as_tensor()? - half.map.weight.as_tensor()?)?.min_all()?;
    assert!(
        moved.to_dtype(DType::F32)?.to_scalar::<f32>()? > 0.9,
        "a rebuilt model uses the updated weights"
    );
    Ok(())
}

#[test]
fn a_compute_dtype_rounds_frozen_weights_and_keeps_trained_ones_as_masters() -> Result<()> {
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    Model::new(parameters.root())?;
    parameters.freeze(|name| name.starts_with("table"));
    assert!(!parameters.is_mixed_precision());
    let mut mixed = parameters.into_compute_dtype(DType::F16)?;
    for parameter in mixed.iter() {
        let expected = if parameter.trainable { DType::F32 } else { DType::F16 };
        assert_eq!(parameter.var.dtype(), expected, "{}", parameter.name);
    }
    assert_eq!((mixed.dtype(), mixed.stored_dtype()), (DType::F16, DType::F32));
    assert!(mixed.is_mixed_precision() && mixed.for_inference().is_mixed_precision());
    assert_eq!(Model::new(mixed.root())?.forward(&ids()?)?.dtype(), DType::F16);
    let head = Linear::new(mixed.root().at("map").at_least_f32(), 4, 3, Bias::Yes, Init::Zeros)?;
    assert_eq!(head.weight.as_tensor()?.dtype(), DType::F32, "a head of full precision");
    Ok(())
}

/// The frozen weight, half as large, gives the same results, because products round it anyway.
#[test]
fn bf16_on_the_cpu_stores_frozen_linear_weights_in_bf16_with_the_same_results() -> Result<()> {
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    Model::new(parameters.root())?;
    let trained = parameters.with_compute_dtype(DType::BF16);
    let expected = Model::new(trained.for_inference().root())?.forward(&ids()?)?;
    assert_eq!((expected.dtype(), trained.compute_dtype()), (DType::F32, DType::BF16));
    let in_f32 = Model::new(parameters.for_inference().root())?.forward(&ids()?)?;
    assert!((in_f32 - &expected)?.abs()?.max_all()?.to_scalar::<f32>()? > 0., "not rounded");

    parameters.freeze(|_| true);
    let mut mixed = parameters.into_compute_dtype(DType::BF16)?;
    for parameter in mixed.iter() {
        let stored = if parameter.name == "map.weight" { DType::BF16 } else { DType::F32 };
        assert_eq!(parameter.var.dtype(), stored, "{}", parameter.name);
    }
    assert!(!mixed.is_mixed_precision(), "models have no copies");
    assert_close(Model::new(mixed.for_inference().root())?.forward(&ids()?)?, expected, 0.);
    let head = Linear::new(mixed.root().at("map").at_least_f32(), 4, 3, Bias::Yes, Init::Zeros)?;
    assert_eq!(head.weight.as_tensor()?.dtype(), DType::F32, "a head of full precision");
    Ok(())
}

#[test]
fn the_dropout_stream_can_be_saved_and_restored() -> Result<()> {
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    let model = Model::new(parameters.root())?;
    let dropped = || model.forward(&ids()?)?.flatten_all()?.to_vec1::<f32>();
    let stream = parameters.dropout_rng().expect("a training model has dropout");
    let first = dropped()?;
    assert_ne!(first, dropped()?);
    parameters.set_dropout_rng(stream);
    assert_eq!(first, dropped()?);
    assert!(parameters.for_inference().dropout_rng().is_none());
    Ok(())
}
