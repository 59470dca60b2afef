//! Questions that are answered before anything runs: a number with a tolerance, or a choice with
//! its reason. Answers are computed, so that they cannot be mistyped.

use super::compare::short;

/// Question with its answer.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// The question.
    pub ask: String,
    commas: Commas,
    answer: ExpectedAnswer,
    traps: Vec<(f64, &'static str)>,
    because: &'static str,
}

#[derive(Debug, Clone)]
enum ExpectedAnswer {
    Number { value: f64, tolerance: f64 },
    Choice { options: Vec<&'static str>, right: usize },
}

/// Commas in an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Commas {
    /// They stand between groups of three digits.
    Thousands,
    /// They separate the digits of a list.
    List,
}

/// `typed` without the commas between groups of three digits, as in `1,234.5` and `3/1,000`.
fn without_thousands(typed: &str) -> Result<String, String> {
    let numbers: Option<Vec<_>> = typed.split('/').map(without_commas).collect();
    numbers.map(|numbers| numbers.join("/")).ok_or_else(|| decimals_have_a_point(typed))
}

/// `number` without the commas between its groups of three digits; `None` if it has others.
fn without_commas(number: &str) -> Option<String> {
    let digits = number.trim().trim_start_matches(['-', '+']);
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != ',').unwrap_or(digits.len());
    let (whole, fraction) = digits.split_at(end);
    let is_grouped = whole.split_once(',').is_none_or(|(first, rest)| {
        let is_first = (1..=3).contains(&first.len()) && !first.starts_with('0');
        is_first && rest.split(',').all(|group| group.len() == 3)
    });
    (is_grouped && !fraction.contains(',')).then(|| number.replace(',', ""))
}

fn decimals_have_a_point(typed: &str) -> String {
    format!("'{typed}': write decimals with a point, as in 0.5")
}

/// Number that is typed with a decimal comma.
fn with_decimal_comma(typed: &str) -> Option<f64> {
    let (whole, fraction) = typed.split_once(',')?;
    typed_number(&format!("{whole}.{fraction}"))
}

/// Number that is typed as `0.1875`, `3/16` or `18.75%`.
fn typed_number(typed: &str) -> Option<f64> {
    if let Some(percent) = typed.strip_suffix('%') {
        return Some(percent.trim().parse::<f64>().ok()? / 100.);
    }
    match typed.split_once('/') {
        Some((over, under)) => {
            Some(over.trim().parse::<f64>().ok()? / under.trim().parse::<f64>().ok()?)
        }
        None => typed.parse().ok(),
    }
}

impl Prediction {
    /// Question for a number, which is `value` ± `tolerance`, `because` of a reason.
    pub fn number(
        ask: impl Into<String>,
        value: f64,
        tolerance: f64,
        because: &'static str,
    ) -> Self {
        let answer = ExpectedAnswer::Number { value, tolerance };
        Self { ask: ask.into(), commas: Commas::Thousands, answer, traps: Vec::new(), because }
    }

    /// Question with `options`, of which the one with index `right` is right.
    pub fn choice(
        ask: impl Into<String>,
        options: &[&'static str],
        right: usize,
        because: &'static str,
    ) -> Self {
        let answer = ExpectedAnswer::Choice { options: options.to_vec(), right };
        Self { ask: ask.into(), commas: Commas::Thousands, answer, traps: Vec::new(), because }
    }

    /// Question whose number is a list of digits, which may be typed with commas.
    pub fn list(self) -> Self {
        Self { commas: Commas::List, ..self }
    }

    /// Adds the answer of a known mistake (a number, or the letter's index) and its consequence.
    pub fn trap(mut self, answer: f64, says: &'static str) -> Self {
        self.traps.push((answer, says));
        self
    }

    /// Question as it is shown, its options with letters.
    pub fn text(&self) -> String {
        let mut text = self.ask.clone();
        if let ExpectedAnswer::Choice { options, .. } = &self.answer {
            for (letter, option) in ('a'..).zip(options) {
                text.push_str(&format!("\n  {letter}) {option}"));
            }
        }
        text
    }

    /// The right answer as a learner would type it.
    pub fn right_answer(&self) -> String {
        match &self.answer {
            ExpectedAnswer::Number { value, .. } => format!("{value}"),
            ExpectedAnswer::Choice { right, .. } => {
                ('a'..).nth(*right).unwrap_or_default().to_string()
            }
        }
    }

    /// Reason of the right answer if `typed` is right.
    ///
    /// # Errors
    /// A sentence about what was typed.
    pub fn judge(&self, typed: &str) -> Result<String, String> {
        let typed = typed.trim().replace('_', "").replace('−', "-");
        let (number, tolerance, wanted) = match &self.answer {
            ExpectedAnswer::Number { value, tolerance } => {
                let typed = match self.commas {
                    Commas::Thousands => without_thousands(&typed)?,
                    Commas::List => typed.replace([',', ' '], ""),
                };
                let number = typed_number(&typed).filter(|number| number.is_finite());
                let number = number.ok_or_else(|| format!("'{typed}' is not a number"))?;
                (number, *tolerance, *value)
            }
            ExpectedAnswer::Choice { options, right } => {
                let mut letters = ('a'..).take(options.len());
                let at = letters.position(|letter| typed.to_lowercase() == letter.to_string());
                let last = ('a'..).nth(options.len() - 1).unwrap_or('z');
                let at = at.ok_or_else(|| format!("'{typed}' is not a letter from a to {last}"))?;
                (at as f64, 0., *right as f64)
            }
        };
        if (number - wanted).abs() <= tolerance {
            return Ok(self.because.to_string());
        }
        if let (ExpectedAnswer::Number { .. }, Commas::Thousands) = (&self.answer, self.commas)
            && with_decimal_comma(&typed).is_some_and(|number| (number - wanted).abs() <= tolerance)
        {
            return Err(decimals_have_a_point(&typed));
        }
        let trap = self.traps.iter().find(|(trap, _)| (number - trap).abs() <= tolerance.max(1e-9));
        Err(match (trap, &self.answer) {
            (Some((_, says)), _) => format!("no: {says}"),
            (None, ExpectedAnswer::Number { .. }) if number > wanted => {
                format!("no: {} is too large", short(number))
            }
            (None, ExpectedAnswer::Number { .. }) => format!("no: {} is too small", short(number)),
            (None, ExpectedAnswer::Choice { .. }) => "no".to_string(),
        })
    }

    /// Faults of the question: a trap or an option that is accepted or gets no sentence.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.judge(&self.right_answer()).is_err() {
            faults.push(format!("\"{}\" refuses its own answer", self.ask));
        }
        let typed = |trap: f64| match self.answer {
            ExpectedAnswer::Number { .. } => trap.to_string(),
            ExpectedAnswer::Choice { .. } => {
                ('a'..).nth(trap as usize).unwrap_or_default().to_string()
            }
        };
        for (trap, says) in &self.traps {
            if self.judge(&typed(*trap)) != Err(format!("no: {says}")) {
                faults.push(format!("\"{}\" does not name the mistake {trap}", self.ask));
            }
        }
        if let ExpectedAnswer::Choice { options, .. } = &self.answer
            && self.traps.len() + 1 < options.len()
        {
            faults.push(format!("\"{}\": a wrong option has no sentence", self.ask));
        }
        faults
    }
}
