//! 4.12 Resumed, almost (find the bug, 8 minutes, ●●○)
//!
//! A run that stops after `stop` steps, is saved and resumed has to end like one that never
//! stopped, bit by bit. This one ends near it, which is worse than far away: nobody notices. Three
//! lines at most.
//!
//! Hint: Print the random numbers of steps 4 and 5, without and with a stop after 4.
//! Hint: The weight, the step and the moment come back. What else does the next step depend on?
//! Hint: The checkpoint has the generator: `checkpoint.rng.clone()`.
//! Read: book/src/04_scale.md: ## A run that survives

use tensor_core::Rng;

/// All that a run is between two steps.
#[derive(Clone)]
struct Checkpoint {
    weight: f64,
    moment: f64,
    rng: Rng,
}

/// One step: a noisy gradient of ½ (weight − 3)², with momentum.
fn step(run: &mut Checkpoint) {
    let gradient = run.weight - 3. + 0.5 * run.rng.normal();
    run.moment = 0.9 * run.moment + gradient;
    run.weight -= 0.05 * run.moment;
}

/// Weight after `steps`, of a run that is stopped and resumed after `stop` of them.
pub fn resumed_almost(steps: usize, stop: usize, seed: u64) -> f64 {
    let mut run = Checkpoint { weight: 0., moment: 0., rng: Rng::new(seed) };
    for _ in 0..stop {
        step(&mut run);
    }
    let checkpoint = run.clone(); // on disk; then the program begins anew
    let mut run = Checkpoint {
        weight: checkpoint.weight,
        moment: checkpoint.moment,
        // BUG
        rng: checkpoint.rng.clone(),
        //| rng: Rng::new(seed),
        // END
    };
    for _ in stop..steps {
        step(&mut run);
    }
    run.weight
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Resume = fn(usize, usize, u64) -> f64;

/// Grader. The reference never stops.
pub const GRADE: Fill<Resume> = Fill {
    cases,
    reference: |steps, _, seed| {
        let mut run = Checkpoint { weight: 0., moment: 0., rng: Rng::new(seed) };
        (0..steps).for_each(|_| step(&mut run));
        run.weight
    },
    tolerance: 0.,
    wrong: &[
        Wrong {
            f: |steps, stop, seed| {
                let mut run = Checkpoint { weight: 0., moment: 0., rng: Rng::new(seed) };
                (0..stop).for_each(|_| step(&mut run));
                run.rng = Rng::of_index(seed, stop as u64);
                (stop..steps).for_each(|_| step(&mut run));
                run.weight
            },
            says: "a stream of its own from the step on: reproducible, and not the run that never \
                   stopped",
            read: "",
        },
        Wrong {
            f: |steps, stop, seed| {
                let mut run = Checkpoint { weight: 0., moment: 0., rng: Rng::new(seed) };
                (0..stop).for_each(|_| step(&mut run));
                run.moment = 0.;
                (stop..steps).for_each(|_| step(&mut run));
                run.weight
            },
            says: "the moment is lost: the first steps after the stop are smaller",
            read: "",
        },
    ],
};

fn cases(f: Resume, answers: &mut Answers) {
    for (stop, seed) in [(0, 1), (4, 1), (19, 2), (20, 3)] {
        answers.record(format!("20 steps, stopped after {stop}"), || Ok(f(20, stop, seed)));
    }
}
