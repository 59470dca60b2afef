//! Jinja environment for chat templates, configured as in `transformers`, on top of minijinja.

use std::ops::{Range, RangeInclusive};
use std::time::UNIX_EPOCH;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, filters};
use minijinja_contrib::pycompat;
use time::OffsetDateTime;
use time::format_description::parse_strftime_owned;

/// Unicode noncharacters (reserved for internal use) that mark the start and end of an assistant
/// span in the rendered text.
const GENERATION_MARKS: [char; 2] = ['\u{FDD0}', '\u{FDD1}'];
/// Noncharacters after the marks, used as placeholders by [`crate::tokenized_chat`].
pub(crate) const PLACEHOLDERS: RangeInclusive<char> = '\u{FDD2}'..='\u{FDEF}';

/// Instruction limit that stops endless templates. A conversation of 100,000 turns takes a
/// twentieth of it.
const MAX_INSTRUCTIONS: u64 = 50_000_000;

/// Environment with `source` as its template `name`.
pub(crate) fn environment(name: &str, source: &str) -> anyhow::Result<Environment<'static>> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(error_with_line)?);
    environment.set_fuel(Some(MAX_INSTRUCTIONS));
    // A prompt is not HTML, whatever the extension of the template's name.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(pycompat::unknown_method_callback);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", |format: &str| {
        strftime(format, UNIX_EPOCH.elapsed().unwrap_or_default().as_secs())
    });
    environment.add_filter("tojson", tojson);
    environment.add_filter("mark_generation", |text: &str| {
        format!("{}{text}{}", GENERATION_MARKS[0], GENERATION_MARKS[1])
    });
    let source = generation_as_filter(source);
    environment.add_template_owned(name.to_string(), source).map_err(error_with_line)?;
    Ok(environment)
}

/// Template source with transformers' `{% generation %}` tag replaced by a filter block.
///
/// Minijinja does not support custom tags. A filter block is a tag too, so the whitespace around it
/// is trimmed in the same way.
fn generation_as_filter(source: &str) -> String {
    let mut result = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, tag, after)) = next_tag(rest) {
        result.push_str(before);
        match tag.trim_matches(|c: char| "{%-+}".contains(c) || c.is_whitespace()) {
            "generation" => result.push_str(&tag.replace("generation", "filter mark_generation")),
            "endgeneration" => result.push_str(&tag.replace("endgeneration", "endfilter")),
            _ => {
                result.push_str("{%");
                rest = &rest[before.len() + 2..];
                continue;
            }
        }
        rest = after;
    }
    result + rest
}

/// Text before the first tag, the tag from `{%` to `%}`, and the rest.
fn next_tag(text: &str) -> Option<(&str, &str, &str)> {
    let start = text.find("{%")?;
    let end = start + text[start..].find("%}")? + 2;
    Some((&text[..start], &text[start..end], &text[end..]))
}

/// Message text without the marks and placeholders, which a user could have typed.
pub(crate) fn strip_marks(text: &str) -> String {
    text.replace(|c| GENERATION_MARKS.contains(&c) || PLACEHOLDERS.contains(&c), "")
}

/// Rendered text without the marks, and the byte ranges that they enclosed.
pub(crate) fn extract_generation_spans(marked: &str) -> (String, Vec<Range<usize>>) {
    let (mut text, mut spans, mut start) = (String::with_capacity(marked.len()), Vec::new(), 0);
    for c in marked.chars() {
        match GENERATION_MARKS.iter().position(|&mark| mark == c) {
            None => text.push(c),
            Some(0) => start = text.len(),
            Some(_) => spans.push(start..text.len()),
        }
    }
    (text, spans)
}

/// Template function `raise_exception`, with which a template rejects a conversation.
fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_string()))
}

/// Time `seconds` after the Unix epoch, in UTC, in a `format` of Python's `strftime`. With it, a
/// template gives the model the date (Llama 3).
pub(crate) fn strftime(format: &str, seconds: u64) -> Result<String, Error> {
    let formatted = || -> anyhow::Result<String> {
        let time = OffsetDateTime::from_unix_timestamp(seconds as i64)?;
        Ok(time.format(&parse_strftime_owned(format)?)?)
    };
    formatted().map_err(|error| {
        let message = format!("strftime_now does not support `{format}`: {error}");
        Error::new(ErrorKind::InvalidOperation, message)
    })
}

/// Filter `tojson` with the output of Python's `json.dumps(.., ensure_ascii=False)`. Minijinja's
/// own filter also escapes `<`, `>`, `&` and `'` for HTML.
fn tojson(value: &Value, indent: Option<Value>, options: Kwargs) -> Result<String, Error> {
    let indent = indent.or(options.get("indent")?);
    options.get::<Option<bool>>("ensure_ascii")?;
    options.assert_all_used()?;
    let json = filters::tojson(
        value,
        indent.filter(|indent| !indent.is_none()),
        Kwargs::from_iter::<[(&str, Value); 0]>([]),
    )?;
    let mut text = String::new();
    let mut rest = json.as_str().unwrap_or_default();
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let escape = [("\\u003c", "<"), ("\\u003e", ">"), ("\\u0026", "&"), ("\\u0027", "'")];
        let escape = escape.into_iter().find(|(code, _)| rest[at..].starts_with(code));
        // Any other escape has two characters. Skipping both halves of `\\` keeps the second one
        // from starting an escape.
        let (code, plain) = escape.unwrap_or((&rest[at..at + 2], &rest[at..at + 2]));
        text.push_str(plain);
        rest = &rest[at + code.len()..];
    }
    Ok(text + rest)
}

/// Error prefixed with the template's name and line.
pub(crate) fn error_with_line(error: Error) -> anyhow::Error {
    let reason = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => {
            "the instruction limit was reached; the template never ends".to_string()
        }
        (_, Some(detail)) => detail.to_string(),
        (kind, None) => kind.to_string(),
    };
    match (error.name(), error.line()) {
        (Some(name), Some(line)) => anyhow::anyhow!("{name}, line {line}: {reason}"),
        _ => anyhow::anyhow!("the chat template: {reason}"),
    }
}
