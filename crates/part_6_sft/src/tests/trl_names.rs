//! Names of TRL's settings.

use experiment::flags::TRL_NAMES;
use experiment::settings::train_setting;

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
    assert!(n >= 16, "{n}");
}
