//! Jinja2's filters and functions that minijinja lacks, within the limits of a rendering.

use minijinja::value::{Kwargs, Rest, Value, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State};
use minijinja_contrib::globals::{cycler, joiner};

use crate::python_methods::centered;

/// Adds them to `environment`.
pub(crate) fn add_filters(environment: &mut Environment<'_>) {
    environment.add_filter("center", center);
    environment.add_filter("filesizeformat", file_size);
    environment.add_filter("truncate", truncate);
    environment.add_filter("urlencode", url_encode);
    environment.add_filter("wordcount", word_count);
    environment.add_function("cycler", |items: Rest<Value>| cycler(items.0));
    environment.add_function("joiner", joiner);
}

/// `text` in the middle of `width` characters, by default 80.
fn center(
    state: &State,
    text: String,
    width: Option<i64>,
    options: Kwargs,
) -> Result<String, Error> {
    let width = width.or(options.get("width")?).unwrap_or(80);
    options.assert_all_used()?;
    centered(state, &text, width)
}

/// Number of bytes in words: `13.0 kB`, or `12.7 KiB` if it is `binary`.
fn file_size(n_bytes: f64, binary: Option<bool>, options: Kwargs) -> Result<String, Error> {
    let binary = binary.or(options.get("binary")?).unwrap_or(false);
    options.assert_all_used()?;
    let (base, end) = if binary { (1024., "iB") } else { (1000f64, "B") };
    if n_bytes == 1. {
        return Ok("1 Byte".into());
    }
    if n_bytes < base {
        return Ok(format!("{:.0} Bytes", n_bytes.trunc()));
    }
    let first = if binary { "K" } else { "k" };
    let (mut size, mut prefix) = (n_bytes / base, first);
    for next in ["M", "G", "T", "P", "E", "Z", "Y"] {
        if size < base {
            break;
        }
        (size, prefix) = (size / base, next);
    }
    Ok(format!("{size:.1} {prefix}{end}"))
}

/// `text` if it has at most `length` characters, or `leeway` more; else its start, which ends with
/// a word unless `killwords`, and `end`.
fn truncate(text: String, arguments: Rest<Value>, options: Kwargs) -> Result<String, Error> {
    type Arguments = (Option<usize>, Option<bool>, Option<String>, Option<usize>);
    let (length, killwords, end, leeway): Arguments = from_args(&arguments)?;
    let length = length.or(options.get("length")?).unwrap_or(255);
    let killwords = killwords.or(options.get("killwords")?).unwrap_or(false);
    let end = end.or(options.get("end")?).unwrap_or_else(|| "...".to_string());
    let leeway = leeway.or(options.get("leeway")?).unwrap_or(5);
    options.assert_all_used()?;
    let n = length.checked_sub(end.chars().count()).ok_or_else(|| {
        let message = format!("truncate: `length` is {length}, less than that of `end`");
        Error::new(ErrorKind::InvalidOperation, message)
    })?;
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text);
    }
    let start: String = text.chars().take(n).collect();
    let words = start.rsplit_once(' ').filter(|_| !killwords).map(|(words, _)| words);
    Ok(format!("{}{end}", words.unwrap_or(&start)))
}

/// Text as a part of a URL, or a mapping or list of pairs as its query.
fn url_encode(state: &State, value: &Value) -> Result<String, Error> {
    let is_map = value.kind() == ValueKind::Map;
    if !is_map && !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return percent_encoded(state, value, |byte| byte == b'/');
    }
    let encode = |part: &Value| percent_encoded(state, part, |byte| byte == b' ');
    let mut query = Vec::new();
    for item in value.try_iter()? {
        let [key, value] = match is_map {
            true => [item.clone(), value.get_item(&item)?],
            false => [item.get_item_by_index(0)?, item.get_item_by_index(1)?],
        };
        query.push(format!("{}={}", encode(&key)?, encode(&value)?).replace(' ', "+"));
    }
    Ok(query.join("&"))
}

/// `value` as text, with the bytes that a URL may not hold in hexadecimal, apart from those that
/// `is_kept`.
fn percent_encoded(state: &State, value: &Value, is_kept: fn(u8) -> bool) -> Result<String, Error> {
    let text = value.to_string();
    state.consume_fuel(text.len() as u64 / 16)?; // a byte becomes up to 3
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) || is_kept(byte) {
            true => encoded.push(char::from(byte)),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(encoded)
}

/// Number of runs of letters, digits and underscores.
fn word_count(text: String) -> usize {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.filter(|word| !word.is_empty()).count()
}
