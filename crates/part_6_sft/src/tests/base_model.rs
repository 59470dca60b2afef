//! Base model: its pretraining text.

use crate::base_model;

#[test]
fn the_pretraining_text_contains_no_problem() {
    let text = base_model::pretraining_documents(base_model::N_COUNTING_LINES, 7)
        .join("\n\n")
        .to_lowercase();
    for sign in ["+", "=", "*", " - ", "plus", "minus", "times ", "take "] {
        let digits = text.lines().filter(|line| line.contains(|c: char| c.is_ascii_digit()));
        assert_eq!(digits.filter(|line| line.contains(sign)).count(), 0, "`{sign}`");
    }
    for word in [" plus ", " minus ", " times ", " makes ", " more"] {
        assert!(!text.contains(word), "{word}");
    }
    let counted = text.lines().filter(|line| line.contains(|c: char| c.is_ascii_digit()));
    for line in counted {
        let numbers: Vec<i64> =
            line.split(", ").map(|number| number.parse().expect("counting")).collect();
        assert!(numbers.windows(2).all(|w| (w[1] - w[0]).abs() == 1), "{line}");
    }
}
