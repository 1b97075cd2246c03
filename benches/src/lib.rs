//! Benches of the workspace; each file in `benches/` asks one question and prints its unit.

pub mod python;
pub mod sizing;
