//! The client over real HTTP: against the loopback PNCP, judged by what that one saw, and against
//! bare sockets for what it never does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod counts;
mod coverage;
mod pace;
mod quirks;
mod support;
mod traces;
mod wire;
