//! Errors that the arguments alone decide.

use std::fmt;

use anyhow::Result;

/// Usage error, caused by the arguments alone: exit code 2.
#[derive(Debug)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// Converts the error of `result` to a [`UsageError`].
pub fn as_usage_error<T, E: fmt::Display>(result: std::result::Result<T, E>) -> Result<T> {
    result.map_err(|error| UsageError(error.to_string()).into())
}

/// Checks a condition on the arguments.
///
/// # Errors
/// A [`UsageError`] with `message` when `condition` is false.
pub fn ensure_usage(condition: bool, message: impl fmt::Display) -> Result<()> {
    as_usage_error(if condition { Ok(()) } else { Err(message) })
}
