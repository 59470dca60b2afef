//! The choice of a device.

use crate::DeviceChoice;
use crate::device::gpu_index;

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
fn the_processes_of_a_host_share_its_gpus_unless_one_is_named() {
    let indices =
        |index, n_gpus| [0, 1, 2, 3].map(|local_rank| gpu_index(index, local_rank, n_gpus));
    assert_eq!(indices(None, 4), [0, 1, 2, 3]);
    assert_eq!(indices(None, 2), [0, 1, 0, 1]);
    assert_eq!(indices(None, 0), [0; 4], "which is then reported to be missing");
    assert_eq!(indices(Some(1), 4), [1; 4]);
}
