//! Python's formatting of a text, `'%s: %d' % (name, n)`, as Jinja's filter `format`: minijinja's
//! `%` is for numbers alone. Only a literal text is formatted, which is what templates have.

/// Template source with each `'..' % operand` of its tags as `'..' | format(operand)`.
pub(crate) fn percent_as_filter(source: &str) -> String {
    let mut result = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find('{') {
        result.push_str(&rest[..start]);
        rest = &rest[start..];
        let len = match rest.get(1..2) {
            Some("{") => {
                rest = convert_tag(rest, "}}", &mut result);
                continue;
            }
            Some("%") if !is_raw(rest) => {
                rest = convert_tag(rest, "%}", &mut result);
                continue;
            }
            Some("%") => rest.find("endraw").unwrap_or(rest.len()),
            Some("#") => rest.find("#}").unwrap_or(rest.len()),
            _ => 1,
        };
        result.push_str(&rest[..len]);
        rest = &rest[len..];
    }
    result + rest
}

/// True if the tag at the start of `text` begins a block without tags.
fn is_raw(text: &str) -> bool {
    text[2..].trim_start_matches(['-', '+']).trim_start().starts_with("raw")
}

/// Appends the tag at the start of `text`, up to its `end`, to `result`. Returns what follows.
fn convert_tag<'a>(text: &'a str, end: &str, result: &mut String) -> &'a str {
    let (open, mut rest) = text.split_at(2);
    result.push_str(open);
    while let Some(c) = rest.chars().next().filter(|_| !rest.starts_with(end)) {
        if !is_quote(c) {
            result.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let (literal, after) = rest.split_at(literal_len(rest));
        result.push_str(literal);
        rest = after;
        let operator = after.trim_start().strip_prefix('%');
        let Some(operand) = operator.filter(|text| !text.starts_with('}')) else { continue };
        let operand = operand.trim_start();
        let (operand, after) = operand.split_at(operand_len(operand));
        let is_tuple = operand.starts_with('(') && bracket_len(operand) == operand.len();
        match is_tuple {
            true => result.push_str(&format!(" | format{operand}")),
            false => result.push_str(&format!(" | format({operand})")),
        }
        rest = after;
    }
    rest
}

/// Length of the operand at the start of `text`: a literal, a name or an expression in brackets,
/// with its attributes, items, calls and filters, which bind tighter than `%`.
fn operand_len(text: &str) -> usize {
    let mut len = usize::from(text.starts_with('-'));
    len += match text[len..].chars().next() {
        Some(c) if is_quote(c) => literal_len(&text[len..]),
        Some('(' | '[' | '{') => bracket_len(&text[len..]),
        _ => name_len(&text[len..]),
    };
    loop {
        let rest = &text[len..];
        let next = rest.trim_start();
        let suffix_len = match next.chars().next() {
            Some('(' | '[') => bracket_len(next),
            Some('.') => 1 + name_len(&next[1..]),
            Some('|') => {
                let filter = next[1..].trim_start();
                next.len() - filter.len() + name_len(filter)
            }
            _ => return len,
        };
        len += rest.len() - next.len() + suffix_len;
    }
}

fn is_quote(c: char) -> bool {
    c == '\'' || c == '"'
}

fn name_len(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// Length of the literal text at the start of `text`, with its quotes.
fn literal_len(text: &str) -> usize {
    let quote = text.bytes().next();
    let mut is_escaped = false;
    for (i, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            _ if Some(byte) == quote => return i + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of the expression in brackets at the start of `text`.
fn bracket_len(text: &str) -> usize {
    let (mut end, mut depth) = (0, 0usize);
    while let Some(&byte) = text.as_bytes().get(end) {
        match byte {
            b'\'' | b'"' => end += literal_len(&text[end..]) - 1,
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
        end += 1;
        if depth == 0 {
            return end;
        }
    }
    text.len()
}
