//! 9.4 Weighted sums of rewards, of rules, programs and tests of code.

use anyhow::Result;
use clap::{Args, Command, FromArgMatches};
use datasets::Example;
use model_io::ChatVariables;
use modern::FinishReason;
use ppo::RewardInput;
use ppo::flags::RewardProgramFlags;
use ppo::reward_fn::OutcomeRewards;
use tensor_core::Rng;
use tensor_core::testing::assert_close;

use super::CPU;
use super::training::chat_tokenizer;
use crate::WeightedRewards;

/// Flags of reward programs on a command line.
fn program_flags(args: &[&str]) -> RewardProgramFlags {
    let command = RewardProgramFlags::augment_args(Command::new("test"));
    let matches = command.get_matches_from([&["test"], args].concat());
    RewardProgramFlags::from_arg_matches(&matches).expect("flags")
}

#[test]
fn rewards_are_summed_with_their_weights() -> Result<()> {
    let (chat_tokenizer, example) = (chat_tokenizer()?, Example::new("?", "42"));
    let input = RewardInput {
        example: &example,
        completion: "<answer>42</answer>",
        finish_reason: FinishReason::Stop,
    };
    let shell = "sh -c 'while read -r line; do echo [3.5]; done'";
    let (program, variables) =
        (program_flags(&["--reward-program", shell]), ChatVariables::default());
    let reward = |text: &str| -> Result<f64> {
        let rewards = WeightedRewards::parse(text)?;
        let mut named = rewards.open_reward_fn(&program, &chat_tokenizer, 8, &variables, &CPU)?;
        Ok((named.reward_fn)(&[input], &mut Rng::new(1))?[0])
    };
    let total = reward("correctness=0.5, format , length=-2")?;
    assert_close(total, 0.5 * 2. + 0.4 + 2. * 0.01, 1e-6);
    assert!([0.25, 0.].contains(&reward("random=0.25")?));
    #[cfg(unix)]
    assert_close(reward("program=-2,length=-1")?, -7. + 0.01, 1e-6);
    let name = |text: &str| -> Result<String> {
        let rewards = WeightedRewards::parse(text)?;
        Ok(rewards.open_reward_fn(&program, &chat_tokenizer, 8, &variables, &CPU)?.name)
    };
    assert_eq!(name("random=0.25")?, "chance=0.25,", "as old checkpoints store it");
    assert_eq!(name("chance=0.25")?, "chance=0.25,", "the old name is accepted");
    Ok(())
}

#[test]
fn correct_and_wrong_rewards_replace_1_and_0_where_a_rule_only_tells_these_apart() -> Result<()> {
    let (chat_tokenizer, example) = (chat_tokenizer()?, Example::new("?", "42"));
    let input = |completion| RewardInput {
        example: &example,
        completion,
        finish_reason: FinishReason::Stop,
    };
    let inputs = [input("<answer>42</answer>"), input("<answer>41</answer>")];
    let rewards = WeightedRewards::parse("integer=2,correctness,length")?;
    assert!(rewards.has_right_or_wrong());
    let rewards = rewards.with_outcome(OutcomeRewards { correct: 0.5, wrong: -3. });
    let program = program_flags(&[]);
    let mut named =
        rewards.open_reward_fn(&program, &chat_tokenizer, 8, &ChatVariables::default(), &CPU)?;
    // 2 · integer + correctness, which has values of its own, − 0.01 for the word
    let found = (named.reward_fn)(&inputs, &mut Rng::new(1))?;
    assert_close(&found, [2. * 0.5 + 2. - 0.01, 2. * -3. + 0. - 0.01], 1e-6);
    assert_eq!(named.name, "integer, 0.5 if right, else -3=2,correctness=1,length=1,");
    assert!(!WeightedRewards::parse("correctness,format,length")?.has_right_or_wrong());
    Ok(())
}

#[cfg(target_os = "linux")]
#[test]
fn code_is_a_term_whose_notes_reach_the_log() -> Result<()> {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: there is no python3");
        return Ok(());
    }
    let tests = ["assert f() == 1", "assert f() < 2"].map(String::from).to_vec();
    let example = Example { tests, ..Example::new("Write f.", "") };
    let input = |completion| RewardInput {
        example: &example,
        completion,
        finish_reason: FinishReason::Stop,
    };
    let inputs = [input("def f(): return 1"), input("def f(): return 0")];
    let program = program_flags(&["--code-score", "fraction"]);
    let rewards = WeightedRewards::parse("code,length=0")?;
    let rewards = rewards.with_outcome(OutcomeRewards { correct: 1., wrong: -1. });
    let mut named =
        rewards.open_reward_fn(&program, &chat_tokenizer()?, 8, &ChatVariables::default(), &CPU)?;
    assert_eq!((named.reward_fn)(&inputs, &mut Rng::new(1))?, [1., 0.]);
    assert_eq!(named.parts.0.borrow()[0].notes, ["", "test 1: AssertionError"]);
    Ok(())
}
