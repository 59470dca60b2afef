//! Text at the terminal.

use anyhow::anyhow;

use crate::program::one_line;
use crate::terminal::printable;

#[test]
fn control_characters_are_replaced_and_line_ends_and_tabs_kept() {
    assert_eq!(printable("a\tb\r\nc\n"), "a\tb\nc\n");
    assert_eq!(printable("\u{1b}[2J\u{7}\r\u{9b}x"), "�[2J���x");
    assert_eq!(printable("नमस्ते 😀"), "नमस्ते 😀");
}

#[test]
fn an_error_is_one_line_whatever_a_file_makes_it_repeat() {
    let key = format!("`{}` is missing", "न".repeat(1 << 20));
    let error = anyhow!("cause\nbacktrace").context(key).context("config.json cannot be used");
    let line = one_line(&error);
    assert!(line.starts_with("config.json cannot be used: `न") && line.ends_with("…: cause"));
    assert_eq!(line.chars().count(), 26 + 2 + 2001 + 2 + 5);
}
