//! Random searches of Countdown puzzles.

use tensor_core::Rng;

use crate::countdown::Puzzle;
use crate::countdown_search::random_search;

#[test]
fn a_search_ends_with_its_last_try_and_stops_when_it_is_right() {
    let mut rng = Rng::new(1);
    let (mut n_solved, mut n_at_once) = (0, 0);
    for _ in 0..2000 {
        let puzzle = Puzzle::sample(3, &mut rng);
        let search = random_search(&puzzle, 4, &mut rng);
        assert_eq!(search.prompt[0].content, puzzle.question());
        let (tries, expression) = search.completion.rsplit_once('\n').expect("tries");
        let tries: Vec<&str> = tries.lines().collect();
        let reaches_target = |line: &str| line.ends_with(&format!("={}", puzzle.target));
        let (last, earlier) = tries.split_last().expect("a try");
        assert!(tries.len() <= 4 && !earlier.iter().any(|line| reaches_target(line)), "{search:?}");
        assert_eq!(puzzle.is_solved_by(expression), reaches_target(last), "{search:?}");
        n_solved += usize::from(reaches_target(last));
        n_at_once += usize::from(reaches_target(last) && tries.len() == 1);
    }
    // One try in thirty or so is right; four tries are right up to four times as often.
    assert!(n_at_once > 20 && n_solved > 2 * n_at_once, "{n_at_once} at once, {n_solved} in all");
}

#[test]
fn every_step_of_a_try_is_right_and_uses_the_results_before_it() {
    let mut rng = Rng::new(2);
    for _ in 0..500 {
        let puzzle = Puzzle::sample(4, &mut rng);
        let search = random_search(&puzzle, 1, &mut rng);
        let (steps, expression) = search.completion.split_once('\n').expect("a try");
        let mut pool = puzzle.numbers.clone();
        for step in steps.split(',') {
            let (operands, result) = step.split_once('=').expect("a result");
            let result: i64 = result.parse().expect("a number");
            let step = Puzzle {
                numbers: operands.split(['+', '-', '*', '/']).map(number).collect(),
                target: result,
            };
            assert!(step.is_solved_by(operands) && result >= 0, "{steps}");
            for operand in &step.numbers {
                let at = pool.iter().position(|n| n == operand).expect("an unused number");
                pool.swap_remove(at);
            }
            pool.push(result);
        }
        let reached = Puzzle { target: pool[0], ..puzzle };
        assert!(pool.len() == 1 && reached.is_solved_by(expression), "{search:?}");
    }
}

fn number(text: &str) -> i64 {
    text.parse().expect("a number")
}
