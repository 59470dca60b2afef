//! Problems of a run: sums and differences of up to two digits, which the parts have built in, or
//! with `--quick` of one digit, in files that the tokenizer's stage writes.

use std::path::Path;

use anyhow::Result;
use datasets::arithmetic::ProblemSet;
use datasets::arithmetic_preferences::{eval_pairs, near_miss_pair};
use datasets::arithmetic_questions::{
    self, ArithmeticQuestion, DemonstrationStyle, one_digit_questions, test_examples,
};
use datasets::{Example, Preference, Split};
use serde_json::{Value, json};
use tensor_core::{Rng, atomic_file};

use crate::course::CourseRun;

/// Pairs per question in the file of preferences.
const PAIRS_PER_QUESTION: usize = 2;
/// Seed of the near misses of the test pairs.
const TEST_PAIRS_SEED: u64 = 90;

/// Data that a stage trains on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Data {
    /// Questions with imperfect answers, for fine-tuning.
    Demonstrations,
    /// Pairs of a right answer and a near miss.
    Pairs,
    /// Questions with right answers, for a rule or a reward model.
    Questions,
}

/// Writes the training data of a run with `--quick` into `folder`.
pub(crate) fn write_files(folder: &Path, seed: u64) -> Result<()> {
    let mut rng = Rng::new(seed);
    let questions = one_digit_questions(Split::Train);
    let demonstration = |&question: &ArithmeticQuestion| {
        let example = question.to_demonstration(DemonstrationStyle::Noisy, &mut rng);
        json!({ "prompt": question.text(), "completion": example.completion })
    };
    write_rows(folder, Data::Demonstrations, questions.iter().map(demonstration))?;
    let row = |question: &ArithmeticQuestion| {
        let (question, answer) = (question.text(), question.answer());
        json!({ "question": question, "answer": answer })
    };
    write_rows(folder, Data::Questions, questions.iter().map(row))?;
    let repeated = (0..PAIRS_PER_QUESTION).flat_map(|_| questions.iter());
    let pair = |&question: &ArithmeticQuestion| {
        let Preference { chosen, rejected, .. } = near_miss_pair(question, &mut rng);
        json!({ "prompt": question.text(), "chosen": chosen, "rejected": rejected })
    };
    write_rows(folder, Data::Pairs, repeated.map(pair))
}

fn write_rows(folder: &Path, data: Data, rows: impl Iterator<Item = Value>) -> Result<()> {
    let text: String = rows.map(|row| format!("{row}\n")).collect();
    atomic_file::write(&folder.join(data.file()), text.as_bytes())
}

impl Data {
    fn file(self) -> &'static str {
        match self {
            Self::Demonstrations => "demonstrations.jsonl",
            Self::Pairs => "pairs.jsonl",
            Self::Questions => "questions.jsonl",
        }
    }

    /// Flags that choose this data in a command of a part.
    pub(crate) fn flags(self, course: &CourseRun) -> Vec<String> {
        let built_in: &[&str] = match self {
            Self::Demonstrations => &["--demonstrations=noisy"],
            Self::Pairs | Self::Questions => &[],
        };
        if !course.settings.quick {
            return built_in.iter().map(ToString::to_string).collect();
        }
        let file = course.stage_folder("tokens").join(self.file());
        let mut flags = vec![format!("--data={}", file.display())];
        if !matches!(self, Self::Questions) {
            flags.push("--batch-size=64".into());
        }
        flags
    }
}

/// Some demonstrations, with answers in the style of those that fine-tuning learns from.
pub(crate) fn demonstrations(course: &CourseRun, n: usize) -> Vec<Example> {
    let (style, seed) = (DemonstrationStyle::Noisy, course.settings.seed);
    match course.settings.quick {
        true => {
            let (questions, mut rng) = (one_digit_questions(Split::Train), Rng::new(seed));
            let questions = questions.into_iter().take(n);
            questions.map(|question| question.to_demonstration(style, &mut rng)).collect()
        }
        false => arithmetic_questions::demonstrations(n, style, seed),
    }
}

/// Test questions with their answers. Nothing is trained on them.
pub(crate) fn test_set(course: &CourseRun) -> Vec<Example> {
    match course.settings.quick {
        true => {
            let questions = one_digit_questions(Split::Test).into_iter();
            questions.map(ArithmeticQuestion::to_example).collect()
        }
        false => test_examples(ProblemSet::Sums),
    }
}

/// Pairs of a right answer and a near miss to the test questions.
pub(crate) fn test_pairs(course: &CourseRun) -> Vec<Preference> {
    let mut rng = Rng::new(TEST_PAIRS_SEED);
    match course.settings.quick {
        true => {
            let questions = one_digit_questions(Split::Test).into_iter();
            questions.map(|question| near_miss_pair(question, &mut rng)).collect()
        }
        false => eval_pairs(Split::Test),
    }
}

/// Sentence about the test set, for the report.
pub(crate) fn describe_test_set(course: &CourseRun) -> &'static str {
    match course.settings.quick {
        true => {
            "sums and differences of one digit in twelve phrasings. The problems are too few to \
             hold some out: each question is new to the models in its phrasing, not in its numbers"
        }
        false => {
            "sums and differences of up to two digits in twelve phrasings; none of the problems is \
             in the training data of any stage"
        }
    }
}

/// Sentence about what the models of a run can answer.
pub(crate) fn describe_abilities(course: &CourseRun) -> &'static str {
    match course.settings.quick {
        true => {
            "It has learned sums and differences of one digit, such as `What is 8 - 3?`, one \
             question at a time, and nothing else."
        }
        false => {
            "It has learned sums and differences of up to two digits, and a few products, such as \
             `What is 12 - 7?`, one question at a time, and nothing else: no second turn, no \
             larger numbers, no words."
        }
    }
}
