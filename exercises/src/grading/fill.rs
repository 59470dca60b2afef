//! Grader of a function: [`Fill`] is the one form of every exercise that is solved in code.

use super::answers::Answers;
use super::compare::{agree, close, difference};
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
        let mut lines = Vec::new();
        let mut n_wrong = 0;
        for ((label, got), (_, expected)) in got.iter().zip(expected.iter()) {
            if close(got, expected, self.tolerance) {
                lines.push(format!("✓ {label}"));
            } else {
                n_wrong += 1;
                lines.push(format!("✗ {label}"));
                // One difference is enough to think about.
                if n_wrong == 1 {
                    let difference = difference(got, expected, self.tolerance);
                    lines.extend(difference.into_iter().map(|line| format!("  {line}")));
                }
            }
        }
        if n_wrong == 0 {
            return GradeReport::new(Outcome::Right, lines);
        }
        let mut verdict = GradeReport::new(Outcome::Wrong, lines);
        let same = |wrong: &Wrong<F>| agree(&got, &self.answers(wrong.f), self.tolerance);
        let (whose, mistakes) = match self.wrong.iter().position(same) {
            Some(mistake) => ("Your numbers", vec![mistake]),
            None => ("Some of your numbers", self.in_separate_cases(&got, &expected)),
        };
        for &mistake in &mistakes {
            let says = self.wrong[mistake].says;
            verdict.lines.push(format!("{whose} are those of a known mistake: {says}"));
        }
        verdict.mistake = mistakes.first().copied();
        let read = verdict.mistake.map(|mistake| self.wrong[mistake].read.to_string());
        verdict.read = read.filter(|read| !read.is_empty());
        verdict
    }

    /// Known mistakes that together explain each case in which `got` differs from `expected`:
    /// wherever one of them differs from `expected`, `got` does so in the same way.
    fn in_separate_cases(&self, got: &Answers, expected: &Answers) -> Vec<usize> {
        let differ = |a: &Answers, b: &Answers| -> Vec<bool> {
            let pairs = a.iter().zip(b.iter());
            pairs.map(|((_, a), (_, b))| !close(a, b, self.tolerance)).collect()
        };
        let mut unexplained = differ(got, expected);
        let mut mistakes = Vec::new();
        for (i, wrong) in self.wrong.iter().enumerate() {
            let known = self.answers(wrong.f);
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
        for (label, answer) in answers.iter() {
            if label.ends_with("finite differences")
                && let super::answers::Recording::Failure(message) = answer
            {
                faults.push(format!("{label}: {message}"));
            }
        }
        faults
    }
}
