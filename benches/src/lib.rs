//! Benches and the checkpoint-sizing harness
