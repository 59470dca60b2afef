//! Rust source with its comments, or its comments and strings, blanked out: the lines and columns
//! stay where they are, so that a place in the result is a place in the source.

/// Part of a source that a reader of code skips.
#[derive(Clone, Copy, PartialEq)]
enum Span {
    Code,
    LineComment,
    /// Depth of the nesting.
    BlockComment(usize),
    /// Number of `#` that close a raw string; `None` for one with escapes.
    Text(Option<usize>),
}

/// `source` without its comments.
pub(crate) fn without_comments(source: &str) -> String {
    blank(source, |span| matches!(span, Span::LineComment | Span::BlockComment(_)))
}

/// `source` without its comments and the contents of its strings.
pub(crate) fn code_only(source: &str) -> String {
    blank(source, |span| span != Span::Code)
}

/// `source` with spaces in place of the characters whose span is `hidden`.
fn blank(source: &str, hidden: impl Fn(Span) -> bool) -> String {
    let chars: Vec<char> = source.chars().collect();
    let (mut result, mut span, mut at) = (String::with_capacity(source.len()), Span::Code, 0);
    while at < chars.len() {
        let (next, length) =
            step(&chars[at..], span, at.checked_sub(1).map(|before| chars[before]));
        let shown = if next == Span::Code { span } else { next };
        for &c in &chars[at..at + length] {
            result.push(if c != '\n' && hidden(shown) { ' ' } else { c });
        }
        (span, at) = (next, at + length);
    }
    result
}

/// Span that begins with `rest`, which follows the character `before`, and its number of characters
/// until it may change.
fn step(rest: &[char], span: Span, before: Option<char>) -> (Span, usize) {
    let pair = [rest[0], rest.get(1).copied().unwrap_or(' ')];
    match span {
        Span::LineComment if rest[0] == '\n' => (Span::Code, 1),
        Span::BlockComment(1) if pair == ['*', '/'] => (Span::Code, 2),
        Span::BlockComment(depth) if pair == ['*', '/'] => (Span::BlockComment(depth - 1), 2),
        Span::BlockComment(depth) if pair == ['/', '*'] => (Span::BlockComment(depth + 1), 2),
        Span::Text(None) if rest[0] == '\\' => (span, rest.len().min(2)),
        Span::Text(None) if rest[0] == '"' => (Span::Code, 1),
        Span::Text(Some(n))
            if rest[0] == '"' && rest[1..].iter().take_while(|&&c| c == '#').count() >= n =>
        {
            (Span::Code, 1 + n)
        }
        Span::Code if pair == ['/', '/'] => (Span::LineComment, 2),
        Span::Code if pair == ['/', '*'] => (Span::BlockComment(1), 2),
        Span::Code if rest[0] == '"' => (Span::Text(None), 1),
        Span::Code
            if rest[0] == 'r' && !before.is_some_and(|c| c.is_alphanumeric() || c == '_') =>
        {
            let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
            match rest.get(1 + hashes) {
                Some('"') => (Span::Text(Some(hashes)), 2 + hashes),
                _ => (span, 1),
            }
        }
        Span::Code if rest[0] == '\'' => (span, char_literal(rest)),
        _ => (span, 1),
    }
}

/// Length of the character literal at the start of `rest`; 1 for the tick of a lifetime.
fn char_literal(rest: &[char]) -> usize {
    match rest {
        ['\'', '\\', _, end @ ..] => 3 + end.iter().take_while(|&&c| c != '\'').count() + 1,
        ['\'', _, '\'', ..] => 3,
        _ => 1,
    }
    .min(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_blanked_and_nothing_moves() {
        let source =
            "let a = \"b // c\"; // d\nlet e = r#\"f\"g\"#; /* h /* i */ j */ k('\"', 'l');";
        let code = code_only(source);
        assert_eq!(code.chars().count(), source.chars().count());
        let squeezed: String = code.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed, "let a = ; let e = ; k('\"', 'l');");
        assert!(without_comments(source).contains("\"b // c\""));
        assert!(!without_comments(source).contains('d'));
    }
}
