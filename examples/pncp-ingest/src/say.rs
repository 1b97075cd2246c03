//! Printing that never ends a command: a reader may go away (`| head`), a disk behind a redirect
//! may be full, and the work goes on.

use std::fmt::Arguments;
use std::io::Write;

/// As `println!`, for which a closed stdout is a panic.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::say::line(std::io::stdout(), format_args!($($text)*))
    };
}

/// As `eprintln!`, for which a closed stderr is a panic.
macro_rules! tell {
    ($($text:tt)*) => {
        $crate::say::line(std::io::stderr(), format_args!($($text)*))
    };
}

pub(crate) use {say, tell};

/// Writes a line; that nobody takes it is nobody's loss.
pub(crate) fn line(mut out: impl Write, text: Arguments<'_>) {
    let _ = writeln!(out, "{text}");
}
