use time::OffsetDateTime;

use crate::jinja::strftime;

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).expect("a time")
}

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
        assert_eq!(strftime(format, at(seconds)).expect("a known format"), expected);
    }
    assert!(strftime("%Q", at(0)).unwrap_err().to_string().contains("`%Q`"));
}
