//! Printing that ends no command in the middle: a reader may go away (`| head`), a disk behind a
//! redirect may be full, and the work goes on. That something could not be written is told at the
//! end.

use std::fmt::Arguments;
use std::io::{self, Write};
use std::sync::OnceLock;

/// As `println!`, for which a closed stdout is a panic.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::say::to_stdout(format_args!($($text)*))
    };
}

/// As `eprintln!`, for which a closed stderr is a panic.
macro_rules! tell {
    ($($text:tt)*) => {
        $crate::say::to_stderr(format_args!($($text)*))
    };
}

pub(crate) use {say, tell};

/// The first failure of stdout, other than that its reader went away.
static FAILED: OnceLock<io::Error> = OnceLock::new();

pub(crate) fn to_stdout(text: Arguments<'_>) {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            // Of several failures the first says it.
            let _ = FAILED.set(error);
        }
        _ => {}
    }
}

pub(crate) fn to_stderr(text: Arguments<'_>) {
    // There is nowhere left to say it.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Why what was said is not whole, if it is not. A reader that went away wanted no more.
pub(crate) fn failure() -> Option<&'static io::Error> {
    FAILED.get()
}
