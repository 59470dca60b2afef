//! Countdown puzzles searched at random, written out as a person would: a try per line, and an
//! expression at the end.
//!
//! ```text
//! prompt        Use 3, 5 and 7, each once, and + - * / to make 22. Answer with an expression.
//! completion    3+7=10,10*5=50
//!               7*5=35,35-3=32
//!               5*3=15,15+7=22
//!               (5*3)+7
//! ```

use tensor_core::Rng;

use crate::countdown::Puzzle;
use crate::example::Example;

/// Search of `puzzle` with up to `max_tries` random tries. It ends at the first try that reaches
/// the target, else with the last one, which is wrong; so a model that learns from many of them
/// learns to search, and not how to search well.
pub fn random_search(puzzle: &Puzzle, max_tries: usize, rng: &mut Rng) -> Example {
    let mut lines = Vec::new();
    let mut expression = String::new();
    for _ in 0..max_tries {
        let found = random_try(puzzle, rng);
        lines.push(found.steps);
        expression = found.expression;
        if found.value == puzzle.target {
            break;
        }
    }
    lines.push(expression);
    Example::new(puzzle.question(), lines.join("\n"))
}

struct Try {
    /// `5*3=15,15+7=22`.
    steps: String,
    /// `(5*3)+7`.
    expression: String,
    value: i64,
}

/// Combines the numbers in a random order by random operations whose results are whole and not
/// negative.
fn random_try(puzzle: &Puzzle, rng: &mut Rng) -> Try {
    let mut numbers = puzzle.numbers.clone();
    rng.shuffle(&mut numbers);
    let mut value = numbers[0];
    let (mut steps, mut expression) = (Vec::new(), value.to_string());
    for (i, &number) in numbers.iter().enumerate().skip(1) {
        let so_far = if i == 1 { expression } else { format!("({expression})") };
        let (operator, result) = random_operation(value, number, rng);
        // 3-10 would be negative: 10-3
        let is_swapped = operator == '-' && value < number;
        let (left, right) = if is_swapped { (number, value) } else { (value, number) };
        steps.push(format!("{left}{operator}{right}={result}"));
        expression = if is_swapped {
            format!("{number}{operator}{so_far}")
        } else {
            format!("{so_far}{operator}{number}")
        };
        value = result;
    }
    Try { steps: steps.join(","), expression, value }
}

fn random_operation(left: i64, right: i64, rng: &mut Rng) -> (char, i64) {
    loop {
        match rng.below(4) {
            0 => return ('+', left + right),
            1 => return ('-', (left - right).abs()),
            2 => return ('*', left * right),
            _ if right != 0 && left % right == 0 => return ('/', left / right),
            _ => {}
        }
    }
}
