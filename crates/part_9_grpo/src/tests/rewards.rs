//! What each reward pays for.

use super::reward_for;
use crate::WeightedRewards;
use crate::rewards::{correctness, exact, format, gsm8k, gsm8k_flexible, integer, length};

fn reward_if_terminated(reward: crate::rewards::RewardRule, completion: &str, answer: &str) -> f32 {
    reward_for(reward, completion, answer, true)
}

#[test]
fn exactly_the_answer_and_nothing_else() {
    assert_eq!(reward_if_terminated(exact, " 53\n", "53"), 1.);
    for wrong in ["53.", "053", "5 3", "It is 53", "-53", ""] {
        assert_eq!(reward_if_terminated(exact, wrong, "53"), 0., "{wrong:?}");
    }
    assert_eq!(reward_for(exact, "53", "53", false), 0., "it was cut, and might have gone on");
}

#[test]
fn the_last_whole_number() {
    for right in ["53", "53.", "12 + 41 = 53", "It is 53!", "$53"] {
        assert_eq!(reward_if_terminated(integer, right, "53"), 1., "{right:?}");
    }
    for wrong in ["", "fifty-three", "53.5", "53 or 54", "-53", "5,3"] {
        assert_eq!(reward_if_terminated(integer, wrong, "53"), 0., "{wrong:?}");
    }
    assert_eq!(
        reward_if_terminated(integer, "none", "none"),
        0.,
        "two that cannot be read do not agree"
    );
    assert_eq!(
        (reward_if_terminated(integer, "12-7", "-7"), reward_if_terminated(integer, "12-7", "7")),
        (0., 1.)
    );
}

#[test]
fn gsm8k_s_answer() {
    assert_eq!(reward_if_terminated(gsm8k, "2 * 9 = 18\n#### 18", "18"), 1.);
    assert_eq!(reward_if_terminated(gsm8k, "#### 1,200", "1200"), 1.);
    assert_eq!(reward_if_terminated(gsm8k, "#### 1000", "#### 1e3"), 1.);
    assert_eq!(reward_if_terminated(gsm8k, "#### -5.5", "-5.5"), 1.);
    assert_eq!(
        (
            reward_if_terminated(gsm8k, "it is 18", "18"),
            reward_if_terminated(gsm8k_flexible, "it is 18", "18")
        ),
        (0., 1.)
    );
    assert_eq!(reward_if_terminated(gsm8k_flexible, "99.9", "100"), 0.);
    assert_eq!(reward_if_terminated(gsm8k_flexible, "50", "51"), 0.);
    assert_eq!(
        reward_if_terminated(gsm8k_flexible, "#### none, 18", "18"),
        0.,
        "no second try after ####"
    );
    assert_eq!(reward_if_terminated(gsm8k, "none", "none"), 0.);
}

#[test]
fn the_tiers_of_correctness() {
    assert_eq!(reward_if_terminated(correctness, "<answer>42</answer>", "42"), 2.);
    assert_eq!(reward_if_terminated(correctness, "<answer>$42.</answer>", "42"), 1.5);
    assert_eq!(reward_if_terminated(correctness, "<answer>1,234</answer>", "1234"), 1.5);
    for wrong in ["42", "<answer>42", "<answer>41 or 42</answer>", "<answer></answer>", ""] {
        assert_eq!(reward_if_terminated(correctness, wrong, "42"), 0., "{wrong:?}");
    }
    assert_eq!(reward_if_terminated(correctness, "<answer>None</answer>", ""), 0.);
    assert_eq!(
        reward_if_terminated(correctness, "", ""),
        0.,
        "nothing is not the answer to nothing"
    );
}

#[test]
fn each_tag_once_and_in_its_place() {
    let paid =
        |completion: &str| (reward_if_terminated(format, completion, "") * 10.).round() / 10.;
    assert_eq!(paid("<reasoning>\na\n</reasoning>\n<answer>\n1\n</answer>"), 0.8);
    assert_eq!(paid("<answer>1</answer>"), 0.4);
    assert_eq!(paid("<answer>1</answer><reasoning>a</reasoning>"), 0.4, "in the wrong order");
    assert_eq!(paid("</answer><answer></reasoning><reasoning>"), 0.2);
    assert_eq!(paid("<reasoning>a</reasoning><answer>1</answer><answer>2</answer>"), 0.4, "twice");
    assert_eq!(paid(&"<reasoning></reasoning><answer></answer>".repeat(9)), 0.);
    assert_eq!(paid("no tag"), 0.);
}

#[test]
fn words_cost() {
    assert_eq!(reward_if_terminated(length, "", ""), 0.);
    assert!((reward_if_terminated(length, "three words here", "") + 0.03).abs() < 1e-7);
}

#[test]
fn no_mix_is_refused_with_what_there_is() {
    let refused = |text: &str| WeightedRewards::parse(text).expect_err("refused").to_string();
    let error = refused("kindness");
    assert!(error.contains("no reward is called `kindness`") && error.contains("exact, integer"));
    assert!(refused("exact=much").contains("`much` is no weight"));
    assert!(refused("exact=NaN").contains("no weight"));
    assert!(refused("exact,exact").contains("twice"));
    assert!(refused("").contains("no reward is called ``"));
    let mix = WeightedRewards::parse("exact, runs/reward=0.5,chance=0").expect("a mix");
    assert_eq!(mix.reward_models().collect::<Vec<_>>(), ["runs/reward"]);
}
