//! What became of each model, as a table in Markdown.

use serde::Serialize;

/// What became of a model.
#[derive(Serialize)]
pub(crate) struct VariantResults {
    pub(crate) name: &'static str,
    pub(crate) parameters: usize,
    /// Best validation loss of each seed, nats per byte.
    pub(crate) losses: Vec<f64>,
    /// Of the last seed.
    pub(crate) tokens_per_s: f64,
    /// Of keys and values, per token of a text.
    pub(crate) cache_bytes: usize,
}

/// The rows as a table in Markdown.
pub(crate) fn markdown_table(rows: &[VariantResults]) -> String {
    let mut text = String::from(
        "| model | parameters | validation loss, nats per byte | tokens/s in training | cache, bytes per token |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    for VariantResults { name, parameters, losses, tokens_per_s, cache_bytes } in rows {
        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        let far = losses.iter().map(|loss| (loss - mean).abs()).fold(0., f64::max);
        let spread = if losses.len() > 1 { format!(" ± {far:.4}") } else { String::new() };
        text += &format!(
            "| {name} | {parameters} | {mean:.4}{spread} | {tokens_per_s:.0} | {cache_bytes} |\n"
        );
    }
    text
}
