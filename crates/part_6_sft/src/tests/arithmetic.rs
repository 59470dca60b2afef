//! Arithmetic task: the splits are disjoint, the answers are right, and the pretraining text
//! contains no problem.

use std::collections::BTreeSet;

use crate::arithmetic::{ArithmeticProblem, Operation, ProblemSet, Split};
use crate::arithmetic_questions::{
    ArithmeticQuestion, DemonstrationStyle, demonstrations, questions,
};
use crate::base_model;

const SPLITS: [Split; 3] = [Split::Train, Split::Validation, Split::Test];

#[test]
fn splits_are_disjoint_and_cover_all_problems() {
    for (set, all) in
        [(ProblemSet::Sums, 100 * 101 / 2 + 100 * 100), (ProblemSet::Products, 13 * 14 / 2)]
    {
        let keys = SPLITS.map(|split| {
            set.problems(split)
                .into_iter()
                .map(ArithmeticProblem::canonical)
                .collect::<BTreeSet<ArithmeticProblem>>()
        });
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            assert!(keys[a].is_disjoint(&keys[b]), "{set:?}: {:?} and {:?}", SPLITS[a], SPLITS[b]);
        }
        assert_eq!(keys.iter().map(BTreeSet::len).sum::<usize>(), all);
    }
}

#[test]
fn demonstrations_use_training_problems_only() {
    let held_out: BTreeSet<ArithmeticProblem> = [ProblemSet::Sums, ProblemSet::Products]
        .into_iter()
        .flat_map(|set| [Split::Validation, Split::Test].map(|split| set.problems(split)))
        .flatten()
        .map(ArithmeticProblem::canonical)
        .collect();
    let mut counts = [Operation::Add, Operation::Subtract, Operation::Multiply].map(|one| (one, 0));
    for example in demonstrations(20_000, DemonstrationStyle::Clean, 3) {
        let text = &example.prompt[0].content;
        let problem = parse_question(text);
        assert!(!held_out.contains(&problem.canonical()), "{text}");
        for (operation, n) in &mut counts {
            *n += usize::from(*operation == problem.operation);
        }
    }
    assert!(counts.iter().all(|(_, n)| *n > 1000), "{counts:?}");
}

/// Problem of a question, parsed from its text.
fn parse_question(text: &str) -> ArithmeticProblem {
    let [a, b] = numbers(text)[..] else { panic!("{text}") };
    let (left, operation, right) = match () {
        () if text.starts_with("Take") => (b, Operation::Subtract, a),
        () if text.contains('+') || text.contains("plus") || text.starts_with("Add") => {
            (a, Operation::Add, b)
        }
        () if text.contains(" - ") || text.contains("minus") => (a, Operation::Subtract, b),
        () => (a, Operation::Multiply, b),
    };
    ArithmeticProblem { left, operation, right }
}

fn numbers(text: &str) -> Vec<i64> {
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty());
    numbers.map(|word| word.parse().expect("a number")).collect()
}

#[test]
fn demonstrated_completions_answer_their_questions() {
    // Parsed from the text, independently of the generator.
    for example in demonstrations(3000, DemonstrationStyle::Clean, 1) {
        let text = &example.prompt[0].content;
        let ArithmeticProblem { left, operation, right } = parse_question(text);
        let answer = match operation {
            Operation::Add => left + right,
            Operation::Subtract => left - right,
            Operation::Multiply => left * right,
        };
        assert_eq!(example.completion, answer.to_string(), "{text}");
    }
}

#[test]
fn twelve_phrasings_differ_and_alternate() {
    let problem = ArithmeticProblem { left: 12, operation: Operation::Subtract, right: 7 };
    let texts = (0..ArithmeticQuestion::N_PHRASINGS)
        .map(|phrasing| ArithmeticQuestion { problem, phrasing }.text());
    let texts: BTreeSet<String> = texts.collect();
    assert_eq!(texts.len(), 12);
    assert!(texts.contains("What is 12 - 7? Answer with an integer."));
    assert_eq!(ArithmeticQuestion { problem, phrasing: 0 }.answer(), "5");
    let held_out = questions(ProblemSet::Sums, Split::Test);
    assert_eq!(held_out.len(), 500);
    assert!(held_out.iter().enumerate().all(|(i, question)| question.phrasing == i % 12));
    assert_eq!(held_out, questions(ProblemSet::Sums, Split::Test), "deterministic");
}

#[test]
fn noisy_demonstrations_differ_by_full_stops_only() {
    let (clean, noisy) = (
        demonstrations(4000, DemonstrationStyle::Clean, 5),
        demonstrations(4000, DemonstrationStyle::Noisy, 5),
    );
    let mut stops = 0;
    for (clean, noisy) in clean.iter().zip(&noisy) {
        assert_eq!(clean.prompt, noisy.prompt);
        assert_eq!(clean.completion, noisy.completion.trim_end_matches('.'));
        stops += usize::from(noisy.completion.ends_with('.'));
    }
    let share = stops as f64 / 4000.;
    assert!((share - 0.8 * 5. / 12.).abs() < 0.03, "{share}");
}

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
