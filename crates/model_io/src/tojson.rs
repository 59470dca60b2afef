//! Jinja's `tojson`, as Python writes JSON, within the limits of a rendering.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

/// Limit of the nesting of a value: `tojson` calls itself for each level.
const MAX_NESTING: usize = 100;

/// Filter `tojson` with the output of Python's `json.dumps(.., ensure_ascii=False)`. Minijinja's
/// own filter escapes `<`, `>`, `&` and `'` for HTML, and has no limit.
pub(crate) fn tojson(
    state: &State,
    value: &Value,
    indent: Option<Value>,
    options: Kwargs,
) -> Result<String, Error> {
    let indent = indent.or(options.get("indent")?).filter(|indent| !indent.is_none());
    options.get::<Option<bool>>("ensure_ascii")?;
    options.assert_all_used()?;
    let indent = indent.map(usize::try_from).transpose()?;
    let mut json = JsonWriter { state, indent, text: String::new() };
    json.write(value, 0)?;
    Ok(json.text)
}

/// Writer of a value as JSON. Its text takes fuel while it grows: a value may contain another one
/// many times.
struct JsonWriter<'a> {
    state: &'a State<'a, 'a>,
    /// Spaces per level, each item on a line of its own; `None` writes one line.
    indent: Option<usize>,
    text: String,
}

impl JsonWriter<'_> {
    fn write(&mut self, value: &Value, level: usize) -> Result<(), Error> {
        if level > MAX_NESTING {
            let message = format!("tojson: the value is nested more than {MAX_NESTING} times");
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
        let is_map = value.kind() == ValueKind::Map;
        if !is_map && !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
            return self.scalar(value);
        }
        self.push(if is_map { "{" } else { "[" })?;
        let mut is_empty = true;
        for item in value.try_iter()? {
            if !is_empty {
                self.push(if self.indent.is_some() { "," } else { ", " })?;
            }
            is_empty = false;
            self.new_line(level + 1)?;
            match is_map {
                true => {
                    self.scalar(&item.as_str().map_or(item.to_string().into(), Value::from))?;
                    self.push(": ")?;
                    self.write(&value.get_item(&item)?, level + 1)?;
                }
                false => self.write(&item, level + 1)?,
            }
        }
        if !is_empty {
            self.new_line(level)?;
        }
        self.push(if is_map { "}" } else { "]" })
    }

    fn scalar(&mut self, value: &Value) -> Result<(), Error> {
        let json = serde_json::to_string(value);
        let json = json
            .map_err(|error| Error::new(ErrorKind::BadSerialization, format!("tojson: {error}")))?;
        self.push(&json)
    }

    fn new_line(&mut self, level: usize) -> Result<(), Error> {
        let Some(indent) = self.indent else { return Ok(()) };
        let spaces = indent.saturating_mul(level);
        self.state.consume_fuel(spaces as u64 / 64)?;
        self.push("\n")?;
        self.text.extend(std::iter::repeat_n(' ', spaces));
        Ok(())
    }

    fn push(&mut self, text: &str) -> Result<(), Error> {
        self.state.consume_fuel(1 + text.len() as u64 / 64)?;
        self.text.push_str(text);
        Ok(())
    }
}
