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
        let Some(value) = self.value(key) else { return Ok(None) };
        value.as_str().map(Some).with_context(|| format!("`{key}` is {value}, expected a string"))
    }

    /// Object at `key`; `None` if it is missing or empty.
    pub(crate) fn object(self, key: &str) -> Result<Option<Self>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let object = value.as_object();
        let object = object.with_context(|| format!("`{key}` is {value}, expected an object"))?;
        Ok(Some(Self(object)).filter(|fields| !fields.0.is_empty()))
    }

    pub(crate) fn size(self, key: &str) -> Result<usize> {
        let value = self.value(key).with_context(|| format!("`{key}` is missing"))?;
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.with_context(|| format!("`{key}` is {value}, expected a size"))
    }

    pub(crate) fn size_or(self, key: &str, default: usize) -> Result<usize> {
        if self.value(key).is_none() { Ok(default) } else { self.size(key) }
    }

    /// Size at `key`: `default` if the key is missing, `None` if it is null.
    pub(crate) fn size_or_null(self, key: &str, default: Option<usize>) -> Result<Option<usize>> {
        match self.0.get(key) {
            None => Ok(default),
            Some(Value::Null) => Ok(None),
            Some(_) => self.size(key).map(Some),
        }
    }

    pub(crate) fn number(self, key: &str) -> Result<f64> {
        let value = self.value(key).with_context(|| format!("`{key}` is missing"))?;
        value.as_f64().with_context(|| format!("`{key}` is {value}, expected a number"))
    }

    pub(crate) fn number_or(self, key: &str, default: f64) -> Result<f64> {
        if self.value(key).is_none() { Ok(default) } else { self.number(key) }
    }

    /// Boolean at `key`; false if it is missing.
    pub(crate) fn flag(self, key: &str) -> Result<bool> {
        let Some(value) = self.value(key) else { return Ok(false) };
        value.as_bool().with_context(|| format!("`{key}` is {value}, expected true or false"))
    }
}
