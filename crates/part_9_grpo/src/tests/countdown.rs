//! Countdown reward: where the expression is read from a completion.

use super::reward_for;
use crate::countdown::reward;

fn reward_if_terminated(completion: &str, answer: &str) -> f32 {
    reward_for(reward, completion, answer, true)
}

#[test]
fn the_reward_uses_the_answer_tag_or_else_the_last_line() {
    let answer = "3 5 7 = 22";
    for right in
        ["3 * 5 + 7", "Let me see\n3 * 5 + 7 = 22\n", "<answer>7 + 3 * 5</answer> so there"]
    {
        assert_eq!(reward_if_terminated(right, answer), 1., "{right}");
    }
    let truncated = |completion| reward_for(reward, completion, answer, false);
    assert_eq!((truncated("3 * 5 + 7"), truncated("<answer>3 * 5 + 7</answer> so")), (0., 1.));
    for wrong in ["22", "3 * 5 + 7\nor so", "22 = 3 * 5 + 7", "<answer>22</answer> 3 * 5 + 7"] {
        assert_eq!(reward_if_terminated(wrong, answer), 0., "{wrong}");
    }
    for invalid in ["", "22", "= 22", "3 5 = ", "a b = 3"] {
        assert_eq!(reward_if_terminated("3 + 5", invalid), 0.);
    }
}
