//! Python's `strftime` in UTC, for templates that give the model the date (Llama 3).

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::{Error, ErrorKind};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] =
    ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// Current time in `format`.
pub(crate) fn strftime_now(format: &str) -> Result<String, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    strftime(format, now.as_secs())
}

/// Time `seconds` after the Unix epoch, in `format`.
fn strftime(format: &str, seconds: u64) -> Result<String, Error> {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    // 1970-01-01 was a Thursday.
    let (month_name, weekday) = (MONTHS[month - 1], WEEKDAYS[(days % 7) as usize]);
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
            Some('B') => month_name.to_string(),
            Some('b' | 'h') => month_name[..3].to_string(),
            Some('d') => format!("{day:02}"),
            Some('e') => format!("{day:2}"),
            Some('A') => weekday.to_string(),
            Some('a') => weekday[..3].to_string(),
            Some('H') => format!("{:02}", second / 3600),
            Some('M') => format!("{:02}", second / 60 % 60),
            Some('S') => format!("{:02}", second % 60),
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

/// Year, month and day of the day `days` after 1970-01-01.
fn date(mut days: u64) -> (u64, usize, u64) {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::strftime;

    #[test]
    fn strftime_gives_the_same_dates_as_python() {
        // Expected values: Python's datetime.fromtimestamp(t, timezone.utc).strftime(format).
        for (seconds, expected) in [
            (0, "Thursday 01 Jan 1970 00:00:00, January  1 70 1970-01-01 Thu %"),
            (951_782_400 + 86_399, "Tuesday 29 Feb 2000 23:59:59, February 29 00 2000-02-29 Tue %"),
            (1_735_689_599, "Tuesday 31 Dec 2024 23:59:59, December 31 24 2024-12-31 Tue %"),
            (4_107_542_400, "Monday 01 Mar 2100 00:00:00, March  1 00 2100-03-01 Mon %"),
        ] {
            let format = "%A %d %b %Y %H:%M:%S, %B %e %y %F %a %%";
            assert_eq!(strftime(format, seconds).expect("a known format"), expected);
        }
        assert!(strftime("%Q", 0).unwrap_err().to_string().contains("`%Q`"));
    }
}
