//! Jinja environment for chat templates, configured as in `transformers`, on top of minijinja.

use std::io;
use std::ops::{Range, RangeInclusive};

use anyhow::ensure;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, ErrorKind};
use time::OffsetDateTime;
use time::format_description::parse_strftime_owned;

use crate::ChatDate;
use crate::chat_variables::now;
use crate::jinja_filters::add_filters;
use crate::jinja_tests::add_tests;
use crate::percent_format::percent_as_filter;
use crate::python_methods::python_method;
use crate::tojson::tojson;

/// Unicode noncharacters (reserved for internal use) that mark the start and end of an assistant
/// span in the rendered text.
const GENERATION_MARKS: [char; 2] = ['\u{FDD0}', '\u{FDD1}'];
/// Noncharacters after the marks, used as placeholders by [`crate::tokenized_chat`].
pub(crate) const PLACEHOLDERS: RangeInclusive<char> = '\u{FDD2}'..='\u{FDEF}';

/// Limit of the work and memory of a rendering: an instruction takes 1, 64 bytes of text take 1, so
/// that a template from anywhere stops within seconds and 256 MB. A conversation of 100,000 turns
/// takes two thirds of it.
const MAX_FUEL: u64 = 4_000_000;
/// Limit of the text, which is that of [`MAX_FUEL`]. A printed list takes fuel only when it ends.
const MAX_TEXT_BYTES: usize = 64 * MAX_FUEL as usize;
/// Limit of a template's source; the largest of real models have 30 kB. The compiler is recursive.
const MAX_SOURCE_BYTES: usize = 1 << 18;

/// Environment with `source` as its template `name`.
pub(crate) fn environment(name: &str, source: &str) -> anyhow::Result<Environment<'static>> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(error_with_line)?);
    environment.set_fuel(Some(MAX_FUEL));
    // A prompt is not HTML, whatever the extension of the template's name.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(python_method);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", |format: &str| strftime(format, now()));
    add_tests(&mut environment);
    add_filters(&mut environment);
    environment.add_filter("tojson", tojson);
    environment.add_filter("mark_generation", |text: &str| {
        format!("{}{text}{}", GENERATION_MARKS[0], GENERATION_MARKS[1])
    });
    ensure!(source.len() <= MAX_SOURCE_BYTES, "{name} has more than {MAX_SOURCE_BYTES} bytes");
    let source = percent_as_filter(&generation_as_filter(&with_lf_line_ends(source)));
    environment.add_template_owned(name.to_string(), source).map_err(error_with_line)?;
    Ok(environment)
}

/// Text of the template `name`.
pub(crate) fn render(
    environment: &Environment<'_>,
    name: &str,
    variables: Value,
) -> anyhow::Result<String> {
    let mut text = LimitedText(Vec::new());
    let template = environment.get_template(name).map_err(error_with_line)?;
    template.render_captured_to(variables, &mut text).map_err(error_with_line)?;
    Ok(String::from_utf8(text.0)?)
}

/// Text of up to [`MAX_TEXT_BYTES`].
struct LimitedText(Vec<u8>);

impl io::Write for LimitedText {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_TEXT_BYTES {
            return Err(io::Error::other("the text is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Template source whose lines end with LF, as Jinja2 reads it: minijinja would write the CR of
/// CR LF into the prompt.
fn with_lf_line_ends(source: &str) -> String {
    source.replace("\r\n", "\n").replace('\r', "\n")
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

/// Sets the date that `strftime_now` gives, at midnight.
pub(crate) fn set_date(environment: &mut Environment<'static>, date: ChatDate) {
    let midnight = date.0.midnight().assume_utc();
    environment.add_function("strftime_now", move |format: &str| strftime(format, midnight));
}

/// A time in a `format` of Python's `strftime`. With it, a template gives the model the date
/// (Llama 3).
pub(crate) fn strftime(format: &str, time: OffsetDateTime) -> Result<String, Error> {
    let formatted =
        || -> anyhow::Result<String> { Ok(time.format(&parse_strftime_owned(format)?)?) };
    formatted().map_err(|error| {
        let message = format!("strftime_now does not support `{format}`: {error}");
        Error::new(ErrorKind::InvalidOperation, message)
    })
}

/// Error prefixed with the template's name and line.
pub(crate) fn error_with_line(error: Error) -> anyhow::Error {
    let reason = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel | ErrorKind::WriteFailure, _) => {
            "the template reached the limit of its instructions and memory: it never ends, or its \
             text grows without bound"
                .to_string()
        }
        (_, Some(detail)) => detail.to_string(),
        (kind, None) => kind.to_string(),
    };
    match (error.name(), error.line()) {
        (Some(name), Some(line)) => anyhow::anyhow!("{name}, line {line}: {reason}"),
        _ => anyhow::anyhow!("the chat template: {reason}"),
    }
}
