//! The attention stage: part 1's three-token example in numbers, and the attention maps of four
//! hand-written heads.

use std::path::Path;

use anyhow::Result;
use attention::by_hand::{SelfAttention, example_tokens};
use attention::readable_heads::{ReadableHead, attention_maps};
use candle_core::Tensor;
use modern::GptModern;
use serde::{Deserialize, Serialize};
use tensor_core::json_file;

use crate::course::CourseRun;
use crate::stage::StageRecord;

const FILE: &str = "maps.json";

/// Attention weights of one head.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AttentionMap {
    pub(crate) title: String,
    pub(crate) tokens: Vec<String>,
    /// Weights (T, T): row t holds the weight of each key for query t.
    pub(crate) weights: Vec<Vec<f32>>,
}

pub(crate) fn run(_: &CourseRun, folder: &Path) -> Result<StageRecord> {
    let trace = SelfAttention::example().forward(&example_tokens());
    println!("Three tokens, one head. Row t: attention weights of token t over tokens 1 to t.\n");
    for (token, row) in trace.weights.rows().into_iter().enumerate() {
        let cells: Vec<String> = row.iter().map(|weight| format!("{weight:.3}")).collect();
        println!("  token {}: {}", token + 1, cells.join(" "));
    }
    let words: Vec<&str> = "the cat sat on the mat and the dog sat on the rug".split(' ').collect();
    let maps = attention_maps(&words)?; // (H, T, T)
    let maps =
        maps_from_weights(&maps, &ReadableHead::ALL.map(|head| head.title().to_string()), &words)?;
    save(folder, &maps)?;
    Ok(StageRecord {
        command: Some("cargo run -p part_1 -- --visualize".into()),
        results: vec!["attention maps of four heads".into()],
        ..StageRecord::default()
    })
}

/// Attention maps of the last layer of `model` for the text with these `ids` and `tokens`.
pub(crate) fn last_layer_maps(
    model: &GptModern,
    ids: &[u32],
    tokens: &[String],
) -> Result<Vec<AttentionMap>> {
    let ids = Tensor::new(ids, model.device())?.unsqueeze(0)?; // (1, T)
    let layers = model.queries_keys_values(&ids)?;
    let Some([q, k, _]) = layers.last() else { return Ok(Vec::new()) };
    // (1, T, H, D) -> (H, T, D)
    let heads = |x: &Tensor| x.squeeze(0)?.transpose(0, 1)?.contiguous();
    let weights = attention::attention_weights(&heads(q)?, &heads(k)?)?; // (H, T, T)
    let titles: Vec<String> =
        (1..=weights.dim(0)?).map(|head| format!("layer {}, head {head}", layers.len())).collect();
    let words: Vec<&str> = tokens.iter().map(String::as_str).collect();
    maps_from_weights(&weights, &titles, &words)
}

/// One map per head of `weights: (H, T, T)`.
fn maps_from_weights(
    weights: &Tensor,
    titles: &[String],
    words: &[&str],
) -> Result<Vec<AttentionMap>> {
    let tokens: Vec<String> = words.iter().map(ToString::to_string).collect();
    let map = |(title, weights): (&String, Vec<Vec<f32>>)| AttentionMap {
        title: title.clone(),
        tokens: tokens.clone(),
        weights,
    };
    Ok(titles.iter().zip(weights.to_vec3()?).map(map).collect())
}

/// Writes the maps of a stage to its folder.
pub(crate) fn save(folder: &Path, maps: &[AttentionMap]) -> Result<()> {
    json_file::write(&folder.join(FILE), &maps)
}

/// Maps of the stage in `folder`; empty if it has none.
pub(crate) fn open(folder: &Path) -> Result<Vec<AttentionMap>> {
    let maps = json_file::read_or_null(&folder.join(FILE))?;
    Ok(if maps.is_null() { Vec::new() } else { serde_json::from_value(maps)? })
}
