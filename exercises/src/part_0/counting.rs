//! 0.5 How far does counting reach? (fill in, 15 minutes, ●●○)
//!
//! Before any network: predict each byte of a text by counts of the text itself. The unigram gives
//! byte b the probability count(b) / n. The bigram gives b after a the probability count(a b) /
//! count(a before something). Return the mean surprise, −ln p, of both in nats per byte; the
//! bigram's mean runs over the n − 1 bytes that follow another.
//!
//! These are the numbers that a network has to beat: a loss says little without them.
//!
//! Hint: Two tables of counts, `[0u32; 256]` and one of 256 × 256, and `text.windows(2)`.
//! Hint: The mean runs over the places of the text, so frequent bytes count as often as they come.
//! Hint: For the bigram, sum −ln(count(a b) / count(a)) over `text.windows(2)` and divide by n − 1,
//! where count(a) counts a in all of the text but its last byte.
//! Read: crates/part_2_tiny_gpt/src/cross_entropy.rs: pub fn cross_entropy
//! Read: book/src/00_before.md: ## What counting reaches

/// Mean surprise of the bytes of `text` under its own unigram and bigram counts, in nats.
pub fn counting(text: &[u8]) -> (f64, f64) {
    // SOLUTION: 12 lines: count bytes and pairs, then take the mean of −ln p over the places
    let mut bytes = [0f64; 256];
    let mut firsts = [0f64; 256];
    let mut pairs = vec![[0f64; 256]; 256];
    for &byte in text {
        bytes[usize::from(byte)] += 1.;
    }
    for pair in text.windows(2) {
        firsts[usize::from(pair[0])] += 1.;
        pairs[usize::from(pair[0])][usize::from(pair[1])] += 1.;
    }
    let n = text.len() as f64;
    let surprise = |pair: &[u8]| {
        let [a, b] = [pair[0], pair[1]].map(usize::from);
        -(pairs[a][b] / firsts[a]).ln()
    };
    let unigram = text.iter().map(|&byte| -(bytes[usize::from(byte)] / n).ln()).sum::<f64>() / n;
    let bigram = text.windows(2).map(surprise).sum::<f64>() / (n - 1.);
    (unigram, bigram)
    // END
}

// GRADE

use std::collections::BTreeMap;
use std::f64::consts::LN_2;

use crate::grading::{Answers, Fill, Wrong};

type Counting = fn(&[u8]) -> (f64, f64);

/// Grader. The reference adds entropies over distinct contexts, not places.
pub const GRADE: Fill<Counting> = Fill {
    cases,
    reference: |text| {
        (entropy(text.iter().copied()), conditional_entropy(text.windows(2).map(|p| (p[0], p[1]))))
    },
    tolerance: 1e-6,
    wrong: &[
        Wrong {
            f: |text| {
                let (unigram, bigram) = counting(text);
                (unigram / LN_2, bigram / LN_2)
            },
            says: "these are bits; `ln` gives nats",
            read: "crates/part_2_tiny_gpt/src/bits_per_byte.rs: pub fn bits_per_byte",
        },
        Wrong {
            f: |text| (counting(text).0, entropy(text.windows(2).map(|pair| (pair[0], pair[1])))),
            says: "the pair's probability is joint, p(a b); the bigram's is that of b given a",
            read: "",
        },
        Wrong {
            f: |text| {
                let backwards: Vec<u8> = text.iter().rev().copied().collect();
                (counting(text).0, counting(&backwards).1)
            },
            says: "the pair is divided by the count of its second byte; it is that of the first",
            read: "",
        },
        Wrong {
            f: |text| {
                let (unigram, bigram) = counting(text);
                (unigram, bigram * (text.len() as f64 - 1.) / text.len() as f64)
            },
            says: "the bigram's mean is taken over n bytes; only n − 1 of them follow another",
            read: "",
        },
        Wrong {
            f: |text| {
                let (unigram, bigram) = counting(text);
                let Some((last, before)) = text.split_last() else { return (unigram, bigram) };
                let n = before.iter().filter(|byte| *byte == last).count() as f64;
                let more = if n > 0. { n * ((n + 1.) / n).ln() } else { 0. };
                (unigram, bigram + more / before.len() as f64)
            },
            says: "the first byte is counted in all of the text; the last place has nothing behind \
                   it and does not count",
            read: "",
        },
    ],
};

fn entropy<T: Ord>(items: impl Iterator<Item = T>) -> f64 {
    let mut counts = BTreeMap::new();
    items.for_each(|item| *counts.entry(item).or_insert(0.) += 1.);
    let n: f64 = counts.values().sum();
    counts.values().map(|count| -count / n * f64::ln(count / n)).sum()
}

fn conditional_entropy(pairs: impl Iterator<Item = (u8, u8)>) -> f64 {
    let mut after: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    pairs.for_each(|(a, b)| after.entry(a).or_default().push(b));
    let n: usize = after.values().map(Vec::len).sum();
    let weight = |bytes: &Vec<u8>| bytes.len() as f64 / n as f64;
    after.values().map(|bytes| weight(bytes) * entropy(bytes.iter().copied())).sum()
}

fn cases(f: Counting, answers: &mut Answers) {
    let texts: [(&str, &[u8]); 4] = [
        ("`aab`", b"aab"),
        ("`banana`", b"banana"),
        ("`the moon is high, the night is deep`", b"the moon is high, the night is deep"),
        ("data/tiny.txt", include_bytes!("../../../data/tiny.txt")),
    ];
    for (label, text) in texts {
        answers.part("unigram").record(format!("{label}: unigram"), || Ok(f(text).0));
        answers.part("bigram").record(format!("{label}: bigram"), || Ok(f(text).1));
    }
}
