//! What a run does not learn from: scores that are no numbers, and completions that do not count.

use anyhow::Result;
use ppo::{CompletionEvalConfig, PromptExample, RewardFn};
use sft::RunOutputs;

use super::{BUDGET, asked, bits, config, letters, run, scripted, speech, trained, tuning};
use crate::evaluation::GrpoEvaluator;
use crate::reward_mix::rule;
use crate::training::GrpoValidation;
use crate::{GrpoConfig, GrpoContext, GrpoLog, Overlong, RunState, Task, train};

#[test]
fn a_look_at_what_is_no_number_decides_nothing() -> Result<()> {
    let mut config = config(2, &speech()?);
    config.objective.kl = None;
    let (tuning, _) =
        run(&config, &mut *scripted([f64::NAN, 0.9, f64::NAN]), &RunOutputs::default(), 1)?;
    assert_eq!((tuning.progress.step, tuning.progress.best), (2, Some(-0.9)));
    Ok(())
}

#[test]
fn a_step_whose_scores_are_no_numbers_is_skipped() -> Result<()> {
    let speech = speech()?;
    let mut config = config(2, &speech);
    let after = |config: &GrpoConfig, bad: &'static [usize]| {
        let mut calls = 0;
        let mut scorer: Box<RewardFn> = Box::new(move |replies, _| {
            calls += 1;
            let of = |reply| if bad.contains(&calls) { f64::NAN } else { letters(reply).into() };
            Ok(replies.iter().map(of).collect())
        });
        let (tuning, so_far) = trained(config, &mut *scorer)?;
        anyhow::Ok((bits(&tuning)?, so_far.recent_rows.len(), tuning.progress.step))
    };
    // A look, step 1, step 2, a look.
    let (start, rows, step) = after(&config, &[2, 3])?;
    assert_eq!((&start, rows, step), (&bits(&tuning(&speech)?)?, 0, 2));
    let (one, rows, step) = after(&config, &[3])?;
    assert_eq!((rows, step), (1, 2));
    config.update.schedule.total_steps = 1;
    assert!(one != start && one == after(&config, &[])?.0, "the first step is what it is alone");
    Ok(())
}

#[test]
fn completions_that_are_all_cut_and_masked_move_nothing() -> Result<()> {
    let speech = speech()?;
    let mut config = config(1, &speech);
    config.advantage.overlong = Overlong::Masked;
    let mut questions = asked(&speech)?;
    let asking =
        CompletionEvalConfig { chat_tokenizer: &speech, max_new_tokens: BUDGET, batch_size: 6 };
    let exam = GrpoEvaluator { task: Task::Arithmetic, eval_config: asking };
    let (mut tuning, mut scorer) = (tuning(&speech)?, rule(letters));
    let mut after = |config: &GrpoConfig, questions: &[PromptExample]| -> Result<_> {
        let looks = GrpoValidation { evaluator: exam, prompts: questions, interval: 0 };
        let mut around =
            GrpoContext { reference: None, reward_fn: &mut *scorer, validation: looks };
        let mut log =
            GrpoLog::new(config.update.schedule.total_steps, 0, RunState::default(), 1000)?;
        let outputs = RunOutputs::default();
        train(&mut tuning, questions.to_vec(), config, &mut around, &outputs, &mut log)?;
        Ok((bits(&tuning)?, log.run_state))
    };
    config.objective.kl = None;
    let (moved, so_far) = after(&config, &questions)?; // the optimizer has momentum now
    assert_eq!(so_far.zero_advantage_steps, 0);
    config.update.schedule.total_steps = 3;
    config.rollout.stop_token_ids = vec![u32::MAX]; // which nobody writes
    questions.truncate(2);
    let (unmoved, so_far) = after(&config, &questions)?;
    assert_eq!(so_far.zero_advantage_steps, 2);
    assert!(
        so_far
            .recent_rows
            .iter()
            .all(|row| row.frac_groups_zero_advantage == 1. && row.reward_std > 0.)
    );
    assert!(moved == unmoved, "rewards differ, and none counts");
    Ok(())
}
