//! 7.6 Best of n, by the judge (measure, 20 minutes, ●●○)
//!
//! A judge picks the best of n answers. Its own score rises with every doubling, as a maximum must.
//! Do the answers get better, and until which n?
//!
//!     cargo run -p part_6 -- train --demonstrations noisy --out runs/habit
//!     cargo run -p part_7 -- train --model runs/habit --out runs/judge
//!     cargo run -p part_10 -- best-of-n --model runs/habit --judge runs/judge \
//!         --n 64 --json > best.json
//!
//! Predict first: at which n is the exact match highest? The grader takes the file,
//! `best.json`.
//!
//! Hint: Two columns: what the judge says, and what is true.
//! Hint: From 16 to 64 the score rises as before. And the exact match?
//! Hint: Run the commands as they stand; the last one takes some minutes.
//! Read: book/src/11_at_test_time.md: ## Best of n

use serde_json::json;

use crate::grading::{Measure, Run};

/// Grader.
pub const GRADE: Measure = Measure {
    n_runs: 1,
    findings: |runs| {
        let [run] = runs else { return Vec::new() };
        let column = |key: &str| -> Vec<f64> {
            run.rows.iter().filter_map(|row| row.get(key)?.as_f64()).collect()
        };
        let (n, judge, exact) = (column("n"), column("judge"), column("exact_match"));
        if n.len() < 5 || judge.len() != n.len() || exact.len() != n.len() {
            return vec![(false, "a table up to n = 16 at least is needed".to_string())];
        }
        let last = n.len() - 1;
        let rises = judge.windows(2).all(|pair| pair[1] >= pair[0]);
        let gains = |column: &[f64]| [column[2] - column[0], column[last] - column[last - 1]];
        let [early, late] = gains(&exact);
        vec![
            (rises, "the judge's score never falls with n".to_string()),
            (early > 0.03, format!("up to n = 4 the answers get better, by {early:.3}")),
            (
                late < early,
                format!("the last doubling brings them less: {late:.3}; that is Goodhart's curve"),
            ),
        ]
    },
    right: || vec![table(&[0.63, 0.7, 0.77, 0.84, 0.889, 0.894, 0.89])],
    wrong: || {
        let mut falls = table(&[0.63, 0.7, 0.77, 0.84, 0.889, 0.894, 0.89]);
        falls.rows[3]["judge"] = json!(0.1);
        vec![
            (vec![table(&[0.63, 0.7])], "n = 16"),
            (vec![falls], "never falls"),
            (vec![table(&[0.63; 7])], "get better"),
            (vec![table(&[0.63, 0.65, 0.67, 0.7, 0.72, 0.74, 0.85])], "less"),
        ]
    },
};

fn table(exact: &[f64]) -> Run {
    let row = |(i, exact): (usize, &f64)| {
        let judge = 0.5 + 0.04 * i as f64;
        json!({"n": 1 << i, "judge": judge, "exact_match": exact})
    };
    Run::of(json!({}), &exact.iter().enumerate().map(row).collect::<Vec<_>>())
}
