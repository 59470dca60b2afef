//! Countdown: reach a target with some numbers, each used once, by + − · /. Easy to check and hard to do.
//!
//! ```text
//! prompt  Use 3, 5 and 7, each once, and + - * / to make 22.       answer  3 5 7 = 22       a completion  (5 * 3) + 7
//! ```

use std::collections::HashSet;

use ppo::RewardInput;
use sft::Example;
use tensor_core::Rng;

/// Numbers and what is to be made of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Puzzle {
    /// To be used once each.
    pub numbers: Vec<i64>,
    /// To be reached.
    pub target: i64,
}

impl Puzzle {
    /// One of `n` numbers of 1 to 20 that can be solved: its target is what came of some operations.
    pub fn sample(n: usize, rng: &mut Rng) -> Self {
        loop {
            let numbers: Vec<i64> = (0..n).map(|_| 1 + rng.below(20) as i64).collect();
            let mut target = numbers[0];
            for &number in &numbers[1..] {
                target = match rng.below(4) {
                    0 => target + number,
                    1 => target - number,
                    2 => target * number,
                    _ if number != 0 && target % number == 0 => target / number,
                    _ => target + number,
                };
            }
            if (1..=100).contains(&target) && !numbers.contains(&target) {
                let mut shown = numbers;
                rng.shuffle(&mut shown);
                return Self { numbers: shown, target };
            }
        }
    }

    /// The question.
    pub fn question(&self) -> String {
        let all: Vec<String> = self.numbers.iter().map(i64::to_string).collect();
        let (last, first) =
            all.split_last().map_or((String::new(), &all[..]), |(l, f)| (l.clone(), f));
        let (numbers, target) = (format!("{} and {last}", first.join(", ")), self.target);
        format!(
            "Use {numbers}, each once, and + - * / to make {target}. Answer with an expression."
        )
    }

    /// What a checker needs to know: `3 5 7 = 22`.
    pub fn answer(&self) -> String {
        let all: Vec<String> = self.numbers.iter().map(i64::to_string).collect();
        format!("{} = {}", all.join(" "), self.target)
    }

    /// Reads [`Puzzle::answer`].
    pub fn parse(answer: &str) -> Option<Self> {
        let (numbers, target) = answer.split_once('=')?;
        let numbers: Vec<i64> =
            numbers.split_whitespace().map(|n| n.parse().ok()).collect::<Option<_>>()?;
        Some(Self { numbers, target: target.trim().parse().ok()? })
            .filter(|p| !p.numbers.is_empty())
    }

    /// Whether `expression` uses each number once, nothing else, and makes the target.
    pub fn is_solved_by(&self, expression: &str) -> bool {
        let Some((value, mut used)) = evaluate(expression) else { return false };
        let mut given = self.numbers.clone();
        used.sort_unstable();
        given.sort_unstable();
        used == given && value.equals(self.target)
    }
}

/// 1 if the completion's expression solves the puzzle that the answer describes. The expression stands in `<answer>`, or else
/// on the last line, where what follows an equals sign does not count. A last line that was cut might have gone on.
pub fn reward(reply: &RewardInput<'_>) -> f32 {
    let Some(puzzle) = Puzzle::parse(&reply.example.completion) else { return 0. };
    let last_line =
        || reply.completion.trim().lines().last().filter(|_| reply.terminated).unwrap_or_default();
    let said = crate::answers::extract_answer_tag(reply.completion).unwrap_or_else(last_line);
    let expression = said.split('=').next().unwrap_or_default();
    f32::from(u8::from(puzzle.is_solved_by(expression)))
}

/// `n` puzzles of three numbers, no two alike.
pub fn puzzles(n: usize, seed: u64) -> Vec<Example> {
    let mut rng = Rng::new(seed);
    let mut known = HashSet::new();
    let mut all = Vec::new();
    while all.len() < n {
        let puzzle = Puzzle::sample(3, &mut rng);
        let mut key = puzzle.numbers.clone();
        key.sort_unstable();
        key.push(puzzle.target);
        if known.insert(key) {
            all.push(Example::new(puzzle.question(), puzzle.answer()));
        }
    }
    all
}

/// An exact value: no division of floating-point numbers decides what is right.
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
        let (over, under) = match operation {
            b'+' => (cross(a, d)?.checked_add(cross(c, b)?)?, cross(b, d)?),
            b'-' => (cross(a, d)?.checked_sub(cross(c, b)?)?, cross(b, d)?),
            b'*' => (cross(a, c)?, cross(b, d)?),
            _ => (cross(a, d)?, cross(b, c)?),
        };
        (under != 0).then_some(Self { numerator: over, denominator: under })
    }
}

/// The value of an expression and the numbers in it; `None` where it is none.
fn evaluate(expression: &str) -> Option<(Fraction, Vec<i64>)> {
    let text: Vec<u8> =
        expression.replace(['×', '·'], "*").replace('÷', "/").replace('−', "-").bytes().collect();
    let mut parser = Parser { text, position: 0, numbers: Vec::new(), depth: 0 };
    let value = parser.sum()?;
    parser.skip_whitespace();
    (parser.position == parser.text.len()).then_some((value, parser.numbers))
}

/// sum = product ((+|−) product)*;  product = atom ((·|/) atom)*;  atom = number | ( sum )
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

    /// The next character, if it is one of `wanted`.
    fn next_if(&mut self, wanted: &[u8]) -> Option<u8> {
        self.skip_whitespace();
        let next = *self.text.get(self.position).filter(|c| wanted.contains(c))?;
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
            let value = if self.depth < 64 { self.sum()? } else { return None }; // no text may exhaust the stack
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
