//! Thread pool: every task runs once, under all circumstances.

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::kernels::pool::for_each;

fn runs_of(tasks: usize) -> Vec<usize> {
    let runs: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
    for_each(tasks, |task| _ = runs[task].fetch_add(1, Ordering::Relaxed));
    runs.into_iter().map(AtomicUsize::into_inner).collect()
}

#[test]
fn every_task_runs_once() {
    for round in 0..5_000 {
        let tasks = round % 7;
        assert_eq!(runs_of(tasks), vec![1; tasks], "round {round}");
    }
    std::thread::sleep(std::time::Duration::from_millis(5)); // long enough for the helpers to sleep
    assert_eq!(runs_of(1_000), vec![1; 1_000]);
}

#[test]
fn concurrent_and_nested_loops_run_every_task_once() {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..300 {
                    let total = AtomicUsize::new(0);
                    for_each(5, |_| _ = total.fetch_add(runs_of(3).len(), Ordering::Relaxed));
                    assert_eq!(total.into_inner(), 15);
                }
            });
        }
    });
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_stays_usable() {
    for bad in [0, 1, 63] {
        let caught = catch_unwind(|| for_each(64, |task| assert_ne!(task, bad, "task {task}")));
        assert!(caught.is_err());
        assert_eq!(runs_of(64), vec![1; 64]);
    }
}
