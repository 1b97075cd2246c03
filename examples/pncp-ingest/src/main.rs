//! The command line that keeps a bronze copy of the PNCP.

mod archive;
mod calendar;
mod cli;
mod context;
mod daily;
mod demo;
mod details;
mod failure;
mod outcome;
mod quarantine;
mod say;
mod settings;
mod show;
mod state;

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::context::Context;
use crate::failure::Failure;
use crate::outcome::{Outcome, Status};
use crate::say::{say, tell};
use crate::settings::{Settings, Variables};

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    allocate_in_one_arena();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            if !error.use_stderr() {
                return ExitCode::SUCCESS;
            }
            let message = error.render().to_string();
            return ended(
                "usage",
                Err(Failure::usage(message.trim().to_owned())),
                false,
            );
        }
    };
    let name = cli.command.name();
    // The work is waiting for answers: one thread does it, and each further one would cost the
    // allocator's arena of its own, some ten MiB.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(2)
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => Err(Failure::of("starting", &error)),
    };
    ended(name, result, true)
}

/// Starts this command over, in the same process, with an allocator that keeps less.
///
/// By default glibc gives each thread an arena and lets freed blocks of any size pile up in it: peak resident set 51 MB
/// against 38 MB for the details of 50,000 contratações, at the same speed. Nothing but the environment sets that
/// without `unsafe`, and it is read once, at the start. Who sets MALLOC_ARENA_MAX knows better.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn allocate_in_one_arena() {
    use std::os::unix::process::CommandExt as _;
    let settings = [
        ("MALLOC_ARENA_MAX", "1"),
        ("MALLOC_MMAP_THRESHOLD_", "262144"),
    ];
    if std::env::var_os(settings[0].0).is_some() {
        return;
    }
    let mut args = std::env::args_os();
    let (Some(name), Ok(program)) = (args.next(), std::env::current_exe()) else {
        return;
    };
    // It returns only if it failed; then this process does the work as it is.
    let _ = std::process::Command::new(program)
        .arg0(name)
        .args(args)
        .envs(settings)
        .exec();
}

/// Tells people what went wrong, schedulers how it ended.
fn ended(command: &str, result: Result<Outcome, Failure>, tell: bool) -> ExitCode {
    let outcome = result.unwrap_or_else(|failure| {
        if tell {
            tell!("{}", failure.text());
        }
        failure.outcome(command)
    });
    say!("{outcome}");
    match say::failure() {
        None => outcome.exit(),
        Some(error) => {
            tell!("❌ what this command printed is not whole: {error}");
            Outcome::new(command, Status::Failed).exit()
        }
    }
}

async fn run(cli: Cli) -> Result<Outcome, Failure> {
    let variables = Variables::load(Path::new(".env"))?;
    let filter = cli.common.log.clone().or_else(|| variables.get("RUST_LOG"));
    log_to_stderr(filter.as_deref().unwrap_or("warn"))?;
    if let Command::Demo(args) = &cli.command {
        return demo::run(&cli.common, args).await;
    }
    let mut settings = Settings::resolve(&cli.common, variables)?;
    if let Command::Daily(args) = &cli.command {
        settings.client.prefetch_pages = args.prefetch as usize;
    }
    if let Command::Details(args) = &cli.command {
        // The client holds calls back above its own bound.
        let bound = &mut settings.client.detail.concurrency_max;
        *bound = args.concurrency.clamp(*bound, 1024);
    }
    let context = Context::open(settings)?;
    match &cli.command {
        Command::Daily(args) => daily::run(&context, args).await,
        Command::Details(args) => details::run(&context, args).await,
        Command::State(args) => state::run(&context, args).await,
        Command::Merge(args) => details::merge(&context, args.date).await,
        Command::Archive(args) => archive::run(&context, args.date).await,
        Command::Quarantine(args) => quarantine::run(&context, args).await,
        Command::Check => state::check(&context).await,
        Command::Demo(args) => demo::run(&cli.common, args).await,
    }
}

fn log_to_stderr(filter: &str) -> Result<(), Failure> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .map_err(|error| Failure::usage(format!("--log `{filter}`: {error}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    Ok(())
}
