//! 6.8 Another prompt than in training (find the bug, 8 minutes, ●●○)
//!
//! A chat template like ChatML: BOS once in front of all, then for each message `<|im_start|>`, the
//! role, a line break, the text, `<|im_end|>` and a line break. The model was trained on the ids of
//! `conversation`, and its validation loss is low. In use it reads `prompt_in_use`; its answers
//! begin with an empty line, and are worse than the loss promises. What it reads in use has to be
//! the beginning of what it read in training, to the last id. Two lines differ.
//!
//! Hint: Print the ids of a conversation with its answer, and the prompt before that answer. Up to
//! which place do they agree?
//! Hint: Two things differ: one at the very beginning, one at the very end.
//! Hint: `conversation` writes BOS already: `let mut ids = conversation(messages);`. And the
//! assistant's turn begins with `text("assistant\n")`.
//! Read: crates/part_6_sft/src/template.rs: {%- if add_generation_prompt -%}
//! Read: book/src/06_answering.md: ## A template, so that both know whose turn it is

const BOS: u32 = 1;
const IM_START: u32 = 2;
const IM_END: u32 = 3;

/// Ids of plain text, one for each character.
fn text(text: &str) -> Vec<u32> {
    text.chars().map(u32::from).collect()
}

/// Ids of a conversation, an example of training. Each message is a role and a text.
fn conversation(messages: &[(&str, &str)]) -> Vec<u32> {
    let mut ids = vec![BOS];
    for (role, content) in messages {
        ids.push(IM_START);
        ids.extend(text(&format!("{role}\n{content}")));
        ids.push(IM_END);
        ids.extend(text("\n"));
    }
    ids
}

/// Ids that the model reads before it writes the next message, as the assistant.
pub fn prompt_in_use(messages: &[(&str, &str)]) -> Vec<u32> {
    // BUG
    let mut ids = conversation(messages);
    //| let mut ids = [vec![BOS], conversation(messages)].concat(); // BOS, as a tokenizer adds it
    // END
    ids.push(IM_START);
    // BUG
    ids.extend(text("assistant\n"));
    //| ids.extend(text("assistant"));
    // END
    ids
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Prompt = fn(&[(&str, &str)]) -> Vec<u32>;

/// Grader. The reference cuts an example of training off where the answer begins.
pub const GRADE: Fill<Prompt> = Fill {
    cases,
    reference: |messages| {
        let mut ids = with_answer(messages, "");
        ids.truncate(ids.len() - 2); // the end of the message, and the line break
        ids
    },
    tolerance: 0.,
    wrong: &[
        Wrong {
            f: |messages| {
                let mut ids = prompt_in_use(messages);
                ids.truncate(ids.len() - 1);
                ids
            },
            says: "the line break after the role is missing; in training the answer begins behind \
                   it",
            read: "",
        },
        Wrong {
            f: |messages| [vec![BOS], prompt_in_use(messages)].concat(),
            says: "BOS stands twice: the template writes it, and it is put in front again",
            read: "",
        },
        Wrong {
            f: |messages| prompt_in_use(messages).split_off(1),
            says: "BOS is missing: in training every text began with it",
            read: "",
        },
        Wrong {
            f: |messages| with_answer(messages, ""),
            says: "the assistant's turn is closed before the answer; the prompt ends inside it",
            read: "",
        },
        Wrong {
            f: |messages| {
                let mut ids = prompt_in_use(messages);
                ids.truncate(ids.len() - 1);
                ids.extend(text(" "));
                ids
            },
            says: "a space follows the role; in training it is a line break",
            read: "",
        },
        Wrong {
            f: |messages| [prompt_in_use(messages), text("\n")].concat(),
            says: "two line breaks follow the role; in training it is one",
            read: "",
        },
        Wrong {
            f: conversation,
            says: "the assistant's turn is not opened, so anybody may speak next",
            read: "",
        },
    ],
};

/// Example of training: `messages`, and the assistant's `answer`.
fn with_answer(messages: &[(&str, &str)], answer: &str) -> Vec<u32> {
    let mut all = messages.to_vec();
    all.push(("assistant", answer));
    conversation(&all)
}

fn cases(f: Prompt, answers: &mut Answers) {
    let question = ("user", "2 + 2?");
    for (label, messages) in [
        ("a question", vec![question]),
        ("a system message first", vec![("system", "Be brief."), question]),
        ("a second question", vec![question, ("assistant", "4"), ("user", "And 2 · 3?")]),
    ] {
        let trained = with_answer(&messages, "an answer");
        answers.record(format!("{label}: ids that agree with the example of training"), || {
            let ids = f(&messages);
            let agree = ids.iter().zip(&trained).take_while(|(id, trained)| id == trained);
            Ok(agree.count() as f64)
        });
        answers.record(format!("{label}: all ids"), || {
            Ok(f(&messages).into_iter().map(f64::from).collect::<Vec<_>>())
        });
    }
}
