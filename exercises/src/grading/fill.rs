//! Grader of a function: [`Fill`] is the one form of every exercise that is solved in code.

use super::answers::{Answers, Recording};
use super::compare::{agree, close, difference, fail_alike};
use super::verdict::{GradeReport, Outcome};
use crate::runner::work;
use crate::source::ReadingPlace;

/// Grader of functions of type `F`.
pub struct Fill<F: 'static> {
    /// Calls a function in all cases and records what it answers.
    pub cases: fn(F, &mut Answers),
    /// Function that is right: that of the course's crates.
    pub reference: F,
    /// Tolerance: |a − b| ≤ tolerance · (1 + |b|).
    pub tolerance: f64,
    /// Mistakes that the grader recognizes by their answers.
    pub wrong: &'static [Wrong<F>],
}

/// Known mistake.
pub struct Wrong<F> {
    /// Function with the mistake.
    pub f: F,
    /// The mistake in words, as what the learner's code does.
    pub says: &'static str,
    /// Place to read about it, as the head of an exercise names places; empty: the exercise's.
    pub read: &'static str,
}

impl<F: Copy> Fill<F> {
    fn answers(&self, f: F) -> Answers {
        let mut answers = Answers::new();
        (self.cases)(f, &mut answers);
        answers
    }

    /// Verdict on `f`.
    pub fn judge(&self, f: F) -> GradeReport {
        let got = self.answers(f);
        if got.unwritten() {
            return GradeReport::new(Outcome::Unwritten, Vec::new());
        }
        let expected = self.answers(self.reference);
        let lines = compared(&got, &expected, self.tolerance);
        if agree(&got, &expected, None, self.tolerance) {
            return GradeReport::new(Outcome::Right, lines);
        }
        let mut verdict = GradeReport::new(Outcome::Wrong, lines);
        for (whose, mistake) in self.mistakes(&got, &expected) {
            let wrong = &self.wrong[mistake];
            verdict.lines.push(format!("{whose} of a known mistake: {}", wrong.says));
            if verdict.mistake.is_none() {
                verdict.mistake = Some(mistake);
                verdict.read = (!wrong.read.is_empty()).then(|| wrong.read.to_string());
            }
        }
        verdict
    }

    /// Known mistakes with the answers `got`, each behind the words that say whose it is: one with
    /// all of them, or else one for each part of the result that is not as `expected`, or else
    /// several in separate cases.
    fn mistakes(&self, got: &Answers, expected: &Answers) -> Vec<(String, usize)> {
        let find = |part: Option<&str>| {
            // Any error is like any other, so without a wrong number it has to be the same error.
            let has_wrong_number = got.iter().zip(expected.iter()).any(|(got, expected)| {
                part.is_none_or(|part| part == got.part)
                    && is_numbers(&got.recording)
                    && !close(&got.recording, &expected.recording, self.tolerance)
            });
            self.wrong.iter().position(|wrong| {
                let known = self.answers(wrong.f);
                agree(got, &known, part, self.tolerance)
                    && (has_wrong_number || fail_alike(got, &known, part))
            })
        };
        if let Some(mistake) = find(None) {
            let all_fail = got.iter().all(|case| !is_numbers(&case.recording));
            let what = if all_fail { "This error is that" } else { "Your numbers are those" };
            return vec![(what.to_string(), mistake)];
        }
        let is_wrong = |part: &&str| !agree(got, expected, Some(*part), self.tolerance);
        let wrong_parts = got.parts().into_iter().filter(is_wrong);
        let in_parts: Vec<_> = wrong_parts
            .filter_map(|part| Some((format!("{part}: Your numbers are those"), find(Some(part))?)))
            .collect();
        if got.parts().len() > 1 && !in_parts.is_empty() {
            return in_parts;
        }
        let separate = self.in_separate_cases(got, expected).into_iter();
        separate.map(|mistake| ("Some of your numbers are those".to_string(), mistake)).collect()
    }

    /// Known mistakes that together explain each case in which `got` differs from `expected`:
    /// wherever one of them differs from `expected`, `got` does so in the same way.
    fn in_separate_cases(&self, got: &Answers, expected: &Answers) -> Vec<usize> {
        let differ = |a: &Answers, b: &Answers| -> Vec<bool> {
            let pairs = a.iter().zip(b.iter());
            pairs.map(|(a, b)| !close(&a.recording, &b.recording, self.tolerance)).collect()
        };
        let mut unexplained = differ(got, expected);
        let mut mistakes = Vec::new();
        for (i, wrong) in self.wrong.iter().enumerate() {
            let known = self.answers(wrong.f);
            if !fail_alike(&known, got, None) {
                continue; // another error in the same case
            }
            let (wrongs, others) = (differ(&known, expected), differ(&known, got));
            let is_made = wrongs.iter().zip(&others).all(|(wrong, other)| !(*wrong && *other));
            if is_made && wrongs.iter().zip(&unexplained).any(|(wrong, open)| *wrong && *open) {
                mistakes.push(i);
                unexplained.iter_mut().zip(wrongs).for_each(|(open, wrong)| *open &= !wrong);
            }
        }
        if unexplained.contains(&true) {
            mistakes.clear();
        }
        mistakes
    }

    /// Faults of the grader itself: a known mistake that is accepted or not named, or whose place
    /// to read does not exist; a gradient of the reference that differs from finite differences.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (i, wrong) in self.wrong.iter().enumerate() {
            let verdict = self.judge(wrong.f);
            if verdict.outcome != Outcome::Wrong || verdict.mistake != Some(i) {
                faults.push(format!("the mistake \"{}\" is not named: {verdict:?}", wrong.says));
            }
            let place = ReadingPlace::parse(wrong.read);
            let is_there = place.is_some_and(|place| place.locate(&work::root()).is_some());
            if !wrong.read.is_empty() && !is_there {
                faults.push(format!("{:?} does not exist", wrong.read));
            }
        }
        let mut answers = Answers::with_finite_differences();
        (self.cases)(self.reference, &mut answers);
        for answer in answers.iter() {
            if answer.label.ends_with("finite differences")
                && let Recording::Failure { message, .. } = &answer.recording
            {
                faults.push(format!("{}: {message}", answer.label));
            }
        }
        faults
    }
}

fn is_numbers(recording: &Recording) -> bool {
    matches!(recording, Recording::Numbers { .. })
}

/// Line for each case, right or wrong. One difference of each part of the result is explained; an
/// error is explained alone, since the later cases mostly fail with it.
fn compared(got: &Answers, expected: &Answers, tolerance: f64) -> Vec<String> {
    let mut lines = Vec::new();
    let mut explained = Vec::new();
    let mut failed = false;
    let mut n_more = 0;
    for (got, expected) in got.iter().zip(expected.iter()) {
        if close(&got.recording, &expected.recording, tolerance) {
            lines.push(format!("✓ {}", got.label));
            continue;
        }
        if failed {
            n_more += 1;
            continue;
        }
        lines.push(format!("✗ {}", got.label));
        if explained.contains(&got.part) {
            continue;
        }
        explained.push(got.part);
        let difference = difference(&got.recording, &expected.recording, tolerance);
        lines.extend(difference.into_iter().map(|line| format!("  {line}")));
        failed = !is_numbers(&got.recording);
        if failed && !got.inputs.is_empty() {
            lines.push(format!("  shapes of the inputs: {}", got.inputs));
        }
    }
    match n_more {
        0 => {}
        1 => lines.push("✗ 1 more case".to_string()),
        n => lines.push(format!("✗ {n} more cases")),
    }
    lines
}
