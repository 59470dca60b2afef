//! 2.5 Who decays? (predict, 6 minutes, ●○○)
//!
//! Weight decay pulls a parameter towards 0 at each step, whatever its gradient. Which of GPT-2's
//! parameters get it?
//!
//! Hint: A matrix multiplies: smaller weights make a smoother function. What would a smaller scale
//! of a norm do?
//! Hint: Norms and biases have their natural value elsewhere (1), or do not multiply inputs.
//! Hint: Matrices decay; norms, biases and embeddings do not.
//! Read: crates/tensor_core/src/parameters/parameter.rs: Weight decay of a parameter
//! Read: book/src/02_tiny_gpt.md: ## Weight decay: who, and why

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    let names = "  h.0.attn.c_attn.weight, h.0.attn.c_attn.bias, h.0.ln_1.weight,\n  \
        h.0.mlp.c_fc.weight, h.0.mlp.c_fc.bias, h.0.mlp.c_proj.weight,\n  \
        wte.weight, wpe.weight, ln_f.weight, ln_f.bias";
    vec![
        Prediction::number(
            format!("How many of these ten decay in this course?\n{names}"),
            3.,
            0.,
            "The three matrices of linear layers: c_attn, c_fc, c_proj.",
        )
        .trap(
            5.,
            "embeddings are looked up: a row of a rare token would shrink for want of gradient",
        )
        .trap(10., "that is what candle's own AdamW does; norms would be pulled from 1 to 0"),
        Prediction::choice(
            "Why not a LayerNorm's weight?",
            &[
                "it has too few numbers to matter",
                "its neutral value is 1, and decay pulls it to 0",
                "it has no gradient",
            ],
            1,
            "At 0 the layer behind it would see its bias only.",
        )
        .trap(0., "there are few, and each scales a whole channel")
        .trap(2., "it has one: it is trained like all others"),
    ]
}
