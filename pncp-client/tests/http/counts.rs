//! The requests that the client says it sent are those that the server saw.

use futures::StreamExt as _;
use pncp_client::{Details, Verdict};
use pncp_sim::{Fault, FaultKind, Route, Sim, SimBuilder};

use crate::support::{client, client_of, day, key, list, quick};

/// Not the counts: half of a number is a number, and the list is then read again.
fn cut(route: Route) -> Fault {
    Fault::new(FaultKind::CutClean)
        .rate(0.1)
        .per_url(2)
        .route(route)
}

fn faulty() -> SimBuilder {
    Sim::builder()
        .synthetic(300)
        .fault(Fault::new(FaultKind::ServerError).rate(0.15))
        .fault(Fault::new(FaultKind::NoContent).rate(0.05).per_url(1))
        .fault(cut(Route::Itens))
        .fault(cut(Route::Arquivos))
        .fault(cut(Route::Publicacao))
        .fault(
            Fault::new(FaultKind::NotFound)
                .rate(0.05)
                .per_url(1)
                .route(Route::Itens),
        )
}

#[tokio::test]
async fn of_details_found_and_gone() {
    let sim = faulty().start().await.unwrap();
    let client = client(&sim);
    let keys: Vec<_> = sim.truth(day()).map(|record| key(&record)).collect();
    let unknown = (90_000..90_020)
        .map(|n| pncp_client::ContratacaoKey::parse(&format!("27142058000126|2025|{n}")).unwrap());
    let keys: Vec<_> = keys.into_iter().take(200).chain(unknown).collect();
    let counted: Vec<(u32, u32)> = futures::stream::iter(keys)
        .map(|key| {
            let client = client.clone();
            async move {
                let mut counts = Vec::new();
                for answer in [client.itens(&key).await, client.arquivos(&key).await] {
                    counts.push(match answer {
                        Ok(Details::Found(found)) => (found.calls, found.retries),
                        Ok(Details::Gone { calls, retries }) => (calls, retries),
                        Err(error) => (error.requests(), error.retries()),
                    });
                }
                counts
            }
        })
        .buffer_unordered(8)
        .flat_map(futures::stream::iter)
        .collect()
        .await;
    let calls: u64 = counted.iter().map(|(calls, _)| u64::from(*calls)).sum();
    let retries: u64 = counted.iter().map(|(_, retries)| u64::from(*retries)).sum();
    let stats = sim.stats();
    assert_eq!(calls, stats.detail_calls());
    // Nothing is asked twice here but what failed, or was to be confirmed.
    assert_eq!(retries, stats.repeated_identical);
    assert!(retries > 50, "{retries}");
}

#[tokio::test]
async fn of_details_that_fail() {
    let sim = Sim::builder()
        .synthetic(10)
        .fault(Fault::new(FaultKind::NotFound).route(Route::Itens))
        .fault(Fault::new(FaultKind::ServerError).route(Route::ItensQuantidade))
        .start()
        .await
        .unwrap();
    let mut settings = quick(&sim);
    settings.gone_confirmations = 5;
    settings.retry.attempts_max = 3;
    let client = client_of(settings);
    let key = key(&sim.truth(day()).next().unwrap());
    // A 404 until the attempts are spent, then the count, which fails too.
    let error = client.itens(&key).await.unwrap_err();
    assert_eq!((error.attempts(), error.requests()), (3, 6), "{error}");
    assert_eq!(error.retries(), 4);
    assert_eq!(sim.stats().total, 6);
}

#[tokio::test]
async fn of_a_listing() {
    let sim = faulty().start().await.unwrap();
    let (_, proof) = list(&client(&sim)).await;
    assert_eq!(proof.verdict(), Verdict::Complete);
    let stats = sim.stats();
    assert_eq!(u64::from(proof.requests), stats.total);
    let in_parts: u32 = proof.parts.iter().map(|part| part.requests).sum();
    assert_eq!(u64::from(in_parts), stats.list_calls());
    let empty = stats.answered(Route::Publicacao, 204);
    assert!(proof.retries > 10 && empty > 0, "{proof:#?}");
}
