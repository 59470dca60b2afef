//! Texts of a model, from which rewards read numbers and expressions.
#![no_main]

use datasets::answers::{answer_after_marker, extract_answer_tag, final_answer};
use datasets::countdown::Puzzle;
use datasets::numbers::{approx_equal, last_integer, last_number, number_strings, single_number};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let numbers = number_strings(text);
    if let Some(single) = single_number(text) {
        assert_eq!(last_number(text), Some(single));
        assert_eq!(numbers.len(), 1);
    }
    if let Some(last) = last_number(text) {
        assert!(last.is_finite() && approx_equal(last, last));
        assert_eq!(numbers.last().and_then(|number| number.parse().ok()), Some(last));
    }
    if let Some(last) = last_integer(text) {
        assert_eq!(last_number(text), Some(last as f64));
    }
    assert!(answer_after_marker(text).is_none() || final_answer(text).is_some());
    let _ = extract_answer_tag(text);
    let (answer, expression) = text.split_once('\n').unwrap_or(("3 5 7 = 22", text));
    if let Some(puzzle) = Puzzle::parse(answer) {
        assert_eq!(Puzzle::parse(&puzzle.answer()), Some(puzzle.clone()));
        let _ = puzzle.is_solved_by(expression);
    }
});
