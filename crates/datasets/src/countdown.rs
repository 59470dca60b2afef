//! Countdown: reach a target from some numbers, each used once, with + − · /. The task is easy to
//! check and hard to solve.
//!
//! ```text
//! prompt        Use 3, 5 and 7, each once, and + - * / to make 22.
//! answer        3 5 7 = 22
//! completion    (5 * 3) + 7
//! ```

use tensor_core::Rng;

use crate::example::Example;
use crate::split::Splits;

/// Seed of the built-in puzzles. It is not a run's seed, so that all runs have the same ones.
const SPLIT_SEED: u64 = 90;
/// Numbers of built-in puzzles for demonstrations, validation, test and training: nearly all of the
/// 14,072 of three numbers.
const SPLIT_SIZES: [usize; 4] = [10_000, 200, 300, 3_000];
/// Largest number of a puzzle.
const MAX_NUMBER: usize = 20;

/// Countdown puzzle: numbers and a target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Puzzle {
    /// Numbers to use, once each.
    pub numbers: Vec<i64>,
    /// Value that the expression must have.
    pub target: i64,
}

impl Puzzle {
    /// Random solvable puzzle of `n` numbers from 1 to 20: its target is the result of random
    /// operations.
    pub fn sample(n: usize, rng: &mut Rng) -> Self {
        loop {
            let numbers: Vec<i64> = (0..n).map(|_| 1 + rng.below(MAX_NUMBER) as i64).collect();
            let (first, others) = (numbers[0], &numbers[1..]);
            let next = |value, number: &i64| result(rng.below(N_OPERATIONS), value, *number);
            let target = others.iter().fold(first, next);
            let mut puzzle = Self { numbers, target };
            if puzzle.has_valid_target() {
                rng.shuffle(&mut puzzle.numbers);
                return puzzle;
            }
        }
    }

    /// All different puzzles that [`Puzzle::sample`] can draw, their numbers in ascending order.
    fn all(n: usize) -> Vec<Self> {
        let ones = 1..=MAX_NUMBER as i64;
        let new = |numbers: Vec<i64>, target| Self { numbers, target };
        let mut puzzles: Vec<Self> = ones.clone().map(|number| new(vec![number], number)).collect();
        for _ in 1..n {
            let mut longer = Vec::new();
            for Self { numbers, target } in &puzzles {
                for number in ones.clone() {
                    let numbers = [numbers.as_slice(), &[number]].concat();
                    let results = (0..N_OPERATIONS).map(|which| result(which, *target, number));
                    longer.extend(results.map(|target| new(numbers.clone(), target)));
                }
            }
            puzzles = longer;
        }
        puzzles.retain(Self::has_valid_target);
        puzzles.iter_mut().for_each(|puzzle| puzzle.numbers.sort_unstable());
        puzzles.sort_unstable();
        puzzles.dedup();
        puzzles
    }

    /// True if the target is from 1 to 100, and not one of the numbers.
    fn has_valid_target(&self) -> bool {
        (1..=100).contains(&self.target) && !self.numbers.contains(&self.target)
    }

    /// Prompt of the puzzle.
    pub fn question(&self) -> String {
        let all: Vec<String> = self.numbers.iter().map(i64::to_string).collect();
        let (last, first) =
            all.split_last().map_or((String::new(), &all[..]), |(l, f)| (l.clone(), f));
        let (numbers, target) = (format!("{} and {last}", first.join(", ")), self.target);
        format!(
            "Use {numbers}, each once, and + - * / to make {target}. Answer with an expression."
        )
    }

    /// Answer column of the puzzle, which the checker parses: `3 5 7 = 22`.
    pub fn answer(&self) -> String {
        let all: Vec<String> = self.numbers.iter().map(i64::to_string).collect();
        format!("{} = {}", all.join(" "), self.target)
    }

    /// Parses [`Puzzle::answer`].
    pub fn parse(answer: &str) -> Option<Self> {
        let (numbers, target) = answer.split_once('=')?;
        let numbers: Vec<i64> =
            numbers.split_whitespace().map(|n| n.parse().ok()).collect::<Option<_>>()?;
        Some(Self { numbers, target: target.trim().parse().ok()? })
            .filter(|p| !p.numbers.is_empty())
    }

    /// True if `expression` uses each number exactly once and equals the target.
    pub fn is_solved_by(&self, expression: &str) -> bool {
        let Some((value, mut used)) = evaluate(expression) else { return false };
        let mut numbers = self.numbers.clone();
        used.sort_unstable();
        numbers.sort_unstable();
        used == numbers && value.equals(self.target)
    }
}

/// Built-in puzzles for reinforcement learning; none is in two splits, or in [`demonstrations`].
pub fn splits() -> Splits<Example> {
    let [n_demonstrations, n_validation, n_test, n_train] = SPLIT_SIZES;
    let mut validation = shuffled_puzzles().split_off(n_demonstrations);
    let mut test = validation.split_off(n_validation);
    let mut train = test.split_off(n_test);
    train.truncate(n_train);
    Splits { train, validation, test }
}

/// Built-in puzzles for demonstrations. Reinforcement learning has others, which are as hard, so
/// that it rewards a search and not a solution that the model remembers.
pub fn demonstrations() -> Vec<Example> {
    let mut puzzles = shuffled_puzzles();
    puzzles.truncate(SPLIT_SIZES[0]);
    puzzles
}

/// All puzzles of three numbers, in random order. In the order of random draws those that are drawn
/// rarely, which are harder, would be the last.
fn shuffled_puzzles() -> Vec<Example> {
    let mut rng = Rng::new(SPLIT_SEED);
    let mut puzzles = Puzzle::all(3);
    rng.shuffle(&mut puzzles);
    let examples = puzzles.into_iter().map(|mut puzzle| {
        rng.shuffle(&mut puzzle.numbers);
        Example::new(puzzle.question(), puzzle.answer())
    });
    examples.collect()
}

/// Number of operations of [`result`].
const N_OPERATIONS: usize = 4;

/// Result of an operation on `value` and `number`: +, −, · or, if it is exact, /, else +.
fn result(operation: usize, value: i64, number: i64) -> i64 {
    match operation {
        0 => value + number,
        1 => value - number,
        2 => value * number,
        _ if number != 0 && value % number == 0 => value / number,
        _ => value + number,
    }
}

/// Exact fraction, so that floating-point rounding cannot decide whether an expression is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fraction {
    numerator: i128,
    denominator: i128,
}

impl Fraction {
    fn equals(self, whole: i64) -> bool {
        Some(self.numerator) == self.denominator.checked_mul(i128::from(whole))
    }

    fn apply(self, operation: u8, other: Self) -> Option<Self> {
        let Self { numerator: a, denominator: b } = self;
        let Self { numerator: c, denominator: d } = other;
        let cross = |x: i128, y: i128| x.checked_mul(y);
        let (numerator, denominator) = match operation {
            b'+' => (cross(a, d)?.checked_add(cross(c, b)?)?, cross(b, d)?),
            b'-' => (cross(a, d)?.checked_sub(cross(c, b)?)?, cross(b, d)?),
            b'*' => (cross(a, c)?, cross(b, d)?),
            _ => (cross(a, d)?, cross(b, c)?),
        };
        (denominator != 0).then_some(Self { numerator, denominator })
    }
}

/// Value of `expression` and the numbers in it; `None` if it cannot be parsed.
fn evaluate(expression: &str) -> Option<(Fraction, Vec<i64>)> {
    let text: Vec<u8> =
        expression.replace(['×', '·'], "*").replace('÷', "/").replace('−', "-").bytes().collect();
    let mut parser = Parser { text, position: 0, numbers: Vec::new(), depth: 0 };
    let value = parser.sum()?;
    parser.skip_whitespace();
    (parser.position == parser.text.len()).then_some((value, parser.numbers))
}

/// Recursive-descent parser of
/// sum = product ((+|−) product)*;  product = atom ((·|/) atom)*;  atom = number | ( sum ).
struct Parser {
    text: Vec<u8>,
    position: usize,
    numbers: Vec<i64>,
    depth: usize,
}

impl Parser {
    fn skip_whitespace(&mut self) {
        while self.text.get(self.position).is_some_and(u8::is_ascii_whitespace) {
            self.position += 1;
        }
    }

    /// Consumes and returns the next character if it is one of `expected`.
    fn next_if(&mut self, expected: &[u8]) -> Option<u8> {
        self.skip_whitespace();
        let next = *self.text.get(self.position).filter(|c| expected.contains(c))?;
        self.position += 1;
        Some(next)
    }

    fn sum(&mut self) -> Option<Fraction> {
        let mut value = self.product()?;
        while let Some(operation) = self.next_if(b"+-") {
            value = value.apply(operation, self.product()?)?;
        }
        Some(value)
    }

    fn product(&mut self) -> Option<Fraction> {
        let mut value = self.atom()?;
        while let Some(operation) = self.next_if(b"*/") {
            value = value.apply(operation, self.atom()?)?;
        }
        Some(value)
    }

    fn atom(&mut self) -> Option<Fraction> {
        if self.next_if(b"(").is_some() {
            self.depth += 1;
            // The limit keeps nested brackets from overflowing the stack.
            let value = if self.depth < 64 { self.sum()? } else { return None };
            self.depth -= 1;
            return self.next_if(b")").map(|_| value);
        }
        self.skip_whitespace();
        let digits = self.text[self.position..].iter().take_while(|c| c.is_ascii_digit()).count();
        let number = std::str::from_utf8(&self.text[self.position..self.position + digits]).ok()?;
        let number: i64 = number.parse().ok()?;
        self.position += digits;
        self.numbers.push(number);
        Some(Fraction { numerator: i128::from(number), denominator: 1 })
    }
}
