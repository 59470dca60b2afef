//! The difference of two answers in words: the worst place, and the kind of error that the numbers
//! themselves betray (a constant ratio, a transposition, the first NaN).

use super::answers::{Answers, Recording};

/// True if the answers for `part` of the result, or all of them, agree: |a − b| ≤ `tolerance` ·
/// (1 + |b|) element by element.
pub fn agree(a: &Answers, b: &Answers, part: Option<&str>, tolerance: f64) -> bool {
    let mut pairs = a.iter().zip(b.iter());
    pairs.all(|(a, b)| {
        part.is_some_and(|part| part != a.part) || close(&a.recording, &b.recording, tolerance)
    })
}

/// True if the errors and panics of two lists of answers have the same messages.
pub fn fail_alike(a: &Answers, b: &Answers, part: Option<&str>) -> bool {
    let mut pairs = a.iter().zip(b.iter());
    pairs.all(|(a, b)| match (&a.recording, &b.recording) {
        _ if part.is_some_and(|part| part != a.part) => true,
        (Recording::Failure { message, .. }, Recording::Failure { message: other_message, .. }) => {
            message == other_message
        }
        _ => true,
    })
}

/// True if two answers agree, NaN and failures with their like.
pub fn close(a: &Recording, b: &Recording, tolerance: f64) -> bool {
    match (a, b) {
        (Recording::Failure { .. }, Recording::Failure { .. }) => true,
        (
            Recording::Numbers { shape, values },
            Recording::Numbers { shape: other_shape, values: others },
        ) => {
            shape == other_shape
                && values.iter().zip(others).all(|(a, b)| close_numbers(*a, *b, tolerance))
        }
        _ => false,
    }
}

fn close_numbers(a: f64, b: f64, tolerance: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * (1. + b.abs())
}

/// Difference of `got` from `expected` in words, one line each.
pub fn difference(got: &Recording, expected: &Recording, tolerance: f64) -> Vec<String> {
    let (
        Recording::Numbers { shape, values },
        Recording::Numbers { shape: expected_shape, values: wanted },
    ) = (got, expected)
    else {
        return failure(got, expected);
    };
    if shape != expected_shape {
        return vec![format!("shape {shape:?}, expected {expected_shape:?}")];
    }
    let error = |i: usize| match close_numbers(values[i], wanted[i], tolerance) {
        true => 0.,
        false => match (values[i] - wanted[i]).abs() / (1. + wanted[i].abs()) {
            error if error.is_nan() => f64::INFINITY,
            error => error,
        },
    };
    let Some(worst) = (0..values.len()).max_by(|&a, &b| error(a).total_cmp(&error(b))) else {
        return Vec::new();
    };
    let n_far = (0..values.len()).filter(|&i| error(i) > 0.).count();
    let allowed = match tolerance {
        0. => "they must be equal".to_string(),
        _ => format!("tolerance {tolerance:e}"),
    };
    if let ([value], [wanted]) = (&values[..], &wanted[..]) {
        return vec![match value.is_nan() {
            true => format!("expected {}, your number is NaN", short(*wanted)),
            false => format!("{} ({allowed})", expected_and_got(*wanted, *value)),
        }];
    }
    let mut lines = vec![format!(
        "{n_far} of {} numbers differ, most at {:?}: {} ({allowed})",
        values.len(),
        index(worst, shape),
        expected_and_got(wanted[worst], values[worst]),
    )];
    if let Some(at) = values.iter().zip(wanted).position(|(a, b)| a.is_nan() && !b.is_nan()) {
        lines.push(format!("the first NaN is at {:?}", index(at, shape)));
    } else if values.iter().all(|x| *x == 0.) && values.len() > 1 {
        lines.push("all your numbers are 0".to_string());
    } else if let Some(ratio) = constant_ratio(values, wanted, n_far, tolerance)
        && short(ratio) != "1"
    {
        lines.push(format!("all your numbers are {} times the expected ones", short(ratio)));
    } else if is_transposed(values, wanted, shape, tolerance) {
        lines.push("they are right after transposing the last two dimensions".to_string());
    }
    lines
}

/// Error of `got`, or of `expected`, with the learner's line.
fn failure(got: &Recording, expected: &Recording) -> Vec<String> {
    match (got, expected) {
        (Recording::Failure { message, line }, _) => {
            let line = line.iter().map(|line| format!("at {line}"));
            std::iter::once(message.clone()).chain(line).collect()
        }
        (_, Recording::Failure { message, .. }) => {
            vec![format!("an error is expected here: {message}")]
        }
        _ => Vec::new(),
    }
}

/// Factor between all numbers that are not 0.
fn constant_ratio(values: &[f64], wanted: &[f64], n_far: usize, tolerance: f64) -> Option<f64> {
    let mut pairs = values.iter().zip(wanted).filter(|(a, b)| **a != 0. || **b != 0.);
    let (a, b) = pairs.next()?;
    let ratio = a / b;
    let constant = n_far > 1
        && pairs.clone().count() > 0
        && ratio.is_finite()
        && pairs.all(|(a, b)| close_numbers(*a, b * ratio, tolerance));
    constant.then_some(ratio)
}

fn is_transposed(values: &[f64], wanted: &[f64], shape: &[usize], tolerance: f64) -> bool {
    let [.., rows, columns] = *shape else { return false };
    rows == columns
        && rows > 1
        && values.iter().enumerate().all(|(i, a)| {
            let (matrix, row, column) = (i / (rows * rows), i / rows % rows, i % rows);
            close_numbers(*a, wanted[(matrix * rows + column) * rows + row], tolerance)
        })
}

/// Both numbers, with as many digits as tell them apart.
fn expected_and_got(wanted: f64, value: f64) -> String {
    match short(wanted) == short(value) {
        true => format!("expected {wanted}, got {value}"),
        false => format!("expected {}, got {}", short(wanted), short(value)),
    }
}

/// Index of element number `i` of an array of `shape`.
fn index(mut i: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = Vec::new();
    for &n in shape.iter().rev() {
        index.push(i % n);
        i /= n;
    }
    index.reverse();
    index
}

/// Number with four significant digits or so.
pub fn short(x: f64) -> String {
    match x.abs() {
        size if size == 0. || (0.01..1e5).contains(&size) => {
            let text = format!("{x:.4}");
            match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
                false => text,
            }
        }
        _ => format!("{x:.3e}"),
    }
}
