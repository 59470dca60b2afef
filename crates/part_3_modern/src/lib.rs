//! Part 3: the modern architecture.
