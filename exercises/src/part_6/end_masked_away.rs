//! 6.3 The end masked away (predict, 8 minutes, ●●○)
//!
//! A model is fine-tuned on questions with short answers. Somebody masks the labels a little too
//! much, or too little. What will it write?
//!
//! Hint: What the loss ignores is not learned, and what it counts is.
//! Hint: Without the end token in the loss, nothing tells the model to stop.
//! Hint: A prompt of 14 tokens and an answer of 3, the end among them, are 17 tokens in a row. Each
//! of them but the first is the label of the one before it. Count labels.
//! Read: book/src/06_answering.md: ## The mask: learn to answer, not to ask

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    vec![
        Prediction::choice(
            "The end token's label is −100 everywhere.",
            &[
                "right answers, then it goes on until the budget is used",
                "empty answers",
                "wrong answers that end",
                "no difference",
            ],
            0,
            "The answer is learned, the stop is not: often another question follows.",
        )
        .trap(1., "for that it would have to learn the end at the first place")
        .trap(2., "the digits are in the loss, the end is not")
        .trap(3., "what is not in the loss is not learned"),
        Prediction::number(
            "No mask at all: prompts of 14 tokens, answers of 3 with the end token. What share (0 \
             to 1) of the loss's tokens is the answer? (The first token of all has no label.)",
            3. / 16.,
            0.01,
            "3 of 16: four fifths of the gradient learn to write questions.",
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
            &["falls to nearly 0 at once", "falls as usual", "rises"],
            0,
            "It is allowed to see token t. Too good to be true is a finding.",
        )
        .trap(1., "token t is the input at this place")
        .trap(2., "copying the input is the easiest thing of all"),
    ]
}
