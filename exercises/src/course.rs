//! All parts in order.

use crate::entry::{Entry, Part};
use crate::{
    part_0, part_1, part_2, part_3, part_4, part_5, part_6, part_7, part_8, part_9, part_10,
    part_11, part_12, part_ppo,
};

/// Parts.
pub const PARTS: &[Part] = &[
    part_0::PART,
    part_1::PART,
    part_2::PART,
    part_3::PART,
    part_4::PART,
    part_5::PART,
    part_6::PART,
    part_7::PART,
    part_8::PART,
    part_ppo::PART,
    part_9::PART,
    part_10::PART,
    part_11::PART,
    part_12::PART,
];

/// All exercises in order.
pub fn exercises() -> impl Iterator<Item = &'static Entry> {
    PARTS.iter().flat_map(|part| part.exercises)
}

/// Exercise with this name or number.
pub fn find(name: &str) -> Option<&'static Entry> {
    exercises().find(|entry| entry.name == name || entry.head().number == name)
}

/// Part with this number.
pub fn part(number: &str) -> Option<&'static Part> {
    PARTS.iter().find(|part| part.number == number)
}
