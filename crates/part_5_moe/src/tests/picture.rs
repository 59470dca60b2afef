use crate::picture::expert_usage_table;

#[test]
fn all_assignments_count_in_the_loads_and_in_the_bytes() {
    // The first a and b are routed to experts 0 and 2, the second a to 2 and 1.
    let table = expert_usage_table(b"aba ", &[0, 2, 0, 2, 2, 1, 1, 2], 4);
    let rows: Vec<&str> = table.lines().skip(1).map(str::trim).collect();
    assert_eq!(
        rows,
        ["0   25.0%   a b", "1   25.0%   \u{2423} a", "2   50.0%   a \u{2423} b", "3    0.0%"]
    );
}
