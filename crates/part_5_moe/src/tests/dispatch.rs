use crate::dispatch::{Dispatch, expert_capacity};

/// The example in the header of dispatch.rs.
#[test]
fn tokens_are_sorted_by_expert_and_the_inverse_is_recorded() {
    let dispatch = Dispatch::new(&[2, 0, 2, 1], 1, 3, None);
    assert_eq!(dispatch.token_indices, [1, 3, 0, 2]);
    assert_eq!(dispatch.rows_per_expert, [1, 1, 2]);
    assert_eq!(dispatch.row_of_choice, [Some(2), Some(0), Some(3), Some(1)]);
    assert_eq!(dispatch.n_dropped(), 0);
}

#[test]
fn a_token_has_a_row_with_each_of_its_experts() {
    let experts = [0, 2, 1, 2, 2, 0];
    let dispatch = Dispatch::new(&experts, 2, 4, None);
    assert_eq!(dispatch.rows_per_expert, [2, 1, 3, 0], "expert 3 gets 0 tokens");
    for (slot, row) in dispatch.row_of_choice.iter().enumerate() {
        let row = row.expect("nothing is dropped") as usize;
        assert_eq!(dispatch.token_indices[row] as usize, slot / 2);
        let first: usize = dispatch.rows_per_expert[..experts[slot] as usize].iter().sum();
        assert!((first..first + dispatch.rows_per_expert[experts[slot] as usize]).contains(&row));
    }
}

#[test]
fn a_full_expert_drops_second_choices_first_then_later_tokens() {
    // Expert 0 is the first choice of tokens 0 and 2 and the second of token 1; its capacity is 2.
    let dispatch = Dispatch::new(&[0, 1, 1, 0, 0, 1], 2, 2, Some(2));
    assert_eq!(dispatch.row_of_choice[3], None, "the second choice is dropped");
    assert_eq!((dispatch.row_of_choice[0], dispatch.row_of_choice[4]), (Some(0), Some(1)));
    assert_eq!((dispatch.rows_per_expert.clone(), dispatch.n_dropped()), (vec![2, 2], 2));
    // All tokens select expert 1; it takes the first three.
    let dispatch = Dispatch::new(&[1; 8], 1, 2, Some(3));
    assert_eq!(dispatch.token_indices, [0, 1, 2]);
    assert_eq!(dispatch.n_dropped(), 5);
}

#[test]
fn capacity_is_the_mean_load_times_the_factor_and_at_least_one() {
    assert_eq!(expert_capacity(1., 32, 2, 4), 16);
    assert_eq!(expert_capacity(1.25, 10, 1, 4), 4);
    assert_eq!((expert_capacity(0.001, 10, 1, 4), expert_capacity(0., 10, 1, 4)), (1, 1));
    assert_eq!(expert_capacity(1e300, 10, 1, 4), usize::MAX);
}
