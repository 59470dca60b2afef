//! 4.4 Selection: which model of a run is kept, and whether the run still improves.
//!
//! Training always lowers the training loss; the model is wanted for something else. So a run is
//! judged by validations: a language model by its loss, a reward model by its accuracy (its loss
//! rises as soon as it is sure of a wrong answer, while its accuracy still grows), a policy by its
//! reward. The model before the first step is measured, too, but never kept: a run that ends with
//! what it began with has learned nothing, and says so.

use std::{fmt, mem};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Number of validations without an improvement after which a run counts as overfitted.
const OLD: usize = 2;

/// Score of a validation: the quantity that the run is to improve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// Loss of a language model: less is better.
    Loss(f64),
    /// Accuracy of a reward model: more is better, and of equal ones the lower loss.
    Accuracy {
        /// Share of the pairs that are ranked correctly.
        accuracy: f64,
        /// Loss of the same pairs.
        loss: f64,
    },
    /// Mean reward of a policy: more is better.
    Reward(f64),
}

impl Score {
    /// Value of the criterion: the loss, the accuracy or the reward.
    pub fn value(self) -> f64 {
        match self {
            Self::Loss(value) | Self::Reward(value) => value,
            Self::Accuracy { accuracy, .. } => accuracy,
        }
    }

    /// Criterion and tie-break, both the larger the better.
    fn key(self) -> [f64; 2] {
        match self {
            Self::Loss(loss) => [-loss, 0.],
            Self::Accuracy { accuracy, loss } => [accuracy, -loss],
            Self::Reward(reward) => [reward, 0.],
        }
    }

    /// True if this is a better score than `other`.
    pub fn is_better_than(self, other: Self) -> bool {
        self.key() > other.key()
    }

    /// True if both are scores of one criterion, and so can be compared.
    fn is_comparable_with(self, other: Self) -> bool {
        mem::discriminant(&self) == mem::discriminant(&other)
    }

    fn is_finite(self) -> bool {
        self.key().iter().all(|value| value.is_finite())
    }

    /// Score as fields of a JSON object: `{"loss": 2.5}`.
    fn to_json(self) -> Value {
        match self {
            Self::Loss(loss) => json!({ "loss": loss }),
            Self::Accuracy { accuracy, loss } => json!({ "accuracy": accuracy, "loss": loss }),
            Self::Reward(reward) => json!({ "reward": reward }),
        }
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loss(loss) => write!(f, "loss {loss:.4}"),
            Self::Accuracy { accuracy, loss } => {
                write!(f, "accuracy {accuracy:.3} (loss {loss:.4})")
            }
            Self::Reward(reward) => write!(f, "reward {reward:.3}"),
        }
    }
}

/// Whether a validation has reached the target of the run, which ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// There is no target, or it is not reached.
    NotReached,
    /// Reached: the run is over, and its model is kept.
    Reached,
}

impl Target {
    /// State of a `target` that `value`, of which more is better, is to reach.
    pub fn of(value: f64, target: Option<f64>) -> Self {
        match target {
            Some(target) if value >= target => Self::Reached,
            _ => Self::NotReached,
        }
    }
}

/// Score of the model after a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Optimizer steps taken before it.
    pub step: usize,
    /// Score.
    pub score: Score,
}

/// Validations of a run: the first, the best and the last. Scores that are not finite are left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// Score before the first step, if it was measured.
    pub initial: Option<Score>,
    /// Best validation after a step. Its model is the one that is kept.
    pub best: Option<Validation>,
    /// Newest validation.
    pub last: Option<Validation>,
    /// Number of validations since one was better than all before it.
    pub n_not_better: usize,
}

impl Selection {
    /// Records the `score` after `step` steps. Returns true if its model is to be kept: no earlier
    /// one was better. Of equals, which rewards of 0 or 1 often are, the last is kept, since it has
    /// trained longest, but it does not count as an improvement. Scores of another criterion, those
    /// of a run that another version began, are forgotten.
    pub fn record(&mut self, step: usize, score: Score) -> bool {
        if !score.is_finite() {
            return false;
        }
        if step == 0 {
            self.initial = Some(score);
            return false;
        }
        self.initial = self.initial.filter(|initial| initial.is_comparable_with(score));
        self.best = self.best.filter(|best| best.score.is_comparable_with(score));
        let validation = Validation { step, score };
        self.last = Some(validation);
        if self.best.is_none_or(|best| score.is_better_than(best.score)) {
            self.n_not_better = 0;
        } else {
            self.n_not_better = self.n_not_better.saturating_add(1);
        }
        let is_best = self.best.is_none_or(|best| !best.score.is_better_than(score));
        if is_best {
            self.best = Some(validation);
        }
        is_best
    }

    /// Result for `--json`: `best_step`, and the best score as `loss`, `accuracy` or `reward`.
    pub fn to_json(&self) -> Value {
        let Some(Validation { step, score }) = self.best else {
            return json!({ "best_step": null });
        };
        let mut result = score.to_json();
        result["best_step"] = json!(step);
        result
    }

    /// Report of the step that was kept, of its score beside that of the start, and of a later
    /// decline; `None` without a validation after a step.
    pub fn summary(&self) -> Option<String> {
        let Validation { step, score } = self.best?;
        let mut summary = format!("kept the model of step {step}: validation {score}");
        if let Some(initial) = self.initial {
            let trend = match (score.is_better_than(initial), initial.is_better_than(score)) {
                (true, _) => "",
                (_, true) => "; it is worse than before training: try a smaller --lr",
                _ => "; it is no better than before training",
            };
            summary += &format!(", before training {initial}{trend}");
        }
        if let Some(last) = self.last.filter(|_| self.n_not_better >= OLD)
            && score.is_better_than(last.score)
        {
            let decline = match score {
                Score::Reward(_) => "no better since",
                _ => "overfitted since",
            };
            summary += &format!(
                "\n{decline} step {step}: after step {} the validation {}",
                last.step, last.score
            );
        }
        Some(summary)
    }
}
