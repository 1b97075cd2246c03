//! The command line that keeps a bronze copy of the PNCP.
fn main() {}
