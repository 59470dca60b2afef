//! Mixtures of data sets.

use anyhow::Result;

use crate::mixture::{Mixture, StoppingStrategy};

fn mixture(strategy: StoppingStrategy) -> Mixture<Vec<(char, usize)>> {
    let rows = |name: char, n: usize| (0..n).map(|row| (name, row)).collect();
    Mixture { sources: vec![(rows('a', 1000), 3.), (rows('b', 4000), 1.)], strategy }
}

#[test]
fn rows_are_drawn_by_weight_in_the_order_of_their_source() {
    let mixed = mixture(StoppingStrategy::FirstExhausted);
    let rows = mixed.interleave(1);
    assert_eq!((&rows, rows.last()), (&mixed.interleave(1), Some(&('a', 999))));
    assert_ne!(rows, mixed.interleave(2));
    // 1000 rows are three quarters, up to three standard deviations.
    assert!((rows.len() as f64 - 1333.).abs() < 64., "{}", rows.len());
    for name in ['a', 'b'] {
        let of_source = rows.iter().filter(|row| row.0 == name).map(|row| row.1);
        assert!(of_source.enumerate().all(|(n, row)| n == row), "{name}");
    }
}

#[test]
fn shorter_sources_begin_anew_until_all_are_exhausted() {
    let rows = mixture(StoppingStrategy::AllExhausted).interleave(1);
    assert_eq!(rows.last(), Some(&('b', 3999)));
    let of_a: Vec<usize> = rows.iter().filter(|row| row.0 == 'a').map(|row| row.1).collect();
    assert!((of_a.len() as f64 - 12_000.).abs() < 700., "{}", of_a.len());
    assert!(of_a.iter().enumerate().all(|(n, row)| n % 1000 == *row));
    let empty = Mixture { sources: vec![(vec![], 1.), (vec![1], 1.)], ..mixed_numbers() };
    assert!(empty.interleave(1).is_empty());
}

fn mixed_numbers() -> Mixture<Vec<usize>> {
    Mixture { sources: Vec::new(), strategy: StoppingStrategy::FirstExhausted }
}

#[test]
fn a_mixture_is_names_with_weights() -> Result<()> {
    let parse = |data: &str| Mixture::parse(data, StoppingStrategy::AllExhausted);
    assert_eq!(parse("a.jsonl")?, None);
    let expected = vec![("a=b.jsonl".to_string(), 0.7), ("o/n".to_string(), 0.3)];
    assert_eq!(parse("a=b.jsonl=0.7, o/n=.3")?.map(|mixture| mixture.sources), Some(expected));
    for (data, message) in [
        ("a.jsonl,b.jsonl=1", "`a.jsonl` has no weight, as in a.jsonl=0.7"),
        ("a=1,b=0", "the weight of `b` must be"),
        ("a=1,b=x", "the weight of `a` must be a number"),
        ("a=1,b=inf", "must be a number"),
        ("a=10000,b=1", "weight of `b` must be a number, at least a thousandth"),
    ] {
        let error = parse(data).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    Ok(())
}
