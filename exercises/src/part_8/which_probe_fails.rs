//! 8.18 Which probe fails? (predict, 8 minutes, ●●○)
//!
//! The five probe worlds of this part's tests: *constant* (always 1), *observation* (the prompt
//! decides), *delayed* (here the first of two tokens decides, paid after the second), *action* (the
//! token decides), *both* (prompt and token). PPO's loop passes all five. Each fault was planted in
//! it; which worlds fail?
//!
//! Hint: Ask of each world: which piece does it need that the fault breaks?
//! Hint: Without choices the policy cannot fail; without a second step no discount can.
//! Hint: A wrong prompt for the reward function is harmless wherever all prompts pay alike.
//! Read: book/src/log.md: **Probe worlds with faults planted**

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    vec![
        Prediction::choice(
            "The discount γ is forgotten.",
            &["delayed", "delayed, action, both", "all five", "constant"],
            0,
            "Only there does anything come later: its values should be γ and 1.",
        )
        .trap(1., "episodes of one step have nothing to discount")
        .trap(2., "episodes of one step have nothing to discount")
        .trap(3., "episodes of one step have nothing to discount"),
        Prediction::choice(
            "The reward function is asked with the other prompt; the completion is right.",
            &["observation", "observation and both", "all but constant", "action"],
            1,
            "These two pay by the prompt. In the others all prompts pay alike.",
        )
        .trap(0., "both pays by the prompt, too")
        .trap(2., "delayed and action do not look at the prompt")
        .trap(3., "action does not look at the prompt"),
        Prediction::choice(
            "Advantages have the wrong sign, in the policy loss only.",
            &["all five", "constant and observation", "delayed, action, both", "action"],
            2,
            "Where the token decides, the policy learns the contrary; the critic is right.",
        )
        .trap(0., "in constant and observation no token is better than another")
        .trap(1., "there no token is better than another, and the critic is not touched")
        .trap(3., "in delayed and both a token decides, too"),
        Prediction::choice(
            "Returns are taken without the value: return = advantage.",
            &["all five", "delayed", "action and both", "none"],
            0,
            "return = advantage + value. The critic then learns what is left of it, everywhere.",
        )
        .trap(1., "the critic's target is wrong in each world, also after one step")
        .trap(2., "the critic's target is wrong also where nothing is to be chosen")
        .trap(3., "the critic's target is wrong in each world"),
    ]
}
