//! 8.4: final answers of a PPO tutorial's tests, including those that its solution fails.

use anyhow::Result;
use datasets::Example;
use tensor_core::Rng;

use crate::final_answer::{answer_after_marker, final_answer, final_answer_reward};
use crate::reward_fn::{RewardInput, exact_match_reward_fn, final_answer_reward_fn};

#[test]
fn the_final_answer_is_the_marked_or_the_last_number() {
    for (text, marked, last) in [
        ("The answer is #### 123", Some(123.), Some(123.)),
        ("So ####    45.67 end", Some(45.67), Some(45.67)),
        ("#### -78,910.5", Some(-78910.5), Some(-78910.5)),
        ("#### 1,234,567", Some(1234567.), Some(1234567.)),
        ("#### $1,234.00", Some(1234.), Some(1234.)),
        ("####18.", Some(18.), Some(18.)),
        ("#### 5 then #### 6", Some(5.), Some(5.)),
        ("9 * 2 = 18\n#### 18</answer>", Some(18.), Some(18.)),
        ("#### 12a", None, None),
        ("####", None, None),
        ("No hash 123", None, Some(123.)),
        ("First 10 then 20", None, Some(20.)),
        ("text 50 end", None, Some(50.)),
        ("it is -50", None, Some(-50.)),
        ("that is $1,234.00.", None, Some(1234.)),
        ("18.", None, Some(18.)),
        ("50%", None, Some(50.)),
        ("x=5", None, Some(5.)),
        ("1e3", None, Some(1000.)),
        ("−3", None, Some(-3.)),
        ("**7**", None, Some(7.)),
        ("12,34", None, Some(34.)), // a list
        ("#### $ 42", Some(42.), Some(42.)),
        ("#### 1 234", Some(1234.), Some(1234.)),
        ("Of 50 there are $42$.", None, Some(42.)),
        ("of 50, \\boxed{42}", None, Some(42.)),
        ("50: [42]", None, Some(42.)),
        ("50 `42`", None, Some(42.)),
        ("Answer:42", None, Some(42.)),
        ("50 <answer>42</answer>", None, Some(42.)),
        ("of 50 it is 42km", None, Some(42.)),
        ("of 10, it is 3/4", None, None), // rather than 10
        ("no number here", None, None),
        ("fallback 12a", None, None),
        ("inf nan", None, None),
        ("", None, None),
    ] {
        assert_eq!((answer_after_marker(text), final_answer(text)), (marked, last), "{text:?}");
    }
}

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
        |text, ended| RewardInput { example: &example, completion: text, terminated: ended };
    let replies = [reply("5", true), reply(" 5 ", true), reply("5", false), reply("5.", true)];
    let rng = &mut Rng::new(0);
    assert_eq!(exact_match_reward_fn()(&replies, rng)?, [1., 1., 0., 0.]);
    assert_eq!(final_answer_reward_fn(0.)(&replies, rng)?, [1.; 4]);
    // Constant, empty and rambling completions get no reward.
    let lazy = [reply("", true), reply("0", true), reply("4 5 6", true), reply("five", true)];
    assert_eq!(exact_match_reward_fn()(&lazy, rng)?, [0.; 4]);
    Ok(())
}
