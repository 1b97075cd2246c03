//! A reverse proxy on loopback between the command and an S3 server: it numbers the requests, and kills the command
//! before, within or after a chosen one. Deterministic up to the order in which concurrent reads arrive.
//!
//! It forwards requests unchanged, the `Host` header too, so signatures stay valid.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::kills::{Moment, Write};
use super::victim::Victim;

/// A request that passed, or did not.
#[derive(Clone, Debug)]
pub struct Operation {
    pub method: String,
    /// Path and query.
    pub target: String,
}

impl Operation {
    /// What it writes, if it is one of the writes that matter.
    pub fn write(&self) -> Option<Write> {
        let path = self.target.split('?').next().unwrap_or_default();
        match self.method.as_str() {
            "PUT" | "POST" if path.ends_with("/details.parquet") => Some(Write::Merge),
            "PUT" if path.contains("/_state/") => Some(Write::Snapshot),
            "PUT" if path.ends_with(".part") || path.ends_with(".parquet") => Some(Write::Entry),
            _ => None,
        }
    }
}

/// The kill that a gate is armed with.
#[derive(Clone, Copy, Debug)]
pub struct Aim {
    /// Counted from 1, since the gate was armed.
    pub request: u64,
    pub moment: Moment,
}

#[derive(Debug, Default)]
struct State {
    aim: Option<Aim>,
    victim: Option<Victim>,
    passed: Vec<Operation>,
    /// The request that the kill struck.
    struck: Option<Operation>,
    connections: u64,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    state: Mutex<State>,
    changed: Condvar,
}

/// See the module's head.
#[derive(Debug)]
pub struct Gate {
    shared: Arc<Shared>,
    endpoint: String,
}

impl Gate {
    /// In front of `endpoint`, `http://host:port`.
    pub fn start(endpoint: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream: endpoint.trim_start_matches("http://").to_owned(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        // Ends with the test process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                accepting.state().connections += 1;
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || {
                    // A broken connection is what a kill looks like from here.
                    let _ = shared.serve(&client);
                    let _ = client.shutdown(Shutdown::Both);
                    shared.state().connections -= 1;
                    shared.changed.notify_all();
                });
            }
        });
        Self {
            shared,
            endpoint: format!("http://{address}"),
        }
    }

    /// Its own address.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Counts from 1 again, and kills at `aim`. Call it before the command starts, [`Gate::give`] after.
    pub fn arm(&self, aim: Option<Aim>) {
        *self.shared.state() = State {
            aim,
            ..State::default()
        };
    }

    /// Whom to kill.
    pub fn give(&self, victim: &Victim) {
        self.shared.state().victim = Some(victim.clone());
        self.shared.changed.notify_all();
    }

    /// Waits until the command's connections are gone: the requests that passed and the one that the kill struck.
    pub fn settle(&self) -> (Vec<Operation>, Option<Operation>) {
        let mut state = self.shared.state();
        while state.connections > 0 {
            state = self.shared.changed.wait(state).unwrap();
        }
        (std::mem::take(&mut state.passed), state.struck.take())
    }
}

/// A request or an answer as it came: its head, and its body.
struct Message {
    first_line: String,
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// One connection of the client, one request after the other.
    fn serve(&self, client: &TcpStream) -> std::io::Result<()> {
        client.set_nodelay(true)?;
        let upstream = TcpStream::connect(&self.upstream)?;
        upstream.set_nodelay(true)?;
        let (mut from_client, mut from_upstream) =
            (BufReader::new(client), BufReader::new(&upstream));
        while let Some(request) = read_message(&mut from_client, None)? {
            let mut words = request.first_line.split(' ');
            let mut word = || words.next().unwrap_or_default().to_owned();
            let operation = Operation {
                method: word(),
                target: word(),
            };
            let due = self.count(&operation);
            if due == Some(Moment::Before) {
                self.strike(operation);
                return Ok(());
            }
            let writes = !matches!(operation.method.as_str(), "GET" | "HEAD");
            (&upstream).write_all(&request.head)?;
            if due == Some(Moment::Within) && writes {
                (&upstream).write_all(&request.body[..request.body.len() / 2])?;
                self.strike(operation);
                return Ok(());
            }
            (&upstream).write_all(&request.body)?;
            let Some(answer) = read_message(&mut from_upstream, Some(&operation.method))? else {
                return Ok(());
            };
            if due == Some(Moment::Within) {
                let half = answer.body.len() / 2;
                (&*client).write_all(&answer.head)?;
                (&*client).write_all(&answer.body[..half])?;
            }
            if due.is_some() {
                self.strike(operation);
                return Ok(());
            }
            (&*client).write_all(&answer.head)?;
            (&*client).write_all(&answer.body)?;
        }
        Ok(())
    }

    /// Notes a request; when the kill is due at it, at which moment.
    fn count(&self, operation: &Operation) -> Option<Moment> {
        let mut state = self.state();
        state.passed.push(operation.clone());
        let number = state.passed.len() as u64;
        let aim = state.aim.filter(|aim| aim.request == number)?;
        Some(aim.moment)
    }

    fn strike(&self, operation: Operation) {
        let mut state = self.state();
        while state.victim.is_none() {
            state = self.changed.wait(state).unwrap();
        }
        if let Some(victim) = &state.victim {
            victim.kill();
        }
        state.struck = Some(operation);
    }
}

/// The next message of a connection; none at its end. `asked` is the method that an answer answers.
fn read_message(
    from: &mut BufReader<&TcpStream>,
    asked: Option<&str>,
) -> std::io::Result<Option<Message>> {
    let (mut head, mut lines) = (Vec::new(), Vec::new());
    loop {
        let start = head.len();
        if from.read_until(b'\n', &mut head)? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&head[start..])
            .trim_end()
            .to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let first_line = lines.first().cloned().unwrap_or_default();
    let header = |name: &str| {
        lines.iter().skip(1).find_map(|line| {
            let (have, value) = line.split_once(':')?;
            have.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    };
    let status = first_line.split(' ').nth(1).unwrap_or_default();
    let bodiless = asked == Some("HEAD") || (asked.is_some() && matches!(status, "204" | "304"));
    let mut body = Vec::new();
    if bodiless {
        // Its length speaks of a body that is not sent.
    } else if header("transfer-encoding").is_some_and(|value| value == "chunked") {
        read_chunks(from, &mut body)?;
    } else if let Some(length) = header("content-length").and_then(|value| value.parse().ok()) {
        body.resize(length, 0);
        from.read_exact(&mut body)?;
    }
    Ok(Some(Message {
        first_line,
        head,
        body,
    }))
}

/// A chunked body, kept as it came.
fn read_chunks(from: &mut BufReader<&TcpStream>, body: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let start = body.len();
        from.read_until(b'\n', body)?;
        let line = String::from_utf8_lossy(&body[start..])
            .trim_end()
            .to_owned();
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16)
            .map_err(|_| std::io::Error::other(format!("no chunk size: `{line}`")))?;
        if size == 0 {
            from.read_until(b'\n', body)?;
            return Ok(());
        }
        let end = body.len() + size + 2;
        let start = body.len();
        body.resize(end, 0);
        from.read_exact(&mut body[start..])?;
    }
}
