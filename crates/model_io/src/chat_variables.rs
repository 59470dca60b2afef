//! Variables of a chat template beside the messages: the date, and named arguments, such as the
//! `enable_thinking` of Qwen 3.
//!
//! A template that asks for the present date gives other prompts, and other numbers, on another
//! day. A run therefore keeps its date with its settings.

use std::fmt;
use std::str::FromStr;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Error, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::{Date, Month, OffsetDateTime};

/// Variables of a chat template.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChatVariables {
    /// Date that `strftime_now` gives; `None` is the present time, in UTC.
    pub date: Option<ChatDate>,
    /// Values by name. They may replace `tools` and `documents`, but not the messages.
    pub arguments: ChatArguments,
}

impl ChatVariables {
    /// These variables, and those of `defaults` that they lack.
    #[must_use]
    pub fn with_defaults(self, defaults: &Self) -> Self {
        let arguments = [defaults.arguments.clone(), self.arguments];
        Self { date: self.date.or(defaults.date), arguments: arguments.into_iter().collect() }
    }
}

/// Date of a chat template, written as `2026-07-31`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChatDate(pub(crate) Date);

impl ChatDate {
    /// The present date, in UTC.
    pub fn today() -> Self {
        Self(now().date())
    }
}

/// Present time, in UTC.
pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + UNIX_EPOCH.elapsed().unwrap_or_default()
}

impl fmt::Display for ChatDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ChatDate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || -> Option<Date> {
            let mut numbers = text.split('-');
            let (year, month, day) = (numbers.next()?, numbers.next()?, numbers.next()?);
            let month = Month::try_from(month.parse::<u8>().ok()?).ok()?;
            let is_whole = numbers.next().is_none();
            let date = Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?);
            date.ok().filter(|_| is_whole)
        };
        parse().map(Self).with_context(|| format!("`{text}` is not a date such as 2026-07-31"))
    }
}

impl Serialize for ChatDate {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Arguments of a chat template, by name: of one `NAME=VALUE`, or of a whole JSON object. A value
/// that is not JSON is a string.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChatArguments(pub Map<String, Value>);

impl FromStr for ChatArguments {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Ok(Value::Object(arguments)) = serde_json::from_str(text) {
            return Self::new(arguments);
        }
        let (name, value) = text.split_once('=').with_context(|| {
            format!("`{text}` is not NAME=VALUE, for example enable_thinking=false")
        })?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        Self::new(Map::from_iter([(name.trim().to_string(), value)]))
    }
}

impl ChatArguments {
    /// Arguments by name.
    ///
    /// # Errors
    /// When one is given by the conversation.
    pub fn new(arguments: Map<String, Value>) -> Result<Self> {
        for name in ["messages", "add_generation_prompt"] {
            ensure!(!arguments.contains_key(name), "`{name}` is given by the conversation");
        }
        Ok(Self(arguments))
    }
}

impl FromIterator<ChatArguments> for ChatArguments {
    /// All arguments; of one that is given twice, the last value.
    fn from_iter<I: IntoIterator<Item = ChatArguments>>(all: I) -> Self {
        Self(all.into_iter().flat_map(|Self(arguments)| arguments).collect())
    }
}
