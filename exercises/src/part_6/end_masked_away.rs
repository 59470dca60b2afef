//! 6.3 The end masked away (predict, 8 minutes, ●●○)
//!
//! A model is fine-tuned on questions with short answers. In questions 1 and 2 somebody masks the
//! labels a little too much, or too little. In questions 3 and 4 the mask is as it should be, and
//! the shift is not.
//!
//! Hint: Question 1: a place with the label −100 teaches nothing, for or against. Question 2: count
//! labels, not tokens. Questions 3 and 4: what does the model see at place t?
//! Hint: Question 1: which labels does the loss count at the place behind an answer? Question 2:
//! the row has 14 + 3 tokens, and each but the first is the label of the one before it. Question 3:
//! is token t + 2 quite unpredictable? Question 4: the input at place t is token t.
//! Hint: Question 1: every label that is left there is the end. Question 2: 3 of 16. Question 3: it
//! can be guessed, if worse than token t + 1. Question 4: copying is enough.
//! Read: book/src/06_answering.md: ## The mask: learn to answer, not to ask

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    vec![
        Prediction::choice(
            "In half of the examples, chosen at random, the end token's label is −100; in the \
             other half it is learned. After many steps the model ends",
            &["after about half of its answers", "after nearly all its answers", "after none"],
            1,
            "At the place behind an answer every label that counts is the end. Those rows suffice; \
             the others say nothing. Were the label −100 in all rows, it would go on and on.",
        )
        .trap(0., "for that, the other half would need another label there; −100 says nothing")
        .trap(2., "half of the rows teach it"),
        Prediction::number(
            "No mask at all: prompts of 14 tokens, answers of 3 tokens, the end among them. What \
             share (0 to 1) of the labels in the loss is the answer? (The first token of all is \
             not a label.)",
            3. / 16.,
            0.01,
            "3 of 16: the other 13 labels teach to write questions.",
        )
        .trap(3. / 17., "17 tokens have 16 labels")
        .trap(3. / 14., "prompt and answer are both counted below the line"),
        Prediction::choice(
            "The labels are shifted once too often: place t is to predict token t + 2. The loss",
            &["is NaN", "falls, and the answers are wrong", "stays where it was"],
            1,
            "Token t + 2 can be guessed, too, a little worse. A loss that falls proves little.",
        )
        .trap(0., "these labels are as valid as the right ones")
        .trap(2., "there is something to learn about the token after the next"),
        Prediction::choice(
            "The labels are not shifted at all: place t is to predict token t. The loss",
            &["falls to nearly 0 within few steps", "falls as usual", "rises"],
            0,
            "It is allowed to see token t. Too good to be true is a finding.",
        )
        .trap(1., "token t is the input at this place")
        .trap(2., "copying the input is the easiest thing of all"),
    ]
}
