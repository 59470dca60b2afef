//! Words of a libFuzzer dictionary, which JSON mutations use as keys and texts.

/// Words of a dictionary: the quoted text of each line that is not a comment.
pub(crate) fn words(dictionary: &str) -> Vec<String> {
    let lines = dictionary.lines().filter(|line| !line.starts_with('#'));
    let quoted = lines.filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix('"'));
    quoted.map(unescaped).collect()
}

/// Text of a word: `\\`, `\"` and `\x0a` stand for a byte.
fn unescaped(word: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), word.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.strip_prefix(b"x").and_then(|digits| digits.get(..2));
        let hex = hex.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        (rest, bytes) = match (byte, hex, after) {
            (b'\\', Some(hex), _) => (&after[3..], [&bytes[..], &[hex]].concat()),
            (b'\\', None, [next, after @ ..]) => (after, [&bytes[..], &[*next]].concat()),
            _ => (after, [&bytes[..], &[byte]].concat()),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
