//! The choice of a device.

use crate::DeviceChoice;

#[test]
fn a_device_is_written_as_it_was_given() {
    for (text, choice) in [
        ("auto", DeviceChoice::Auto),
        ("cpu", DeviceChoice::Cpu),
        ("cuda", DeviceChoice::Cuda(None)),
        ("cuda:1", DeviceChoice::Cuda(Some(1))),
    ] {
        assert_eq!(choice.to_string(), text);
        if cfg!(feature = "cuda") || !text.starts_with("cuda") {
            assert_eq!(text.parse::<DeviceChoice>(), Ok(choice));
        }
    }
}

#[test]
fn every_rank_of_a_host_computes_on_the_cpu_if_that_is_asked_for() {
    for local_rank in [0, 3] {
        assert!(DeviceChoice::Cpu.open_on(local_rank).unwrap().is_cpu());
    }
}
