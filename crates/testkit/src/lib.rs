//! What the tests of several crates share. Part of no product binary.

pub mod postgres;
