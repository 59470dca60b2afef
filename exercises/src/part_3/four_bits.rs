//! 3.14 Four bits: size and error (predict, 6 minutes, ●●○)
//!
//! ggml's Q4_0 stores 32 weights in a block: one scale in f16 and 32 integers of 4 bits.
//!
//! Hint: 2 bytes of scale and 16 bytes of integers.
//! Hint: 18 bytes for 32 weights.
//! Hint: The integers run from −8 to 7, so a step is about 1/8 of the largest weight of the block,
//! and the rounding error at most half of that.
//! Read: crates/tensor_core/src/quantized/format.rs: Q4_0
//! Read: book/src/beyond_one_machine.md: ## Bytes of a weight

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    vec![
        Prediction::number(
            "How many bits per weight is that?",
            18. * 8. / 32.,
            0.01,
            "18 bytes for 32 weights: 4.5 bits.",
        )
        .trap(4., "the scale of the block is shared by 32 weights: half a bit each")
        .trap(5., "an f16 scale has 16 bits, for 32 weights"),
        Prediction::number(
            "How many GB do 8 billion weights take (10⁹ bytes)?",
            8. * 4.5 / 8.,
            0.05,
            "4.5 GB, against 16 in bf16.",
        )
        .trap(4., "the scales are missing"),
        Prediction::choice(
            "One weight of a block is ten times as large as the others. What happens to these?",
            &["nothing", "most become 0", "they overflow"],
            1,
            "The step is an eighth of the largest: a weight of a tenth of it rounds to 0 or to one \
             step.",
        )
        .trap(0., "the scale of a block follows its largest weight")
        .trap(2., "the scale is made so that the largest fits"),
    ]
}
