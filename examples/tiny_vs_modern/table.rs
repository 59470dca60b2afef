//! The results of all models, as a Markdown table.

use serde::Serialize;

/// Results of one model.
#[derive(Serialize)]
pub(crate) struct VariantResults {
    pub(crate) name: &'static str,
    pub(crate) parameters: usize,
    /// Best validation loss of each seed, nats per byte.
    pub(crate) losses: Vec<f64>,
    /// Training speed of the last seed.
    pub(crate) tokens_per_s: f64,
    /// KV cache size per token, in bytes.
    pub(crate) cache_bytes: usize,
}

/// Markdown table of the results.
pub(crate) fn markdown_table(rows: &[VariantResults]) -> String {
    let mut text = String::from(
        "| model | parameters | validation loss, nats per byte | tokens/s in training \
         | cache, bytes per token |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    for VariantResults { name, parameters, losses, tokens_per_s, cache_bytes } in rows {
        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        let deviation = losses.iter().map(|loss| (loss - mean).abs()).fold(0., f64::max);
        let spread = if losses.len() > 1 { format!(" ± {deviation:.4}") } else { String::new() };
        text += &format!(
            "| {name} | {parameters} | {mean:.4}{spread} | {tokens_per_s:.0} | {cache_bytes} |\n"
        );
    }
    text
}
