//! Numbers in text, with cases that other graders read wrongly.

use crate::numbers::{
    approx_equal, last_integer, last_number, number_strings, parse_numbers, single_number,
};

#[test]
fn the_last_integer_is_read_as_a_person_would() {
    for (text, wanted) in [
        ("12-7", Some(7)), // −7 in another grader
        ("12 - 7 = 5", Some(5)),
        ("4.5", None),         // 5 in another grader
        ("1,000", Some(1000)), // 0 in another grader
        ("5 apples and 3", Some(3)),
        ("5 apples", Some(5)),
        ("-7", Some(-7)),
        ("−7", Some(-7)),
        ("= -7.", Some(-7)),
        ("(-7)", Some(-7)),
        ("3-7", Some(7)),
        ("(3)-7", Some(7)),
        ("-$1,234.00", Some(-1234)),
        ("$-5", Some(-5)),
        ("42 %", Some(42)),
        ("42%", Some(42)),
        ("about 1,2,3", Some(3)),
        ("3/4", None),
        ("12a", None),
        ("a12", None),
        ("42km", Some(42)),
        ("of 50 there are 12a", None), // 50 in another grader
        ("42 m2", Some(42)),
        ("version 1.2.3", None),
        ("**53**", Some(53)),
        ("\\boxed{53}", Some(53)),
        ("x=53", Some(53)),
        ("1e3", Some(1000)),
        ("2e-1", None),
        ("53!", Some(53)),
        ("", None),
        ("none", None),
        ("99999999999999999999", None),
        ("--5", Some(5)),
        ("–7", Some(-7)), // an en dash, which models write for a minus
        ("－7", Some(-7)),
        ("10–20", Some(20)),
        ("18 m^2", Some(18)),
        ("18 m^{2}", Some(18)),
        ("x_{2} = 5", Some(5)),
        ("42°", Some(42)),
        ("9007199254740991", Some(9_007_199_254_740_991)),
        ("9007199254740993", None), // an f64 would hold …992
    ] {
        assert_eq!(last_integer(text), wanted, "{text:?}");
    }
}

#[test]
fn a_single_number_and_the_last_number_are_found() {
    // Another grader reads neither "1,234" nor, as a last number, "42." or "5 apples".
    for (text, single, last) in [
        ("$42", Some(42.), Some(42.)),
        ("1,234", Some(1234.), Some(1234.)),
        ("42.", Some(42.), Some(42.)),
        ("12-7", None, Some(7.)),
        ("5 apples", Some(5.), Some(5.)),
        ("3/4", None, None),
        ("about 10 or 20", None, Some(20.)),
        ("None", None, None),
        (".5", Some(0.5), Some(0.5)),
        ("-0.25", Some(-0.25), Some(-0.25)),
    ] {
        assert_eq!((single_number(text), last_number(text)), (single, last), "{text:?}");
    }
    assert_eq!(number_strings("from -$78,910.5 to 1e-3"), ["-78910.5", "1e-3"]);
    assert_eq!(parse_numbers("Ünï 7 … ５"), [7.], "digits are ASCII ones");
}

/// A policy that is paid for an earlier number learns to write it before whatever it likes.
#[test]
fn what_follows_the_last_number_does_not_let_an_earlier_one_pass() {
    for last in [
        "½",
        "57½",
        "５７",
        "٥٧",
        "②",
        "3/4",
        "12a",
        "4^2",
        "(3)^2",
        "4^{2}",
        "10^8",
        "3×10^8",
        "√9",
        "\\sqrt{9}",
        "\\frac{3}{4}",
        "\\frac{3}{42}",
        "10:30",
        "1e999",
        "-1e999",
        "9e99",
        "0x2A",
        "1_000",
        "4\u{200b}2",
        "4\u{338}2",
        "42²",
        "1.2.3",
    ] {
        for text in [last.to_string(), format!("42 … no, {last}"), format!("42 {last}.")] {
            assert_eq!(last_number(&text), None, "{text:?}");
            assert_eq!(single_number(&text), None, "{text:?}");
        }
    }
}

#[test]
fn whole_numbers_are_compared_exactly() {
    for (a, b, equal) in [
        (1_000_000_001., 1_000_000_000., false),
        (9_007_199_254_740_991., 9_007_199_254_740_990., false),
        (1_000_000_000.5, 1_000_000_000., false),
        (0.333_333_333_33, 0.333_333_333_333_3, true),
        (1e-12, 2e-12, false),
        (-42., 42., false),
        (0., 0., true),
        (f64::NAN, f64::NAN, false),
    ] {
        assert_eq!(approx_equal(a, b), equal, "{a} {b}");
        assert_eq!(approx_equal(b, a), equal, "{b} {a}");
    }
}
