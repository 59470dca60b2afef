//! Progress of a run: its steps, its validations, and whether it is over.

use serde::{Deserialize, Serialize};

use crate::reward_history::{Plateau, RewardHistory};
use crate::selection::{Score, Selection, Target, Validation};

/// Grouping of a shuffled order by length: the buckets within which examples are sorted, so that
/// those of a batch have similar lengths. A run keeps its own, so that it can be resumed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LengthGrouping {
    /// Buckets of 32 batches, one bucket if there are fewer; the incomplete batch has the longest
    /// examples of the last bucket.
    FixedBuckets,
    /// Buckets of a quarter of the data, at most 32 batches (the megabatches of Hugging Face's
    /// `group_by_length`). Of a smaller bucket, the incomplete batch is drawn.
    #[default]
    Megabatches,
}

impl LengthGrouping {
    /// Grouping of checkpoints without the key `length_grouping`.
    fn of_old_runs() -> Self {
        Self::FixedBuckets
    }
}

/// Progress of a run, stored in its checkpoints beside the tensors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainProgress {
    /// Optimizer steps taken.
    pub step: usize,
    /// Validations, and the step whose model is kept.
    #[serde(default)]
    pub selection: Selection,
    /// True if the validation target was reached.
    #[serde(alias = "passed", default)]
    pub target_reached: bool,
    /// Rewards of the completions that a policy was trained on.
    #[serde(default)]
    pub rewards: RewardHistory,
    /// Grouping of the examples by length.
    #[serde(default = "LengthGrouping::of_old_runs")]
    pub length_grouping: LengthGrouping,
}

impl TrainProgress {
    /// Records the validation of the current step: its `score`, and whether it has reached the
    /// target of the run. Returns true if the model must be saved: no earlier one was better, or
    /// the target was reached, which ends the run.
    pub fn record_validation(&mut self, score: Score, target: Target) -> bool {
        self.target_reached = target == Target::Reached;
        let is_best = self.selection.record(self.step, score);
        if self.target_reached {
            self.selection.best = Some(Validation { step: self.step, score });
        }
        is_best || self.target_reached
    }

    /// True if a run of `total_steps` steps is over: it has taken them, or reached its target, or
    /// its last `patience` validations were no better than an earlier one, or a
    /// [plateau](Self::final_plateau) of its rewards ends it.
    pub fn is_finished(
        &self,
        total_steps: usize,
        patience: Option<usize>,
        stop_when_solved: Option<usize>,
    ) -> bool {
        self.step >= total_steps
            || self.target_reached
            || patience.is_some_and(|patience| self.selection.n_not_better >= patience)
            || self.final_plateau(stop_when_solved).is_some()
    }

    /// Plateau of a policy that has nothing left to learn: all completions of the last
    /// `stop_when_solved` steps got the highest reward, or the highest of the run where no higher
    /// one is known. `None` without this number.
    pub fn final_plateau(&self, stop_when_solved: Option<usize>) -> Option<Plateau> {
        self.rewards.plateau.filter(|plateau| stop_when_solved.is_some_and(|n| plateau.ends_run(n)))
    }

    /// True if the newest model is the one that is kept.
    pub fn is_best(&self) -> bool {
        self.selection.best.is_some_and(|best| best.step == self.step)
    }
}
