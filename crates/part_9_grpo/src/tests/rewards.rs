//! Reward rules and weighted sums.

use anyhow::Result;
use tensor_core::testing::assert_close;

use super::{reward_for, reward_if_truncated};
use crate::WeightedRewards;
use crate::rewards::{
    correctness, countdown, exact, format, gsm8k, gsm8k_flexible, integer, length,
};

#[test]
fn exact_rewards_only_the_bare_terminated_answer() {
    assert_eq!(reward_for(exact, " 53\n", "53"), 1.);
    for wrong in ["53.", "053", "5 3", "It is 53", "-53", ""] {
        assert_eq!(reward_for(exact, wrong, "53"), 0., "{wrong:?}");
    }
    assert_eq!(reward_if_truncated(exact, "53", "53"), 0., "truncated");
    assert_eq!(reward_for(exact, "", ""), 0., "silence is not the answer to a bare prompt");
}

#[test]
fn integer_rewards_the_last_integer() {
    for right in ["53", "53.", "12 + 41 = 53", "It is 53!", "$53"] {
        assert_eq!(reward_for(integer, right, "53"), 1., "{right:?}");
    }
    for wrong in ["", "fifty-three", "53.5", "53 or 54", "-53", "5,3"] {
        assert_eq!(reward_for(integer, wrong, "53"), 0., "{wrong:?}");
    }
    assert_eq!(reward_for(integer, "none", "none"), 0., "two texts without a number do not agree");
    assert_eq!((reward_for(integer, "12-7", "-7"), reward_for(integer, "12-7", "7")), (0., 1.));
}

#[test]
fn gsm8k_rewards_the_number_after_the_hashes() {
    assert_eq!(reward_for(gsm8k, "2 * 9 = 18\n#### 18", "18"), 1.);
    assert_eq!(reward_for(gsm8k, "#### 1,200", "1200"), 1.);
    assert_eq!(reward_for(gsm8k, "#### 1000", "#### 1e3"), 1.);
    assert_eq!(reward_for(gsm8k, "#### -5.5", "-5.5"), 1.);
    assert_eq!(
        (reward_for(gsm8k, "it is 18", "18"), reward_for(gsm8k_flexible, "it is 18", "18")),
        (0., 1.)
    );
    assert_eq!(reward_for(gsm8k_flexible, "99.9", "100"), 0.);
    assert_eq!(reward_for(gsm8k_flexible, "50", "51"), 0.);
    assert_eq!(reward_for(gsm8k, "#### 1000000001", "1000000000"), 0.);
    for wrong in
        ["42 or rather ½", "#### 42^2", "#### 42/7", "#### 1e999", "42, no: ５７", "42: √9"]
    {
        assert_eq!(reward_for(gsm8k_flexible, wrong, "42"), 0., "{wrong:?}");
    }
    assert_eq!(
        reward_for(gsm8k_flexible, "#### none, 18", "18"),
        0.,
        "the last number does not count after ####"
    );
    assert_eq!(reward_for(gsm8k, "none", "none"), 0.);
}

#[test]
fn correctness_gives_2_for_the_answer_and_1_5_for_its_number() {
    assert_eq!(reward_for(correctness, "<answer>42</answer>", "42"), 2.);
    assert_eq!(reward_for(correctness, "<answer>$42.</answer>", "42"), 1.5);
    assert_eq!(reward_for(correctness, "<answer>1,234</answer>", "1234"), 1.5);
    for wrong in [
        "42",
        "<answer>42",
        "<answer>41 or 42</answer>",
        "<answer>42 ½</answer>",
        "<answer></answer>",
        "",
    ] {
        assert_eq!(reward_for(correctness, wrong, "42"), 0., "{wrong:?}");
    }
    assert_eq!(reward_for(correctness, "<answer>None</answer>", ""), 0.);
    assert_eq!(
        reward_for(correctness, "", ""),
        0.,
        "an empty completion does not equal an empty answer"
    );
}

#[test]
fn format_rewards_each_tag_that_occurs_once_and_in_order() {
    let reward = |completion: &str| (reward_for(format, completion, "") * 10.).round() / 10.;
    assert_eq!(reward("<reasoning>\na\n</reasoning>\n<answer>\n1\n</answer>"), 0.8);
    assert_eq!(reward("<answer>1</answer>"), 0.4);
    assert_eq!(reward("<answer>1</answer><reasoning>a</reasoning>"), 0.4, "in the wrong order");
    assert_eq!(reward("</answer><answer></reasoning><reasoning>"), 0.2);
    assert_eq!(
        reward("<reasoning>a</reasoning><answer>1</answer><answer>2</answer>"),
        0.4,
        "twice"
    );
    assert_eq!(reward(&"<reasoning></reasoning><answer></answer>".repeat(9)), 0.);
    assert_eq!(reward("no tag"), 0.);
}

#[test]
fn length_costs_a_hundredth_per_word() {
    assert_eq!(reward_for(length, "", ""), 0.);
    assert_close(reward_for(length, "three words here", ""), -0.03, 1e-7);
}

#[test]
fn an_invalid_sum_of_rewards_is_refused_with_the_known_names() {
    let error = |text: &str| WeightedRewards::parse(text).expect_err("refused").to_string();
    let unknown = error("kindness");
    assert!(unknown.contains("unknown reward `kindness`") && unknown.contains("exact, integer"));
    assert!(error("exact=much").contains("must be a finite number, got `much`"));
    assert!(error("exact=NaN").contains("must be a finite number"));
    assert!(error("random=much").contains("of the reward random must be"));
    assert!(error("exact,exact").contains("twice"));
    assert!(error("random,chance").contains("twice"), "two names of one reward");
    assert!(error("").contains("unknown reward ``"));
    for zero in ["exact=0", "exact=0,length=-0"] {
        assert_eq!(error(zero), "the weight of each reward is 0, so there is nothing to learn");
    }
    let rewards = WeightedRewards::parse("exact, runs/reward=0.5,random=0").expect("valid");
    assert_eq!(rewards.reward_models().collect::<Vec<_>>(), ["runs/reward"]);
}

#[test]
fn countdown_uses_the_answer_tag_or_else_the_last_line() {
    let answer = "3 5 7 = 22";
    for right in
        ["3 * 5 + 7", "Let me see\n3 * 5 + 7 = 22\n", "<answer>7 + 3 * 5</answer> so there"]
    {
        assert_eq!(reward_for(countdown, right, answer), 1., "{right}");
    }
    let truncated = |completion| reward_if_truncated(countdown, completion, answer);
    assert_eq!((truncated("3 * 5 + 7"), truncated("<answer>3 * 5 + 7</answer> so")), (0., 1.));
    for wrong in ["22", "3 * 5 + 7\nor so", "22 = 3 * 5 + 7", "<answer>22</answer> 3 * 5 + 7"] {
        assert_eq!(reward_for(countdown, wrong, answer), 0., "{wrong}");
    }
    for invalid in ["", "22", "= 22", "3 5 = ", "a b = 3"] {
        assert_eq!(reward_for(countdown, "3 + 5", invalid), 0.);
    }
}

#[test]
fn the_highest_reward_of_a_sum_is_that_of_the_best_completion_or_unknown() -> Result<()> {
    let max = |text: &str| -> Result<Option<f64>> {
        Ok(WeightedRewards::parse(text)?.max_reward().map(|max| (max * 1e6).round() / 1e6))
    };
    let best = "<reasoning>6 · 7</reasoning><answer>42</answer>";
    let earned = reward_for(correctness, best, "42") + reward_for(format, best, "42");
    assert_close(earned, 2.8, 1e-6);
    assert_eq!(max("correctness,format")?, Some(2.8));
    assert_eq!(max("exact=0.5")?, Some(0.5));
    // An answer has at least a word, a penalty keeps the best completion from being the best, and a
    // reward model or a program may give any number.
    for unknown in ["exact,length", "exact,format=-1", "random", "program", "exact,program"] {
        assert_eq!(max(unknown)?, None, "{unknown}");
    }
    Ok(())
}
