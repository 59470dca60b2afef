//! 3.10 What the cache saves (predict, 8 minutes, ●●○)
//!
//! A model writes 1,000 tokens, beginning with nothing. Without a cache it reads the whole text
//! anew for each of them; with a cache it reads one token at a time. A "row" is one token going
//! once through the matrices of all layers.
//!
//! Hint: Token n needs n rows without a cache. Question 5: what has to be kept from one token to
//! the next?
//! Hint: 1 + 2 + ... + 1000. With a cache each token is one row.
//! Hint: Time per token: proportional to n without; nearly constant with, until attention's scores
//! weigh.
//! Read: book/src/03_modern.md: ## The KV cache: nothing is computed twice

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    vec![
        Prediction::number("Rows in all, without a cache?", 500_500., 1000., "1 + 2 + ... + 1000.")
            .trap(1e6, "the first tokens need short texts: half of that"),
        Prediction::number("And with one?", 1000., 1.5, "One per token.")
            .trap(500_500., "keys and values of a token never change: it is read once"),
        Prediction::number(
            "Log of the time per token over log n: the slope, without a cache?",
            1.,
            0.15,
            "About 1: twice as long a text takes twice as long, for each further token.",
        )
        .trap(2., "that is the slope of the total")
        .trap(0., "that is the slope with a cache"),
        Prediction::number(
            "And with a cache, while n is far below 6 times the width?",
            0.,
            0.15,
            "About 0: one row, and n scores, which weigh little yet.",
        )
        .trap(1., "the scores grow with n, the matrices do not, and they are most of the work"),
        Prediction::choice(
            "What does it cost?",
            &["nothing", "memory that grows with the text", "a little accuracy"],
            1,
            "Two vectors per token, layer and key head. The numbers are the same.",
        )
        .trap(0., "somewhere the keys and values have to be")
        .trap(2., "a cached key is the key that would be computed again"),
    ]
}
