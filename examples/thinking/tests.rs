use anyhow::Result;
use candle_core::Device;
use datasets::{Example, Split};
use model_io::{AddSpecialTokens, ParseSpecial};
use modern::FinishReason;
use ppo::RewardInput;
use sft::base_model::{BaseModelConfig, pretrain};
use tensor_core::Rng;

use crate::answers::{Means, SumAnswer, change};
use crate::problems::{Reward, curriculum, demonstrations, is_right, problems, worked_answer};

#[test]
fn an_answer_is_worked_out_digit_by_digit() {
    assert_eq!(worked_answer("4+7+0+9+0+0+2+0"), "[4,1,1,0,0,0,2]2");
}

#[test]
fn demonstrations_are_right_and_leave_the_test_problems_out() {
    let mut rng = Rng::new(1);
    let sums = |examples: &[Example]| -> Vec<String> {
        examples.iter().map(|example| example.prompt[0].content.clone()).collect()
    };
    let test = problems(400, Split::Test, &mut rng);
    let learned = [curriculum(1000, &mut rng), demonstrations(1000, 0.5, &mut rng)].concat();
    let test_sums = sums(&test);
    assert!(sums(&learned).iter().all(|sum| !test_sums.contains(sum)));
    for example in learned.iter().chain(&test) {
        let digits = example.prompt[0].content.chars().filter_map(|c| c.to_digit(10));
        let right = Example::new("", (digits.sum::<u32>() % 10).to_string());
        assert!(is_right(&example.completion, &right), "{example:?}");
    }
}

#[test]
fn a_right_answer_earns_one_less_the_penalty_of_its_length() -> Result<()> {
    let base = BaseModelConfig { n_layer: 1, n_head: 1, n_embd: 8, steps: 0 };
    let tokenizer = pretrain(base, 1, &Device::Cpu)?.tokenizer;
    let example = Example::new("4+7+0+9+0", "0");
    let mut reward_fn = Reward::Correct { length_penalty: 0.02 }.reward_fn();
    for (completion, right) in [("0", 1.), ("[4,1,1,0]0", 1.), ("1", 0.), ("[0]1", 0.), ("", 0.)] {
        let input =
            RewardInput { example: &example, completion, finish_reason: FinishReason::Stop };
        let reward = reward_fn(&[input], &mut Rng::new(1))?[0];
        let n_tokens =
            tokenizer.encode(completion, AddSpecialTokens::No, ParseSpecial::No)?.len() as f64;
        assert!((reward - (right - 0.02 * n_tokens)).abs() < 1e-12, "{completion}: {reward}");
    }
    Ok(())
}

#[test]
fn a_mean_over_no_answers_is_a_dash_and_not_0() {
    let answer = SumAnswer { sum: "4+7".into(), text: "1".into(), is_right: true, n_tokens: 2 };
    let over = |chosen: fn(&SumAnswer) -> bool| Means::over(std::slice::from_ref(&answer), chosen);
    assert!(over(SumAnswer::is_worked).is_none());
    let means = [over(SumAnswer::is_worked), over(|answer| !answer.is_worked())];
    assert_eq!(change(means, |means| 100. * means.accuracy), "– → 100.0");
}
