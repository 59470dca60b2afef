use crate::layers::crate_order::may_use;

#[test]
fn parts_depend_on_earlier_parts_and_the_core_on_none() {
    assert!(may_use("part_10", "part_9"));
    assert!(may_use("part_1", "tensor_core"));
    assert!(may_use("examples", "part_2"));
    assert!(!may_use("part_1", "part_2"));
    assert!(!may_use("part_2", "part_2"));
    assert!(!may_use("part_2", "part_10"), "numbers are compared, not texts");
    assert!(!may_use("part_2", "examples"));
    assert!(!may_use("part_2", "xtask"));
    assert!(!may_use("tensor_core", "part_1"));
    assert!(!may_use("xtask", "tensor_core"));
}

#[test]
fn support_crates_stand_between_the_core_and_the_parts() {
    let support = ["model_io", "datasets", "experiment"];
    for name in support {
        assert!(may_use(name, "tensor_core"));
        assert!(may_use("part_1", name));
        assert!(may_use("benches", name));
        assert!(!may_use(name, "part_1"), "{name} below the parts");
        assert!(!may_use("tensor_core", name));
        assert!(!may_use("xtask", name));
    }
    let pairs = support.iter().flat_map(|user| support.iter().map(move |used| (*user, *used)));
    let allowed: Vec<_> = pairs.filter(|(user, used)| may_use(user, used)).collect();
    assert_eq!(allowed, [("datasets", "model_io")]);
}
