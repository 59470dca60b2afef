//! HH dialogues.

use std::time::{Duration, Instant};

use anyhow::Result;
use model_io::ChatMessage;

use crate::dialogue::{split_last_completion, turns};

#[test]
fn a_dialogue_is_split_before_its_last_turn() -> Result<()> {
    let text =
        "\n\nHuman: Hi\n\nAssistant: Hello\nyou\n\nHuman: Say \"Human: x\"\n\nAssistant: Human: x ";
    let (prompt, last) = split_last_completion(turns(text))?;
    let expected = [
        ChatMessage::user("Hi"),
        ChatMessage::assistant("Hello\nyou"),
        ChatMessage::user("Say \"Human: x\""),
    ];
    assert_eq!((&prompt[..], last.content.as_str()), (&expected[..], "Human: x "));
    for bad in
        ["Hi", "\n\nAssistant: Hi", "\n\nHuman: Hi", "\n\nHuman: a\n\nAssistant: b\n\nHuman: c"]
    {
        assert!(split_last_completion(turns(bad)).is_err(), "{bad}");
    }
    Ok(())
}

#[test]
fn the_time_grows_with_the_length_of_a_dialogue_and_not_with_its_square() {
    let (n, start) = (1 << 17, Instant::now());
    assert_eq!(turns(&"\n\nHuman: \n".repeat(n)).len(), n);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}
