//! A command as a child process that a test may kill.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Ended;

/// SIGKILL, as a process' end tells it.
const SIGKILL: i32 = 9;

/// A child process with its output in files, so that no pipe ever holds it up.
///
/// The handle is shared: whoever holds a copy can kill it. Killed by its handle, never by a number that another
/// process may have by then.
#[derive(Clone, Debug)]
pub struct Victim {
    child: Arc<Mutex<Child>>,
    output: PathBuf,
}

impl Victim {
    /// Starts `command`; its output goes to `folder`/`name`.out and .err.
    pub fn start(mut command: Command, folder: &Path, name: &str) -> Self {
        let output = folder.join(name);
        let file = |extension| File::create(output.with_extension(extension)).unwrap();
        let child = command.stdout(file("out")).stderr(file("err")).spawn();
        Self {
            child: Arc::new(Mutex::new(child.unwrap())),
            output,
        }
    }

    /// SIGKILL. Of no effect on a process that has ended.
    pub fn kill(&self) {
        self.child.lock().unwrap().kill().unwrap();
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().try_wait().unwrap()
    }

    /// Waits for the end; none if it was killed.
    pub fn wait(&self) -> Option<Ended> {
        // Waiting inside the lock would keep a kill out.
        let status = loop {
            match self.ended() {
                Some(status) => break status,
                None => std::thread::sleep(Duration::from_micros(500)),
            }
        };
        if status.signal() == Some(SIGKILL) {
            return None;
        }
        let read = |extension| std::fs::read(self.output.with_extension(extension)).unwrap();
        Some(Ended::from(&std::process::Output {
            status,
            stdout: read("out"),
            stderr: read("err"),
        }))
    }
}
