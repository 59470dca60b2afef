//! 4.8 Which numbers survive bf16, f16? (predict, 8 minutes, ●●○)
//!
//! bf16 has 8 bits of exponent and 7 of fraction, f16 has 5 and 10. Answer 1 if the number comes
//! back nonzero, finite, and different from its neighbour as asked, else 0.
//!
//! Hint: More exponent, more range; more fraction, more precision.
//! Hint: f16 ends at 65,504 and, downwards, at 6 · 10⁻⁸. bf16 has f32's range.
//! Hint: At 1 the next number is 1 + 2⁻⁷ = 1.0078 in bf16, and 1 + 2⁻¹⁰ = 1.00098 in f16.
//! Read: crates/part_4_scaling/src/grad_scaler.rs: f16
//! Read: book/src/04_scale.md: ## Sixteen bits

use half::{bf16, f16};

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    let yes = |is: bool| f64::from(u8::from(is));
    let ask = |text: &str, is: bool, because, trap| {
        Prediction::number(text, yes(is), 0., because).trap(yes(!is), trap)
    };
    vec![
        ask(
            "Is 1.003 different from 1 in bf16? (1 yes, 0 no)",
            bf16::from_f64(1.003) != bf16::ONE,
            "No: the next number after 1 is 1.0078.",
            "seven bits of fraction: steps of 1/128 at 1",
        ),
        ask(
            "In f16?",
            f16::from_f64(1.003) != f16::ONE,
            "Yes: steps of 1/1024.",
            "ten bits of fraction: steps of 1/1024 at 1",
        ),
        ask(
            "Is 100,000 finite in bf16?",
            bf16::from_f64(1e5).is_finite(),
            "Yes: it has the range of f32.",
            "eight bits of exponent reach 10³⁸",
        ),
        ask(
            "In f16?",
            f16::from_f64(1e5).is_finite(),
            "No: f16 ends at 65,504.",
            "five bits of exponent reach 65,504",
        ),
        ask(
            "A gradient of 10⁻⁸: is it different from 0 in f16?",
            f16::from_f64(1e-8) != f16::ZERO,
            "No: it is what the loss scale is for.",
            "the smallest number above 0 is 6 · 10⁻⁸",
        ),
        ask(
            "In bf16?",
            bf16::from_f64(1e-8) != bf16::ZERO,
            "Yes: no loss scale is needed.",
            "its exponent reaches down to 10⁻³⁸",
        ),
        ask(
            "A weight of 1 gets a step of 0.001, in bf16: does it change?",
            bf16::from_f64(1.001) != bf16::ONE,
            "No: so weights are kept in f32.",
            "the sum is rounded to steps of 1/128",
        ),
    ]
}
