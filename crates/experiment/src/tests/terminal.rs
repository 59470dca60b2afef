//! Text at the terminal.

use crate::terminal::printable;

#[test]
fn control_characters_are_replaced_and_line_ends_and_tabs_kept() {
    assert_eq!(printable("a\tb\r\nc\n"), "a\tb\nc\n");
    assert_eq!(printable("\u{1b}[2J\u{7}\r\u{9b}x"), "�[2J���x");
    assert_eq!(printable("नमस्ते 😀"), "नमस्ते 😀");
}
