//! Part 1: three tokens look at each other, and four heads at a sentence.

use std::path::Path;

use anyhow::Result;
use attention::by_hand::{SelfAttention, example_tokens};
use attention::picture::attention_grid;
use attention::readable_heads::{ReadableHead, attention_maps};

/// Prints who attends to whom among three tokens.
pub(crate) fn show() {
    let trace = SelfAttention::example().forward(&example_tokens());
    println!("Three tokens, one head. Row t: how much token t takes from each token before it.\n");
    for (token, row) in trace.weights.rows().into_iter().enumerate() {
        let cells: Vec<String> = row.iter().map(|weight| format!("{weight:.3}")).collect();
        let output: Vec<String> =
            trace.output.row(token).iter().map(|x| format!("{x:.3}")).collect();
        println!(
            "  token {}: takes {}  ->  gives [{}]",
            token + 1,
            cells.join(" "),
            output.join(" ")
        );
    }
    println!("\nStep by step, with every matrix: cargo run -p part_1");
}

/// Draws the heads whose weights are set by hand.
pub(crate) fn draw(path: &Path) -> Result<()> {
    let words: Vec<&str> = "the cat sat on the mat and the dog sat on the rug".split(' ').collect();
    attention_grid(
        path,
        &attention_maps(&words)?,
        &ReadableHead::ALL.map(ReadableHead::title),
        &words,
    )
}
