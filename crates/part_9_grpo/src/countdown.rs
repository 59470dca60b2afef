//! Countdown reward: 1 for an expression that uses each number once and equals the target. The task
//! is easy to check and hard to solve.

use datasets::answers::extract_answer_tag;
use datasets::countdown::Puzzle;
use ppo::RewardInput;

/// Reward 1 if the completion's expression solves the puzzle, else 0. The expression is the content
/// of `<answer>`, else the last line of a completion that is not truncated; text after an equals
/// sign is ignored.
pub fn reward(input: &RewardInput<'_>) -> f32 {
    let Some(puzzle) = Puzzle::parse(&input.example.completion) else { return 0. };
    let last_line =
        || input.completion.trim().lines().last().filter(|_| input.terminated).unwrap_or_default();
    let answer = extract_answer_tag(input.completion).unwrap_or_else(last_line);
    let expression = answer.split('=').next().unwrap_or_default();
    f32::from(u8::from(puzzle.is_solved_by(expression)))
}
