//! 3.4 Right at once, wrong in pieces (find the bug, 8 minutes, ●●○)
//!
//! With a cache, a text is read in pieces: each new piece is rotated (RoPE) and stored. Read at
//! once, the keys are right; in pieces they are not, though every piece alone looks fine. Three
//! lines at most.
//!
//! Hint: At which position does the first token of the second piece stand?
//! Hint: Positions go on where the cache ends.
//! Hint: `rotate(x, cache.len() + t, ..)`, where `cache.len()` is taken before the piece is stored.
//! Read: crates/part_3_modern/src/attention.rs: pub fn forward
//! Read: book/src/03_modern.md: ## RoPE: a position is an angle

use exercises::part_3::rotate::rotate;

/// Keys in the cache after reading `pieces`, each a list of tokens' keys before rotation.
pub fn wrong_in_pieces(pieces: &[Vec<Vec<f64>>]) -> Vec<Vec<f64>> {
    let mut cache: Vec<Vec<f64>> = Vec::new();
    for piece in pieces {
        let start = cache.len();
        for (t, key) in piece.iter().enumerate() {
            // BUG
            cache.push(rotate(key, start + t, 10_000.));
            //| cache.push(rotate(key, t, 10_000.));
            // END
        }
        let _ = start;
    }
    cache
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Cache = fn(&[Vec<Vec<f64>>]) -> Vec<Vec<f64>>;

/// Grader. The reference reads the text at once.
pub const GRADE: Fill<Cache> = Fill {
    cases,
    reference: |pieces| {
        let keys = pieces.iter().flatten().enumerate();
        keys.map(|(position, key)| rotate(key, position, 10_000.)).collect()
    },
    tolerance: 1e-9,
    wrong: &[Wrong {
        f: |pieces| {
            let mut cache: Vec<Vec<f64>> = Vec::new();
            for piece in pieces {
                for (t, key) in piece.iter().enumerate() {
                    cache.push(rotate(key, cache.len() + t, 10_000.));
                }
            }
            cache
        },
        says: "the offset is counted twice: the length of the cache grows within the piece",
        read: "",
    }],
};

fn cases(f: Cache, answers: &mut Answers) {
    for cut in [&[5][..], &[2, 3], &[1, 1, 3], &[4, 1]] {
        let mut token = || (0..4).map(|_| answers.rng().normal()).collect::<Vec<f64>>();
        let pieces: Vec<Vec<Vec<f64>>> =
            cut.iter().map(|n| (0..*n).map(|_| token()).collect()).collect();
        answers.record(format!("read in pieces of {cut:?}"), || Ok(f(&pieces)));
    }
}
