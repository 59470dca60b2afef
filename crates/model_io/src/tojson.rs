//! Jinja's `tojson`, as Python writes JSON, within the limits of a rendering.

use minijinja::value::{Kwargs, Rest, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};

/// Limit of the nesting of a value: `tojson` calls itself for each level.
const MAX_NESTING: usize = 100;

/// Filter `tojson` with the arguments that it has in transformers, `ensure_ascii`, `indent`,
/// `separators` and `sort_keys`, and the output of Python's `json.dumps`. Minijinja's own filter
/// escapes `<`, `>`, `&` and `'` for HTML, and has no limit.
pub(crate) fn tojson(
    state: &State,
    value: &Value,
    arguments: Rest<Value>,
    options: Kwargs,
) -> Result<String, Error> {
    type Arguments = (Option<Value>, Option<Value>, Option<Value>, Option<Value>);
    let (ensure_ascii, indent, separators, sort_keys): Arguments = from_args(&arguments)?;
    let ensure_ascii = ensure_ascii.or(options.get("ensure_ascii")?);
    let indent = indent.or(options.get("indent")?);
    let separators = separators.or(options.get("separators")?);
    let sort_keys = sort_keys.or(options.get("sort_keys")?);
    options.assert_all_used()?;
    let indent = indent.map(|indent| Indent::new(&indent)).transpose()?;
    let separators = match separators {
        Some(pair) => parse_separators(&pair)?,
        None => [if indent.is_some() { "," } else { ", " }, ": "].map(String::from),
    };
    let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let mut json = JsonWriter {
        state,
        text_form: if is_true(ensure_ascii) { TextForm::Ascii } else { TextForm::Unicode },
        indent,
        separators,
        key_order: if is_true(sort_keys) { KeyOrder::Sorted } else { KeyOrder::Inserted },
        text: String::new(),
    };
    json.write(value, 0)?;
    Ok(json.text)
}

fn parse_separators(pair: &Value) -> Result<[String; 2], Error> {
    let texts = pair.try_iter()?.take(3).map(|text| text.as_str().map(String::from));
    let texts: Option<[String; 2]> =
        texts.collect::<Option<Vec<_>>>().and_then(|texts| texts.try_into().ok());
    texts.ok_or_else(|| invalid("tojson: `separators` must be two texts".into()))
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// Text before each item, on a line of its own: `unit` once for each of `count` and each level.
struct Indent {
    unit: String,
    count: usize,
}

impl Indent {
    /// Indentation by a number of spaces, or by a text.
    fn new(indent: &Value) -> Result<Self, Error> {
        Ok(match indent.as_str() {
            Some(unit) => Self { unit: unit.into(), count: 1 },
            None => Self { unit: " ".into(), count: usize::try_from(indent.clone())? },
        })
    }
}

/// Characters of texts.
#[derive(Clone, Copy, PartialEq)]
enum TextForm {
    Unicode,
    /// Other characters than those of ASCII are escaped.
    Ascii,
}

/// Order of the keys of an object.
#[derive(Clone, Copy, PartialEq)]
enum KeyOrder {
    Inserted,
    Sorted,
}

/// Writer of a value as JSON. Its text takes fuel while it grows: a value may contain another one
/// many times.
struct JsonWriter<'a> {
    state: &'a State<'a, 'a>,
    text_form: TextForm,
    /// `None` writes one line.
    indent: Option<Indent>,
    /// Texts after an item, and after a key.
    separators: [String; 2],
    key_order: KeyOrder,
    text: String,
}

impl JsonWriter<'_> {
    fn write(&mut self, value: &Value, level: usize) -> Result<(), Error> {
        if level > MAX_NESTING {
            return Err(invalid(format!(
                "tojson: the value is nested more than {MAX_NESTING} times"
            )));
        }
        let is_map = value.kind() == ValueKind::Map;
        if !is_map && !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
            return self.scalar(value);
        }
        self.push(if is_map { "{" } else { "[" })?;
        let mut is_empty = true;
        let mut items: Box<dyn Iterator<Item = Value>> = Box::new(value.try_iter()?);
        if is_map && self.key_order == KeyOrder::Sorted {
            let mut keys: Vec<Value> = items.collect();
            keys.sort();
            items = Box::new(keys.into_iter());
        }
        for item in items {
            if !is_empty {
                self.push_separator(0)?;
            }
            is_empty = false;
            self.new_line(level + 1)?;
            match is_map {
                true => {
                    self.scalar(&key_text(&item))?;
                    self.push_separator(1)?;
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
        if self.text_form == TextForm::Unicode {
            return self.push(&json);
        }
        self.state.consume_fuel(json.len() as u64 / 16)?; // 2 bytes become up to 6
        self.push(&with_ascii_escapes(&json))
    }

    fn new_line(&mut self, level: usize) -> Result<(), Error> {
        let Some(Indent { unit, count }) = &self.indent else { return Ok(()) };
        let n = count.saturating_mul(level);
        self.state.consume_fuel(unit.len().saturating_mul(n) as u64 / 64)?;
        self.state.consume_fuel(1)?;
        self.text.push('\n');
        self.text.extend(std::iter::repeat_n(unit.as_str(), n));
        Ok(())
    }

    fn push_separator(&mut self, index: usize) -> Result<(), Error> {
        self.state.consume_fuel(1 + self.separators[index].len() as u64 / 64)?;
        self.text.push_str(&self.separators[index]);
        Ok(())
    }

    fn push(&mut self, text: &str) -> Result<(), Error> {
        self.state.consume_fuel(1 + text.len() as u64 / 64)?;
        self.text.push_str(text);
        Ok(())
    }
}

/// Key of an object as Python writes it: `true` for True, `null` for None.
fn key_text(key: &Value) -> Value {
    match key.kind() {
        ValueKind::String => key.clone(),
        ValueKind::None => "null".into(),
        ValueKind::Bool => key.to_string().to_lowercase().into(),
        _ => key.to_string().into(),
    }
}

/// `json` with the UTF-16 units of other characters than ASCII's as escapes.
fn with_ascii_escapes(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            ' '..='~' => escaped.push(c),
            _ => {
                let units = c.encode_utf16(&mut [0; 2]).to_vec();
                escaped.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
            }
        }
    }
    escaped
}
