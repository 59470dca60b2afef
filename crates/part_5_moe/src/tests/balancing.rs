use candle_core::{DType, Result};
use tensor_core::Parameters;
use tensor_core::testing::assert_close;

use super::{CPU, tiny_config};
use crate::balancing_bias::{update_biases, updated_bias};
use crate::config::{ExpertSelection, RouterConfig};
use crate::{ExpertLoad, GptMoe};

#[test]
fn a_load_counts_all_assignments_including_dropped_ones() {
    let mut load = ExpertLoad::new(&[0, 1, 1, 1, 3, 1], 4, 2);
    assert_eq!(load.counts, [1, 4, 0, 1]);
    assert_close(load.max_load_ratio(), 4. / 1.5, 1e-12);
    assert_close(load.dropped_fraction(), 2. / 6., 1e-12);
    load.add(&ExpertLoad::new(&[0, 0, 0, 2, 2, 2, 2, 3, 3, 3], 4, 0));
    assert_eq!((load.max_load_ratio(), load.total()), (1., 16));
    let mut sum = ExpertLoad::default();
    sum.add(&load);
    assert_eq!(sum, load, "a sum can start empty");
    assert_eq!(ExpertLoad::default().max_load_ratio(), 0.);
    assert_eq!(
        ExpertLoad::new(&[2; 9], 4, 0).max_load_ratio(),
        4.,
        "E when one expert gets all tokens"
    );
}

/// Computed by hand: the mean of (6, 2, 4, 4) is 4.
#[test]
fn a_bias_falls_above_the_mean_load_and_rises_below_it() {
    let load = ExpertLoad { counts: vec![6, 2, 4, 4], dropped: 0 };
    assert_eq!(updated_bias(&[0., 0., 0.5, -0.5], &load, 0.25), [-0.25, 0.25, 0.5, -0.5]);
}

#[test]
fn each_layer_updates_its_own_bias_and_the_model_uses_it() -> Result<()> {
    let router =
        RouterConfig { expert_selection: ExpertSelection::Biased, ..RouterConfig::new(4, 1) };
    let config = tiny_config(router)?;
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    let model = GptMoe::new(&config, parameters.root())?;
    let ids = super::ids(1, 20, 0)?;
    let (_, before) = model.forward_with_routing(&ids)?;
    let overload = |expert: u32| ExpertLoad::new(&[expert; 8], 4, 0);
    for _ in 0..100 {
        update_biases(&parameters, &[overload(0), overload(1)], 0.1)?;
    }
    let (_, after) = model.forward_with_routing(&ids)?;
    assert!(before[0].selected_experts.contains(&0) && before[1].selected_experts.contains(&1));
    assert!(!after[0].selected_experts.contains(&0) && after[0].selected_experts.contains(&1));
    assert!(!after[1].selected_experts.contains(&1) && after[1].selected_experts.contains(&0));
    Ok(())
}
