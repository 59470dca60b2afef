//! The plateau of a run's mean rewards.

use crate::results_table::plateau;

#[test]
fn the_plateau_begins_where_the_mean_of_five_rewards_is_that_of_the_end() {
    let rising: Vec<f64> = (0..10).map(|i| f64::from(i) / 10.).chain([1.; 10]).collect();
    assert_eq!(plateau(&rising), Some(15. / 20.));
    assert_eq!(plateau(&[0.5; 20]), Some(5. / 20.));
    // What is lost again is above the end's level from the beginning.
    let falling: Vec<f64> = rising.into_iter().rev().collect();
    assert_eq!(plateau(&falling), Some(5. / 20.));
    assert_eq!(plateau(&[1.; 9]), None);
}
