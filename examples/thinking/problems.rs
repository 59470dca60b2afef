//! The task: the last digit of a sum of eight digits, some of which are 0.
//!
//! An answer is given at a glance (`2` to `4+7+0+9+0+0+2+0`) or worked out in brackets first: the
//! last digit of the sum so far after each term (`[4,1,1,0,0,0,2]2`).

use datasets::{Example, Split};
use ppo::reward_fn::random_reward_fn;
use ppo::{RewardFn, RewardInput};
use tensor_core::Rng;

/// Most tokens of an answer: one that is worked out, with its stop token, has 17.
pub(crate) const MAX_NEW_TOKENS: usize = 18;
/// Digits of a sum.
const N_DIGITS: usize = 8;

/// `n` random sums of `split` with their right answers, with each number of terms other than 0
/// equally often: 2 to 8, and 1 in the training split.
pub(crate) fn problems(n: usize, split: Split, rng: &mut Rng) -> Vec<Example> {
    let fewest = if split == Split::Train { 1 } else { 2 };
    (0..n).map(|i| problem(fewest + i % (N_DIGITS + 1 - fewest), split, rng)).collect()
}

/// Random sum of `split`, `n_terms` of whose digits are not 0.
fn problem(n_terms: usize, split: Split, rng: &mut Rng) -> Example {
    loop {
        let term = |i| if i < n_terms { 1 + rng.below(9) } else { 0 };
        let mut digits: Vec<usize> = (0..N_DIGITS).map(term).collect();
        rng.shuffle(&mut digits);
        // A seventh of all sums are for the test, always the same ones.
        let number = digits.iter().fold(0, |number, digit| 10 * number + digit);
        let is_test = (number % 97).is_multiple_of(7);
        if is_test == (split == Split::Test) {
            let terms: Vec<String> = digits.iter().map(usize::to_string).collect();
            return Example::new(terms.join("+"), (digits.iter().sum::<usize>() % 10).to_string());
        }
    }
}

/// `n` demonstrations of the first stage, easy ones for each kind of answer: every second one is a
/// sum that is worked out, the others are the bare answers to sums of up to two terms.
pub(crate) fn curriculum(n: usize, rng: &mut Rng) -> Vec<Example> {
    let mut examples = demonstrations(n, 1., rng);
    for i in (0..n).step_by(2) {
        examples[i] = problem(1 + i / 2 % 2, Split::Train, rng);
    }
    examples
}

/// `n` demonstrations, all of them right: the share `worked_share` is worked out, the others are
/// the bare answer.
pub(crate) fn demonstrations(n: usize, worked_share: f64, rng: &mut Rng) -> Vec<Example> {
    let mut examples = problems(n, Split::Train, rng);
    for example in &mut examples {
        if rng.uniform() < worked_share {
            example.completion = worked_answer(&example.prompt[0].content);
        }
    }
    examples
}

/// Answer to `sum` that is worked out.
pub(crate) fn worked_answer(sum: &str) -> String {
    let (mut last_digits, mut total) = (Vec::new(), 0);
    for digit in sum.chars().filter_map(|c| c.to_digit(10)) {
        total = (total + digit) % 10;
        last_digits.push(total.to_string());
    }
    let answer = last_digits.pop().unwrap_or_default();
    format!("[{}]{answer}", last_digits.join(","))
}

/// True if `answer` ends with the right digit. What is in the brackets before it is not looked at.
pub(crate) fn is_right(answer: &str, example: &Example) -> bool {
    answer.rsplit(']').next() == Some(&example.completion)
}

/// Reward of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Reward {
    /// 1 for a right answer and 0 for a wrong one, less `length_penalty` for each token.
    Correct { length_penalty: f64 },
    /// 1 or 0 by chance.
    Random,
}

impl Reward {
    pub(crate) fn reward_fn(self) -> Box<RewardFn> {
        let Self::Correct { length_penalty } = self else { return random_reward_fn() };
        let reward = move |input: &RewardInput<'_>| {
            let right = f64::from(u8::from(is_right(input.completion, input.example)));
            // Each character of a completion is a token.
            right - length_penalty * input.completion.len() as f64
        };
        Box::new(move |inputs, _| Ok(inputs.iter().map(reward).collect()))
    }
}
