//! Answers, and what is counted of them.

use datasets::Example;
use grpo::GrpoExperience;
use ppo::PromptExample;

use crate::problems::is_right;

/// Answer to a sum.
#[derive(Debug, Clone)]
pub(crate) struct SumAnswer {
    pub(crate) sum: String,
    pub(crate) text: String,
    pub(crate) is_right: bool,
    /// Length in tokens, stop token included.
    pub(crate) n_tokens: usize,
}

/// Means over at least one answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Means {
    /// Share of right answers.
    pub(crate) accuracy: f64,
    /// Share of answers that are worked out.
    pub(crate) worked: f64,
    /// Tokens of an answer.
    pub(crate) length: f64,
}

impl SumAnswer {
    pub(crate) fn new(example: &Example, text: String, n_tokens: usize) -> Self {
        let (sum, is_right) = (example.prompt[0].content.clone(), is_right(&text, example));
        Self { sum, text, is_right, n_tokens }
    }

    /// Answers of `experience`, whose groups are those of `prompts`.
    pub(crate) fn of_groups(prompts: &[PromptExample], experience: &GrpoExperience) -> Vec<Self> {
        let mut texts = experience.completion_texts.iter();
        let mut answers = Vec::with_capacity(texts.len());
        for (prompt, group) in prompts.iter().zip(&experience.groups) {
            for (completion, text) in group.completions.iter().zip(&mut texts) {
                answers.push(Self::new(&prompt.example, text.clone(), completion.tokens.len()));
            }
        }
        answers
    }

    /// Number of terms other than 0.
    pub(crate) fn n_terms(&self) -> usize {
        self.sum.split('+').filter(|term| *term != "0").count()
    }

    pub(crate) fn is_worked(&self) -> bool {
        self.text.starts_with('[')
    }
}

impl Means {
    /// Means over those of `answers` that are `chosen`; `None` if no answer is.
    pub(crate) fn over(answers: &[SumAnswer], chosen: impl Fn(&SumAnswer) -> bool) -> Option<Self> {
        let chosen: Vec<&SumAnswer> = answers.iter().filter(|answer| chosen(answer)).collect();
        let mean = |of: &dyn Fn(&SumAnswer) -> f64| {
            chosen.iter().map(|answer| of(answer)).sum::<f64>() / chosen.len() as f64
        };
        (!chosen.is_empty()).then(|| Self {
            accuracy: mean(&|answer| f64::from(u8::from(answer.is_right))),
            worked: mean(&|answer| f64::from(u8::from(answer.is_worked()))),
            length: mean(&|answer| answer.n_tokens as f64),
        })
    }
}

/// A number of the means `before` and `after` GRPO; a mean over no answers is a dash.
pub(crate) fn change([before, after]: [Option<Means>; 2], number: fn(Means) -> f64) -> String {
    format!("{} → {}", one_digit(before.map(number)), one_digit(after.map(number)))
}

/// Text of a number with one digit after the point, or a dash.
pub(crate) fn one_digit(number: Option<f64>) -> String {
    number.map_or("–".to_string(), |number| format!("{number:.1}"))
}
