//! Methods of Python's texts and lists that templates may call and minijinja's collection lacks,
//! within the limits of a rendering: what is longer than its text takes fuel before it is made.

use minijinja::value::{Kwargs, Tuple, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};
use minijinja_contrib::pycompat;

/// Method `method` of `value`.
pub(crate) fn python_method(
    state: &mut State,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        if method == "format" {
            check_width_of_format(text)?;
        }
        if let Some(result) = text_method(state, text, method, arguments)? {
            return Ok(result);
        }
        if method == "split" {
            let arguments = split_arguments(arguments)?;
            return pycompat::unknown_method_callback(state, value, method, &arguments);
        }
    }
    if method == "index" && value.kind() == ValueKind::Seq {
        let (item,): (&Value,) = from_args(arguments)?;
        let position = value.try_iter()?.position(|other| other == *item);
        return position.map(Value::from).ok_or_else(|| invalid("index: no such item in the list"));
    }
    pycompat::unknown_method_callback(state, value, method, arguments)
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.to_string())
}

/// Checks the widths in a `format` of `str.format`: a number that is padded takes no fuel.
fn check_width_of_format(format: &str) -> Result<(), Error> {
    const MAX_DIGITS: usize = 4;
    let mut numbers = format.split(|c: char| !c.is_ascii_digit());
    match numbers.any(|digits| digits.len() > MAX_DIGITS) {
        true => Err(invalid(&format!("format: a width of more than {MAX_DIGITS} digits"))),
        false => Ok(()),
    }
}

/// Result of a method of `text`; `None` if it is not here.
fn text_method(
    state: &State,
    text: &str,
    method: &str,
    arguments: &[Value],
) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "center" | "ljust" | "rjust" => {
            let (width, fill): (i64, Option<char>) = from_args(arguments)?;
            let left: fn(usize, usize) -> usize = match method {
                "center" => left_of_center,
                "ljust" => |_, _| 0,
                _ => |padding, _| padding,
            };
            padded(state, text, width, fill.unwrap_or(' '), left)?.into()
        }
        "zfill" => {
            let (width,): (i64,) = from_args(arguments)?;
            let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
            let sign = &text[..text.len() - digits.len()];
            let width = width.saturating_sub(sign.len() as i64);
            let digits = padded(state, digits, width, '0', |padding, _| padding)?;
            Value::from(format!("{sign}{digits}"))
        }
        "swapcase" => {
            from_args::<()>(arguments)?;
            swapped_case(text).into()
        }
        "removeprefix" | "removesuffix" => {
            let (part,): (&str,) = from_args(arguments)?;
            let rest = match method {
                "removeprefix" => text.strip_prefix(part),
                _ => text.strip_suffix(part),
            };
            Value::from(rest.unwrap_or(text))
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(arguments)?;
            ensure_not_empty(separator)?;
            let parts = match method {
                "partition" => text
                    .split_once(separator)
                    .map_or([text, "", ""], |(before, after)| [before, separator, after]),
                _ => text
                    .rsplit_once(separator)
                    .map_or(["", "", text], |(before, after)| [before, separator, after]),
            };
            Tuple::from(parts.map(Value::from)).into()
        }
        "index" | "rindex" => {
            let (part,): (&str,) = from_args(arguments)?;
            let start = if method == "index" { text.find(part) } else { text.rfind(part) };
            let start = start.ok_or_else(|| invalid("index: no such part of the text"))?;
            text[..start].chars().count().into()
        }
        "rsplit" => {
            let arguments = split_arguments(arguments)?;
            let (separator, limit): (Option<&str>, Option<i64>) = from_args(&arguments)?;
            split_from_right(state, text, separator, limit)?
        }
        _ => return Ok(None),
    }))
}

/// Arguments `sep` and `maxsplit` of `split` and `rsplit`, given by position or by name.
fn split_arguments(arguments: &[Value]) -> Result<[Value; 2], Error> {
    let (separator, limit, options): (Option<Value>, Option<Value>, Kwargs) = from_args(arguments)?;
    let separator = separator.or(options.get("sep")?);
    let limit = limit.or(options.get("maxsplit")?);
    options.assert_all_used()?;
    Ok([separator, limit].map(|argument| argument.unwrap_or_else(|| Value::from(()))))
}

/// `text` with so much of `fill` that it has `width` characters; `left` gives the part of the
/// padding before it.
fn padded(
    state: &State,
    text: &str,
    width: i64,
    fill: char,
    left: fn(usize, usize) -> usize,
) -> Result<String, Error> {
    let width = usize::try_from(width).unwrap_or(0);
    let padding = width.saturating_sub(text.chars().count());
    state.consume_fuel(padding as u64 / 16)?; // a character has up to 4 bytes
    let left = left(padding, width);
    let fill = |n| std::iter::repeat_n(fill, n);
    Ok(fill(left).chain(text.chars()).chain(fill(padding - left)).collect())
}

/// Padding before a text in the middle of `width` characters: Python puts an odd one before it if
/// the width is odd, too.
fn left_of_center(padding: usize, width: usize) -> usize {
    padding / 2 + (padding & width & 1)
}

/// `text` in the middle of `width` characters.
pub(crate) fn centered(state: &State, text: &str, width: i64) -> Result<String, Error> {
    padded(state, text, width, ' ', left_of_center)
}

fn swapped_case(text: &str) -> String {
    let mut swapped = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_uppercase() {
            true => swapped.extend(c.to_lowercase()),
            false => swapped.extend(c.to_uppercase()),
        }
    }
    swapped
}

fn ensure_not_empty(separator: &str) -> Result<(), Error> {
    match separator.is_empty() {
        true => Err(invalid("the separator is empty")),
        false => Ok(()),
    }
}

/// Parts of `text` between the last `limit` separators, or all; without a separator, between runs
/// of white space.
fn split_from_right(
    state: &State,
    text: &str,
    separator: Option<&str>,
    limit: Option<i64>,
) -> Result<Value, Error> {
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    ensure_not_empty(separator.unwrap_or(" "))?;
    let n_separators = match separator {
        Some(separator) => text.rmatches(separator).take(limit).count(),
        None => text.split_whitespace().take(limit).count(),
    };
    state.consume_fuel(1 + n_separators as u64)?; // a part takes less than 64 bytes
    let mut parts: Vec<&str> = Vec::new();
    if let Some(separator) = separator {
        parts.extend(text.rsplitn(limit.saturating_add(1), separator));
    } else {
        let mut rest = text.trim_end();
        while !rest.is_empty() {
            let split = rest.rsplit_once(char::is_whitespace).filter(|_| parts.len() < limit);
            let (before, last) = split.unwrap_or(("", rest));
            parts.push(last);
            rest = before.trim_end();
        }
    }
    Ok(parts.into_iter().rev().map(Value::from).collect())
}
