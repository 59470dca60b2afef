//! Countdown: right and wrong expressions.

use std::collections::HashSet;

use tensor_core::Rng;

use crate::countdown::{Puzzle, demonstrations, splits};

fn puzzle() -> Puzzle {
    Puzzle { numbers: vec![3, 5, 7], target: 22 }
}

#[test]
fn a_puzzle_is_solved_by_an_expression_of_all_numbers_with_the_target() {
    for right in ["3 * 5 + 7", "(5*3)+7", "7 + 5 × 3", " ((7)) + (3 * 5) "] {
        assert!(puzzle().is_solved_by(right), "{right}");
    }
    for wrong in [
        "22",
        "3 * 5",
        "3 * 5 + 7 + 0",
        "3 * 5 + 7 =",
        "7 + 15",
        "10 + 5 + 7",
        "3 + 3 + 5 + 11",
        "3 * 5 + 7)",
        "(3 * 5 + 7",
        "",
        "3 5 7",
        "35 + 7",
        "3 * 5 - 7",
        "3 ** 5 + 7",
        "-3 * -5 + 7",
        "3.0 * 5 + 7",
        "3 * 5 + 7 / 0",
    ] {
        assert!(!puzzle().is_solved_by(wrong), "{wrong}");
    }
    let twice = Puzzle { numbers: vec![1, 2, 2], target: 3 };
    assert!(!twice.is_solved_by("1 + 2"), "a number that is there twice is used twice");
    assert!(twice.is_solved_by("2 + 2 - 1"));
}

#[test]
fn division_is_exact_and_overflow_is_not_a_solution() {
    let thirds = Puzzle { numbers: vec![1, 3, 3], target: 1 };
    assert!(thirds.is_solved_by("1 / 3 * 3"));
    let close = Puzzle { numbers: vec![10, 3], target: 3 };
    assert!(!close.is_solved_by("10 / 3"));
    assert!(!Puzzle { numbers: vec![1, 0], target: 0 }.is_solved_by("1 / 0"));
    let huge = Puzzle { numbers: vec![i64::MAX; 9], target: 1 };
    assert!(!huge.is_solved_by(&[i64::MAX.to_string().as_str(); 9].join(" * ")), "no overflow");
    assert!(!puzzle().is_solved_by(&"(".repeat(100_000)), "no stack overflow");
}

#[test]
fn a_puzzle_is_parsed_from_its_answer() {
    let answer = puzzle().answer();
    assert_eq!(answer, "3 5 7 = 22");
    assert_eq!(Puzzle::parse(&answer), Some(puzzle()));
    for invalid in ["", "22", "= 22", "3 5 = ", "a b = 3"] {
        assert_eq!(Puzzle::parse(invalid), None, "{invalid}");
    }
}

#[test]
fn every_sampled_puzzle_is_solvable() {
    let mut rng = Rng::new(1);
    for _ in 0..200 {
        let puzzle = Puzzle::sample(3, &mut rng);
        assert!(is_solvable(&puzzle), "{puzzle:?}");
        assert!(puzzle.question().contains(&puzzle.target.to_string()));
    }
}

/// True if an expression a ∘ b ∘ c, in any order and with brackets around either pair, solves
/// `puzzle`.
fn is_solvable(puzzle: &Puzzle) -> bool {
    let n = &puzzle.numbers;
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    orders.iter().any(|[i, j, k]| {
        ["+", "-", "*", "/"].iter().any(|x| {
            ["+", "-", "*", "/"].iter().any(|y| {
                puzzle.is_solved_by(&format!("({} {x} {}) {y} {}", n[*i], n[*j], n[*k]))
                    || puzzle.is_solved_by(&format!("{} {x} ({} {y} {})", n[*i], n[*j], n[*k]))
            })
        })
    })
}

#[test]
fn no_puzzle_is_in_two_splits_or_was_demonstrated() {
    let splits = splits();
    let all = [demonstrations(), splits.train, splits.validation, splits.test];
    assert_eq!(all.each_ref().map(Vec::len), [10_000, 3_000, 200, 300]);
    let mut seen = HashSet::new();
    for example in all.iter().flatten() {
        let mut puzzle = Puzzle::parse(&example.completion).unwrap();
        puzzle.numbers.sort_unstable(); // the order of the numbers makes no other puzzle
        assert!(seen.insert((puzzle.numbers, puzzle.target)), "{}", example.completion);
    }
}

/// The splits are cut from shuffled puzzles: in the order of random draws, 46 % of the
/// demonstrations were easy, and 11 % of the puzzles for training.
#[test]
fn every_split_has_the_same_share_of_easy_puzzles() {
    let splits = splits();
    // Tolerances of three standard deviations: the share is 36 % of all puzzles.
    for (examples, tolerance) in [
        (demonstrations(), 0.015),
        (splits.train, 0.026),
        (splits.validation, 0.1),
        (splits.test, 0.083),
    ] {
        let puzzles = examples.iter().map(|example| Puzzle::parse(&example.completion).unwrap());
        let n_easy = puzzles.filter(is_easy).count();
        let share = n_easy as f64 / examples.len() as f64;
        assert!((share - 0.36).abs() < tolerance, "{share} of {}", examples.len());
    }
}

/// True if + and − alone solve `puzzle`, which has three numbers.
fn is_easy(puzzle: &Puzzle) -> bool {
    let &[a, b, c] = puzzle.numbers.as_slice() else { return false };
    [a + b + c, a + b - c, a - b + c, b + c - a, a - b - c, b - a - c, c - a - b]
        .contains(&puzzle.target)
}
