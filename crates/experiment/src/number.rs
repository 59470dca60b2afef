//! Parsers of numbers in a range, for the values of flags.

fn in_range(text: &str, is_in_range: impl Fn(f64) -> bool, message: &str) -> Result<f64, String> {
    // In YAML, infinity and NaN begin with a dot.
    match text.to_lowercase().replace(".inf", "inf").replace(".nan", "nan").parse::<f64>() {
        Err(_) => Err("not a number".into()),
        Ok(number) if !number.is_finite() => Err("not a finite number".into()),
        Ok(number) if !is_in_range(number) => Err(message.into()),
        Ok(number) => Ok(number),
    }
}

/// Parses a temperature: 0 or more.
pub fn temperature(text: &str) -> Result<f64, String> {
    in_range(text, |t| t >= 0., "must be 0 (greedy) or above")
}

/// Parses a probability above 0 and at most 1.
pub fn probability(text: &str) -> Result<f64, String> {
    in_range(text, |p| p > 0. && p <= 1., "must be above 0 and at most 1")
}

/// Parses a share above 0 and below 1.
pub fn fraction(text: &str) -> Result<f64, String> {
    probability(text).and_then(|p| if p < 1. { Ok(p) } else { Err("must be below 1".into()) })
}

/// Parses a number from 0 to 1.
pub fn unit_interval(text: &str) -> Result<f64, String> {
    non_negative(text).and_then(|x| if x <= 1. { Ok(x) } else { Err("must be at most 1".into()) })
}

/// Parses a dropout probability: at least 0, below 1.
pub fn dropout(text: &str) -> Result<f64, String> {
    in_range(text, |p| (0. ..1.).contains(&p), "must be at least 0 and below 1")
}

/// Parses the decay rate of a moving average: at least 0, below 1.
pub fn beta(text: &str) -> Result<f64, String> {
    dropout(text)
}

/// Parses a positive number.
pub fn positive(text: &str) -> Result<f64, String> {
    in_range(text, |x| x > 0., "must be above 0")
}

/// Parses a time limit in seconds, of at most 30 days.
pub fn seconds(text: &str) -> Result<f64, String> {
    in_range(text, |x| x > 0. && x <= 30. * 86_400., "must be above 0 and at most 30 days")
}

/// Parses a number of 0 or more.
pub fn non_negative(text: &str) -> Result<f64, String> {
    in_range(text, |x| x >= 0., "must be 0 or above")
}
