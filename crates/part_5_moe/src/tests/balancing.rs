use candle_core::{DType, Result};
use tensor_core::Parameters;

use super::{CPU, tiny};
use crate::balancing_bias::{moved, update};
use crate::config::{RouterConfig, Selection};
use crate::{GptMoe, Load};

#[test]
fn a_load_counts_choices_and_the_dropped_ones_too() {
    let mut load = Load::new(&[0, 1, 1, 1, 3, 1], 4, 2);
    assert_eq!(load.counts, [1, 4, 0, 1]);
    assert!((load.max_over_mean() - 4. / 1.5).abs() < 1e-12);
    assert!((load.dropped_share() - 2. / 6.).abs() < 1e-12);
    load.add(&Load::new(&[0, 0, 0, 2, 2, 2, 2, 3, 3, 3], 4, 0));
    assert_eq!((load.max_over_mean(), load.total()), (1., 16));
    let mut sum = Load::default();
    sum.add(&load);
    assert_eq!(sum, load, "a sum may begin empty");
    assert_eq!(Load::default().max_over_mean(), 0.);
    assert_eq!(Load::new(&[2; 9], 4, 0).max_over_mean(), 4., "E when one has all");
}

/// By hand: the mean of (6, 2, 4, 4) is 4.
#[test]
fn a_bias_falls_where_the_load_is_above_the_mean_and_rises_where_it_is_below() {
    let load = Load { counts: vec![6, 2, 4, 4], dropped: 0 };
    assert_eq!(moved(&[0., 0., 0.5, -0.5], &load, 0.25), [-0.25, 0.25, 0.5, -0.5]);
}

#[test]
fn each_layer_moves_its_own_bias_and_the_model_sees_it() -> Result<()> {
    let router = RouterConfig { selection: Selection::Biased, ..RouterConfig::new(4, 1) };
    let config = tiny(router)?;
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    let model = GptMoe::new(&config, parameters.root())?;
    let ids = super::ids(1, 20, 0)?;
    let (_, before) = model.forward(&ids)?;
    let busy = |expert: u32| Load::new(&[expert; 8], 4, 0);
    for _ in 0..100 {
        update(&parameters, &[busy(0), busy(1)], 0.1)?;
    }
    let (_, after) = model.forward(&ids)?;
    assert!(before[0].experts.contains(&0) && before[1].experts.contains(&1));
    assert!(!after[0].experts.contains(&0) && after[0].experts.contains(&1));
    assert!(!after[1].experts.contains(&1) && after[1].experts.contains(&0));
    Ok(())
}
