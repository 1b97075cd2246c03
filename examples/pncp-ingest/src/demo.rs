//! `demo`: the main job on recorded purchases, with an embedded PNCP, into a local folder.

use std::path::PathBuf;

use pncp_sim::Sim;

use crate::cli::{Common, Daily, Demo, Details};
use crate::context::Context;
use crate::failure::Failure;
use crate::outcome::{Outcome, Status};
use crate::say::say;
use crate::settings::{Settings, Variables};
use crate::{daily, details, show};

/// Replays the day through both commands, and shows what lies there.
pub(crate) async fn run(common: &Common, args: &Demo) -> Result<Outcome, Failure> {
    let sim = Sim::builder()
        .replay()
        .start()
        .await
        .map_err(|error| Failure::of("starting the embedded PNCP", &error))?;
    say!(
        "🌐 Embedded PNCP replaying recorded purchases at {}",
        sim.url()
    );
    let folder = common
        .local_storage_path
        .clone()
        .unwrap_or_else(|| PathBuf::from("lakehouse"));
    let common = Common {
        storage_type: Some("local".to_owned()),
        local_storage_path: Some(folder.clone()),
        bucket: Some(
            common
                .bucket
                .clone()
                .unwrap_or_else(|| "lh-bronze".to_owned()),
        ),
        consulta_url: Some(sim.consulta_url().to_owned()),
        api_url: Some(sim.api_url().to_owned()),
        // The embedded server is ours: there is nobody to be gentle with.
        lists_per_second: Some(1_000.0),
        details_per_second: Some(1_000.0),
        execution_id: common.execution_id.clone(),
        ..Common::default()
    };
    let context = Context::open(Settings::resolve(&common, Variables::default())?)?;

    let listed = daily::run(&context, &Daily::of(args.date)).await?;
    let fetched = details::run(&context, &Details::of(args.date)).await?;
    let calls = sim.stats().detail_calls();
    sim.shutdown().await;
    for outcome in [&listed, &fetched] {
        if outcome.status != Status::Complete {
            return Ok(Outcome::new("demo", outcome.status)
                .with("error", format!("a step ended otherwise: {outcome}")));
        }
    }

    show::objects(&context, &folder).await?;
    show::table(&context, args.date).await?;
    let nothing_new = listed.is_no_data() && fetched.is_no_data();
    if nothing_new {
        say!("✅ Nothing new: {calls} detail calls made");
    } else {
        say!("✅ Run it again: there will be nothing new, and no detail call");
    }
    Ok(Outcome::new("demo", Status::Complete)
        .with("no_data", nothing_new)
        .with("detail_calls", calls)
        .with("folder", folder.to_string_lossy().into_owned()))
}
