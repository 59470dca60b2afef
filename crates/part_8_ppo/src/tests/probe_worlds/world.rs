//! Probe worlds: the smallest tasks that need one thing each, so that a failure names its cause
//! (Jones 2021, <https://andyljones.com/posts/rl-debugging.html>). An observation is a prompt, an
//! action is a token.

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum World {
    /// 1 for everything: is a value learned, and is nothing else?
    Constant,
    /// 1 for the first prompt, −1 for the second, whatever the token: are prompts told apart?
    Observation,
    /// Two tokens; the first decides the reward that comes after the second: does it get the
    /// credit, discounted once?
    Delayed,
    /// 1 for a lowercase letter: are rewarded tokens made more likely?
    Action,
    /// 1 for a lowercase letter after the first prompt, and for anything else after the second:
    /// both at once.
    ActionAndObservation,
}

impl World {
    pub(super) const PROMPTS: [&str; 2] = ["world 0", "world 1"];

    pub(super) fn n_tokens(self) -> usize {
        if self == Self::Delayed { 2 } else { 1 }
    }

    pub(super) fn reward(self, prompt: &str, completion: &str) -> f64 {
        let is_letter = completion.starts_with(|c: char| c.is_ascii_lowercase());
        let is_first = prompt == Self::PROMPTS[0];
        let one_if = |right: bool| f64::from(u8::from(right));
        match self {
            Self::Constant => 1.,
            Self::Observation => 2. * one_if(is_first) - 1.,
            Self::Delayed | Self::Action => one_if(is_letter),
            Self::ActionAndObservation => one_if(is_letter == is_first),
        }
    }
}
