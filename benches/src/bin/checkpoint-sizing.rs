//! Sweeps checkpoint sizes against the simulator: see [`benches::sizing`].
#![allow(clippy::print_stdout, reason = "a program prints its result")]

use benches::sizing::{Options, run_child, sweep};
use clap::Parser as _;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if let Some(spec) = &options.child {
        return run_child(spec);
    }
    let program = std::env::current_exe()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let report = runtime.block_on(sweep(&options, &program))?;
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}
