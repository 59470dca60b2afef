//! 4.1 The merges of aaabdaaabac (predict, 6 minutes, ●○○)
//!
//! Byte-pair encoding merges the most frequent pair of neighbours into a new token, again and
//! again. Of equally frequent pairs the one with the smaller tokens comes first (a before b, a
//! before all new tokens).
//!
//! Hint: Count the pairs, overlapping ones too: `aa` comes in `aaa` twice.
//! Hint: `aa` comes four times. Write the text again with Z for aa: ZabdZabac.
//! Hint: Now `ab` and `Za` come twice each. Of equals, compare the first token of each pair.
//! Question 3: write the text with the second merge, too, and count.
//! Read: crates/part_4_scaling/src/naive_bpe.rs: pub fn train
//! Read: book/src/04_scale.md: ## Tokens: byte-pair encoding

use scaling::naive_bpe::{encode, train};

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    let word: Vec<u32> = b"aaabdaaabac".iter().map(|&byte| u32::from(byte)).collect();
    let merges = train(vec![word.clone()], 2, 256);
    let second_is_ab = merges.get(1) == Some(&(u32::from(b'a'), u32::from(b'b')));
    vec![
        Prediction::choice(
            "The first pair?",
            &["aa", "ab", "da"],
            0,
            "It comes four times, two of them overlapping.",
        )
        .trap(1., "ab comes twice, aa more often")
        .trap(2., "da comes once"),
        Prediction::choice(
            "The second (Z is the new token aa)?",
            &["Za", "ab", "Zb"],
            usize::from(second_is_ab),
            "Za and ab come twice each, and a is the smaller token.",
        )
        .trap(0., "it comes as often as ab; of equals the one with the smaller tokens is first")
        .trap(2., "an a stands between them: aaab is Z a b"),
        Prediction::number(
            "How many tokens has the text after two merges?",
            encode(word, &merges, 256).len() as f64,
            0.,
            "Z ab d Z ab a c: seven of eleven.",
        )
        .trap(9., "that is after one"),
    ]
}
