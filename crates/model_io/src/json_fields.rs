//! Typed access to the fields of a JSON object, with errors that name the key.

use anyhow::{Context, Result};
use serde_json::{Map, Value};

/// JSON object. A null value counts as a missing key, unless a method documents otherwise.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a Map<String, Value>);

impl<'a> Fields<'a> {
    pub(crate) fn value(self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    pub(crate) fn string(self, key: &str) -> Result<Option<&'a str>> {
        self.typed(key, "a string", Value::as_str)
    }

    /// Object at `key`; `None` if it is missing or empty.
    pub(crate) fn object(self, key: &str) -> Result<Option<Self>> {
        let object = self.typed(key, "an object", Value::as_object)?;
        Ok(object.filter(|object| !object.is_empty()).map(Self))
    }

    pub(crate) fn size(self, key: &str) -> Result<usize> {
        self.optional_size(key)?.with_context(|| format!("`{key}` is missing"))
    }

    pub(crate) fn size_or(self, key: &str, default: usize) -> Result<usize> {
        Ok(self.optional_size(key)?.unwrap_or(default))
    }

    /// Size at `key`: `default` if the key is missing, `None` if it is null.
    pub(crate) fn size_or_null(self, key: &str, default: Option<usize>) -> Result<Option<usize>> {
        if self.0.contains_key(key) { self.optional_size(key) } else { Ok(default) }
    }

    pub(crate) fn number(self, key: &str) -> Result<f64> {
        let number = self.typed(key, "a number", Value::as_f64)?;
        number.with_context(|| format!("`{key}` is missing"))
    }

    pub(crate) fn number_or(self, key: &str, default: f64) -> Result<f64> {
        Ok(self.typed(key, "a number", Value::as_f64)?.unwrap_or(default))
    }

    /// Number at `key`: `default` if the key is missing, `None` if it is null.
    pub(crate) fn number_or_null(self, key: &str, default: Option<f64>) -> Result<Option<f64>> {
        if self.0.contains_key(key) {
            self.typed(key, "a number", Value::as_f64)
        } else {
            Ok(default)
        }
    }

    /// Boolean at `key`; false if it is missing.
    pub(crate) fn flag(self, key: &str) -> Result<bool> {
        Ok(self.typed(key, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    fn optional_size(self, key: &str) -> Result<Option<usize>> {
        self.typed(key, "a size", |value| usize::try_from(value.as_u64()?).ok())
    }

    /// Value of `key` converted by `convert`; `None` if it is missing.
    fn typed<T>(
        self,
        key: &str,
        expected: &str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let converted = convert(value);
        converted.map(Some).with_context(|| format!("`{key}` is {value}, expected {expected}"))
    }
}
