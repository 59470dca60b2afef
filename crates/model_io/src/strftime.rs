//! Python's `strftime` in UTC, for templates that give the model the date (Llama 3).

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::{Error, ErrorKind};
use time::OffsetDateTime;

/// Current time in `format`.
pub(crate) fn strftime_now(format: &str) -> Result<String, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    strftime(format, now.as_secs())
}

/// Time `seconds` after the Unix epoch, in `format`.
pub(crate) fn strftime(format: &str, seconds: u64) -> Result<String, Error> {
    let time = OffsetDateTime::from_unix_timestamp(seconds as i64)
        .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))?;
    let (year, month, day) = time.to_calendar_date();
    let (month_name, weekday) = (month.to_string(), time.weekday().to_string());
    let month = u8::from(month);
    let (hour, minute, second) = time.to_hms();
    let mut text = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        text += &match letters.next() {
            Some('Y') => year.to_string(),
            Some('y') => format!("{:02}", year % 100),
            Some('m') => format!("{month:02}"),
            Some('B') => month_name.clone(),
            Some('b' | 'h') => month_name[..3].to_string(),
            Some('d') => format!("{day:02}"),
            Some('e') => format!("{day:2}"),
            Some('A') => weekday.clone(),
            Some('a') => weekday[..3].to_string(),
            Some('H') => format!("{hour:02}"),
            Some('M') => format!("{minute:02}"),
            Some('S') => format!("{second:02}"),
            Some('F') => format!("{year}-{month:02}-{day:02}"),
            Some('%') => "%".to_string(),
            other => {
                let code = other.map_or(String::new(), String::from);
                let message = format!("strftime_now does not support `%{code}`");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        };
    }
    Ok(text)
}
