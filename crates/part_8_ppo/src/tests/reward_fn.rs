//! 8.5: rewards by rule, with the cases of a PPO tutorial's tests.

use anyhow::Result;
use candle_core::Device;
use clap::Parser;
use datasets::Example;
use model_io::ChatVariables;
use modern::FinishReason;
use tensor_core::Rng;

use crate::flags::RewardFnFlags;
use crate::reward_fn::{
    NamedRewardFn, OutcomeRewards, RewardInput, exact_match_reward_fn, final_answer_reward,
    final_answer_reward_fn,
};

#[test]
fn a_right_number_gets_1_and_a_wrong_one_the_format_reward() {
    for (text, wanted, expected) in [
        ("#### 100", "100", 1.),
        ("#### 100.0", "100", 1.),
        ("#### 100", "100.0", 1.),
        ("#### 99.9", "100", 0.),
        ("nothing", "100", 0.),
        ("the answer is 50", "50", 1.),
        ("the answer is 50", "51", 0.),
        ("#### 1,200", "1200", 1.),
        ("#### -5.5", "-5.5", 1.),
        ("#### 1000", "1e3", 1.),
        ("#### 42", "They have 40 + 2 = 42.\n#### 42", 1.),
        ("#### 7", "no answer is known", 0.),
    ] {
        assert_eq!(final_answer_reward(text, wanted, 0.), expected, "{text:?} {wanted:?}");
    }
    assert_eq!(final_answer_reward("#### 99.9", "100", 0.1), 0.1);
    assert_eq!(final_answer_reward("nothing", "100", 0.1), 0.);
}

#[test]
fn rule_rewards_depend_on_the_answer_and_its_stop_token() -> Result<()> {
    let example = Example::new("What is 12 - 7?", "5");
    let reply =
        |completion, finish_reason| RewardInput { example: &example, completion, finish_reason };
    let terminated = |completion| reply(completion, FinishReason::Stop);
    let truncated = reply("5", FinishReason::Length);
    let replies = [terminated("5"), terminated(" 5 "), truncated, terminated("5.")];
    let rng = &mut Rng::new(0);
    assert_eq!(exact_match_reward_fn()(&replies, rng)?, [1., 1., 0., 0.]);
    assert_eq!(final_answer_reward_fn(0.)(&replies, rng)?, [1.; 4]);
    // Constant, empty and rambling completions get no reward.
    let lazy = ["", "0", "4 5 6", "five"].map(terminated);
    assert_eq!(exact_match_reward_fn()(&lazy, rng)?, [0.; 4]);
    Ok(())
}

#[test]
fn right_and_wrong_completions_get_the_rewards_that_are_set() -> Result<()> {
    let example = Example::new("What is 12 - 7?", "5");
    let input = |completion| RewardInput {
        example: &example,
        completion,
        finish_reason: FinishReason::Stop,
    };
    let inputs = [input("5"), input("6"), input("five")];
    let named =
        |format_reward| NamedRewardFn::new(final_answer_reward_fn(format_reward), "rule".into());
    let outcome = OutcomeRewards { correct: 2., wrong: -1. };
    let mut rewards = outcome.apply(named(0.));
    assert_eq!((rewards.reward_fn)(&inputs, &mut Rng::new(0))?, [2., -1., -1.]);
    assert_eq!(rewards.name, "rule, 2 if right, else -1", "a run resumes with the same values");
    // The form alone earns a tenth of the way from wrong to right.
    let mut with_format = outcome.apply(named(0.1)).reward_fn;
    assert_eq!(with_format(&inputs, &mut Rng::new(0))?, [2., 0.1 * 2. - 0.9, -1.]);
    assert_eq!(OutcomeRewards::default().apply(named(0.)).name, "rule", "as before the values");
    Ok(())
}

#[derive(Parser)]
struct RewardArgs {
    #[command(flatten)]
    reward_fn: RewardFnFlags,
}

#[test]
fn exact_rewards_the_bare_answer_to_the_questions_of_any_file() -> Result<()> {
    let chat_tokenizer = super::small_run::chat_tokenizer()?;
    let example = Example::new("What is 12 - 7?", "5");
    let input = |completion| RewardInput {
        example: &example,
        completion,
        finish_reason: FinishReason::Stop,
    };
    let inputs = [input("5"), input("5."), input("the answer is 5")];
    let rewards = |reward: &str| -> Result<Vec<f64>> {
        let flags = RewardArgs::try_parse_from(["part_8", "--reward", reward])?.reward_fn;
        flags.check("questions.jsonl")?;
        let data = "questions.jsonl";
        let mut named = flags.open_reward_fn(
            data,
            &chat_tokenizer,
            8,
            &ChatVariables::default(),
            &Device::Cpu,
        )?;
        (named.reward_fn)(&inputs, &mut Rng::new(0))
    };
    assert_eq!(rewards("exact")?, [1., 0., 0.]);
    assert_eq!(rewards("rule")?, [1., 1., 1.], "the rule forgives the form");
    Ok(())
}
