//! 4.6 A loss that depends on the cut (find the bug, 6 minutes, ●○○)
//!
//! The loss of a step is logged over several micro-batches of different numbers of targets. It
//! depends on how the batch was cut, and a padded part with one target counts as much as a full
//! one. Three lines at most.
//!
//! Hint: Cut one list of losses in two ways: why do the results differ?
//! Hint: The loss of a part is a mean over *its* targets: to add parts, make sums of means.
//! Hint: `sum += part.iter().sum::<f64>(); n += part.len() as f64;`
//! Read: crates/part_4_scaling/src/accumulation.rs: a mean of means
//! Read: book/src/04_scale.md: ## Gradients in pieces

/// Mean loss of all targets; each part has the losses of its targets.
pub fn loss_depends_on_the_cut(parts: &[Vec<f64>]) -> f64 {
    let (mut sum, mut n) = (0., 0.);
    for part in parts {
        // BUG
        sum += part.iter().sum::<f64>();
        n += part.len() as f64;
        //| sum += part.iter().sum::<f64>() / part.len() as f64;
        //| n += 1.;
        // END
    }
    sum / n
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Mean = fn(&[Vec<f64>]) -> f64;

/// Grader. The reference joins the parts.
pub const GRADE: Fill<Mean> = Fill {
    cases,
    reference: |parts| {
        let all = parts.concat();
        all.iter().sum::<f64>() / all.len() as f64
    },
    tolerance: 1e-9,
    wrong: &[Wrong {
        f: |parts| {
            parts.iter().map(|part| part.iter().sum::<f64>()).sum::<f64>() / parts.len() as f64
        },
        says: "the sum of all losses divided by the number of parts",
        read: "",
    }],
};

fn cases(f: Mean, answers: &mut Answers) {
    let losses: Vec<f64> = (0..8).map(|_| answers.rng().uniform() * 5.).collect();
    for cut in [8, 4, 1, 7] {
        let parts = vec![losses[..cut].to_vec(), losses[cut..].to_vec()];
        let parts: Vec<Vec<f64>> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        answers.record(format!("eight losses, cut after {cut}"), || Ok(f(&parts)));
    }
}
