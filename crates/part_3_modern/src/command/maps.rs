//! The command `maps`: the attention maps of any model on any text, as a picture, and the heads of
//! each layer that attend most to the previous and to the first token.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use attention::picture::write_attention_png;
use candle_core::{DType, Tensor};
use experiment::terminal::printable;
use model_io::{AddSpecialTokens, ParseSpecial, SkipSpecialTokens, Tokenizer};

use super::arguments::MapsArgs;
use crate::Checkpoint;

/// Most tokens in a picture; the labels of more cannot be read.
const MAX_TOKENS: usize = 64;
/// Most heads in a picture of all layers.
const MAX_HEADS: usize = 32;

pub(super) fn run(args: &MapsArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let Checkpoint { model, tokenizer, .. } = args.model.open_for_inference(&device)?;
    let ids = tokenizer.encode(&args.text, AddSpecialTokens::Yes, ParseSpecial::No)?;
    let n = ids.len();
    ensure!(
        (2..=MAX_TOKENS).contains(&n),
        "--text has {n} tokens: a picture needs from 2 to {MAX_TOKENS}"
    );
    let ids_tensor = Tensor::new(&ids[..], &device)?.unsqueeze(0)?; // (1, T)
    let layers: Vec<Tensor> = model
        .attention_weights(&ids_tensor)?
        .iter()
        .map(|weights| weights.squeeze(0)?.to_dtype(DType::F32)) // (H, T, T)
        .collect::<candle_core::Result<_>>()?;
    let drawn = drawn_layers(args.layer.map(|layer| layer.get()), &layers)?;
    print_strongest_heads(&layers)?;
    let (mut maps, mut titles) = (Vec::new(), Vec::new());
    for layer in drawn {
        let n_head = layers[layer].dim(0)?;
        titles.extend((1..=n_head).map(|head| format!("layer {}, head {head}", layer + 1)));
        maps.push(&layers[layer]);
    }
    create_parent(&args.out)?;
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    let labels = labels(&tokenizer, &ids)?;
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    write_attention_png(&args.out, &Tensor::cat(&maps, 0)?, &titles, &labels)?;
    println!("Saved {}", args.out.display());
    Ok(())
}

/// Indices of the layers in the picture: that of `--layer`, else all if their heads fit, else the
/// first.
fn drawn_layers(layer: Option<usize>, layers: &[Tensor]) -> Result<std::ops::Range<usize>> {
    let n_heads = layers.iter().map(|layer| layer.dim(0)).sum::<candle_core::Result<usize>>()?;
    match layer {
        Some(layer) => {
            let n = layers.len();
            ensure!(layer <= n, "--layer {layer}: the model has {n} layers, counted from 1");
            Ok(layer - 1..layer)
        }
        None if n_heads <= MAX_HEADS => Ok(0..layers.len()),
        None => {
            println!("the picture has the first layer; --layer N draws another");
            Ok(0..1)
        }
    }
}

/// Prints, for each of `layers: (H, T, T)`, the head with the largest mean weight on the previous
/// token, and that on the first one.
fn print_strongest_heads(layers: &[Tensor]) -> Result<()> {
    println!("The heads with the largest mean weight");
    for (i, layer) in layers.iter().enumerate() {
        let maps = layer.to_vec3::<f32>()?;
        let strongest = |key_of: fn(usize) -> usize| {
            let mean = |map: &Vec<Vec<f32>>| {
                // From the third token on, previous and first token are different ones.
                let start = 2.min(map.len() - 1);
                let weights = map.iter().enumerate().skip(start).map(|(t, row)| row[key_of(t)]);
                weights.sum::<f32>() / (map.len() - start) as f32
            };
            let means = maps.iter().map(mean).enumerate();
            means.max_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap_or_default()
        };
        let ((previous, weight), (first, first_weight)) = (strongest(|t| t - 1), strongest(|_| 0));
        println!(
            "  layer {:>2}  on the previous token: head {} ({weight:.3})  on the first: head {} \
             ({first_weight:.3})",
            i + 1,
            previous + 1,
            first + 1
        );
    }
    Ok(())
}

/// Each token as a label: its text without control characters, spaces shown.
fn labels(tokenizer: &Tokenizer, ids: &[u32]) -> Result<Vec<String>> {
    let label = |id: &u32| {
        let text = tokenizer.decode(&[*id], SkipSpecialTokens::No)?;
        Ok(printable(&text).replace('\n', "\\n").replace(' ', "_"))
    };
    ids.iter().map(label).collect()
}

fn create_parent(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))
}
