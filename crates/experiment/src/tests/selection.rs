//! 4.4: the best validation after the start is kept, by the criterion of the run.

use crate::TrainProgress;
use crate::selection::{Score, Selection, Target};

fn record(scores: &[Score]) -> (Selection, Vec<bool>) {
    let mut selection = Selection::default();
    let kept = scores.iter().enumerate().map(|(i, &score)| selection.record(10 * i, score));
    let kept = kept.collect();
    (selection, kept)
}

#[test]
fn a_reward_model_is_kept_for_its_accuracy_although_its_loss_has_risen() {
    // The run of `part_7 train` on 805 pairs that kept its untrained model.
    let scores = [(0.449, 0.906), (0.775, 0.955), (0.76, 1.386), (0.753, 1.685)]
        .map(|(accuracy, loss)| Score::Accuracy { accuracy, loss });
    let (selection, kept) = record(&scores);
    assert_eq!(kept, [false, true, false, false], "the start is never kept");
    let summary = selection.summary().expect("validations");
    assert_eq!(
        summary,
        "kept the model of step 10: validation accuracy 0.775 (loss 0.9550), before training \
         accuracy 0.449 (loss 0.9060)\noverfitted since step 10: after step 30 the validation \
         accuracy 0.753 (loss 1.6850)"
    );
    let tie = record(&[scores[0], scores[1], Score::Accuracy { accuracy: 0.775, loss: 0.9 }]);
    assert_eq!(tie.1, [false, true, true], "of equal accuracies the lower loss");
    assert_eq!(selection.to_json()["best_step"], 10);
}

/// A run whose loss has no accuracy any more, resumed.
#[test]
fn a_score_of_another_criterion_is_compared_with_none_before() {
    let accuracies = [0.5, 0.9].map(|accuracy| Score::Accuracy { accuracy, loss: 0.1 });
    let (selection, kept) = record(&[&accuracies[..], &[2., 3.].map(Score::Loss)].concat());
    assert_eq!(kept, [false, true, true, false], "a loss is neither above nor below an accuracy");
    assert_eq!(selection.best.map(|best| (best.step, best.score)), Some((20, Score::Loss(2.))));
    assert_eq!(selection.initial, None);
    assert_eq!(selection.n_not_better, 1);
}

#[test]
fn losses_fall_and_rewards_rise() {
    let losses = [5., 3., 4., f64::NAN, 2.].map(Score::Loss);
    assert_eq!(record(&losses).1, [false, true, false, false, true], "NaN is never the best");
    let rewards = [0.5, 0.3, 0.2, 0.3, f64::INFINITY].map(Score::Reward);
    let (selection, kept) = record(&rewards);
    assert_eq!(kept, [false, true, false, true, false], "the last of equals is kept");
    assert_eq!(selection.best.map(|best| best.step), Some(30));
    assert_eq!(selection.n_not_better, 2, "an equal score is no improvement");
}

#[test]
fn a_run_that_became_worse_says_so() {
    let summary = |scores: &[Score]| record(scores).0.summary().expect("a validation");
    let worse = summary(&[Score::Loss(2.), Score::Loss(9.)]);
    assert!(worse.ends_with("it is worse than before training: try a smaller --lr"), "{worse}");
    let tied = summary(&[Score::Reward(0.), Score::Reward(0.), Score::Reward(0.)]);
    assert!(tied.contains("step 20") && tied.ends_with("no better than before training"), "{tied}");
    let better = summary(&[Score::Loss(9.), Score::Loss(2.), Score::Loss(3.)]);
    assert!(better.ends_with("before training loss 9.0000"), "one worse validation: {better}");
    assert_eq!(record(&[Score::Loss(1.)]).0.summary(), None);
}

#[test]
fn patience_and_a_reached_target_end_a_run() {
    let mut progress = TrainProgress::default();
    let steps = [(0, 1.), (10, 3.), (20, 2.), (30, 2.), (40, 2.5)];
    for (i, (step, loss)) in steps.into_iter().enumerate() {
        progress.step = step;
        progress.record_validation(Score::Loss(loss), Target::NotReached);
        assert_eq!(progress.is_finished(100, Some(2), None), i == 4, "after step {step}");
    }
    assert!(!progress.is_finished(100, None, None) && progress.is_finished(40, None, None));
    let is_saved = progress.record_validation(Score::Loss(5.), Target::Reached);
    assert!(is_saved, "a model at its target is saved");
    assert!(progress.is_finished(100, None, None));
    assert_eq!(progress.selection.best.map(|best| best.score), Some(Score::Loss(5.)));
    let mut at_start = TrainProgress::default();
    assert!(
        at_start.record_validation(Score::Reward(1.), Target::of(1., Some(1.))),
        "even before the first step"
    );
}
