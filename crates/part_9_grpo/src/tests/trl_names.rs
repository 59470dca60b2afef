//! Names of the settings in TRL and in the settings files of other projects.

use experiment::flags::TRL_NAMES;
use experiment::settings::{foreign_keys_table, train_setting};

use crate::command::Cli;

#[test]
fn the_names_of_trl_stand_for_the_same_settings() {
    let mut n = 0;
    for (name, setting) in TRL_NAMES {
        if train_setting::<Cli>(setting).as_deref() == Some(setting) {
            assert_eq!(train_setting::<Cli>(name).as_deref(), Some(setting), "{name}");
            n += 1;
        }
    }
    assert!(n >= 17, "{n}");
}

#[test]
fn the_readme_lists_the_keys_of_other_projects() {
    let table = foreign_keys_table::<Cli>();
    assert!(include_str!("../../README.md").contains(&table), "it lacks:\n{table}");
}
