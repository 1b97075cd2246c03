//! From a request to an answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{Response, Uri};
use chrono::{Days, NaiveDate};
use futures::stream::{self, StreamExt};
use tokio::time::{Instant, sleep};

use crate::admin::administer;
use crate::answer::Answer;
use crate::armed::Armed;
use crate::fault::{FaultKind, RetryAfter, Route};
use crate::limit::{Latency, Limiter, Traces};
use crate::request::{Asked, Base, Params, Target};
use crate::rng::{hash, hash_text};
use crate::source::Key;
use crate::stats::{Recorder, Stats};
use crate::tables;
use crate::trace::{Outcome, Replayer};
use crate::world::{Drift, World};

/// How many pieces a drip-fed body comes in, at most.
const DROPS: usize = 64;

/// Everything a request needs.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) world: Arc<World>,
    pub(crate) faults: Vec<Armed>,
    pub(crate) limiter: Option<Limiter>,
    pub(crate) latency: Latency,
    pub(crate) traces: Traces,
    pub(crate) replayer: Option<Replayer>,
    pub(crate) recorder: Recorder,
    pub(crate) today: Option<NaiveDate>,
}

/// Counts a request as under way until it is dropped, however it ends.
struct UnderWay(Arc<Shared>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.recorder.leave();
    }
}

/// One request, seen from the faults.
struct Turn<'a> {
    asked: &'a Asked,
    route: Route,
    url: u64,
    nth: u64,
}

impl Shared {
    pub(crate) fn reset(&self) {
        self.world.reset();
        self.recorder.reset();
        self.faults.iter().for_each(Armed::reset);
        if let Some(limiter) = &self.limiter {
            limiter.reset();
        }
        if let Some(replayer) = &self.replayer {
            replayer.reset();
        }
    }

    fn today(&self) -> NaiveDate {
        self.today.unwrap_or_else(|| self.world.today())
    }

    /// The fault of one of `kinds` that strikes this request, if any.
    fn struck(&self, turn: &Turn<'_>, kinds: &[FaultKind]) -> Option<(&Armed, u64)> {
        let armed = self.faults.iter().find(|armed| {
            kinds.contains(&armed.fault.kind) && armed.strikes(turn.route, turn.url, turn.nth)
        })?;
        self.recorder.injected(armed.fault.kind.name());
        Some((armed, armed.draw(turn.url, turn.nth)))
    }

    /// What was asked and answered so far.
    pub(crate) fn stats(&self) -> Stats {
        let allowed = self.limiter.as_ref().map_or(0.0, Limiter::allowed);
        Stats {
            rate_limit_allowed: allowed as u64,
            ..self.recorder.snapshot()
        }
    }

    fn too_many(&self, base: Base, retry_after: RetryAfter, untold: Duration) -> Answer {
        let pause = match retry_after {
            RetryAfter::Seconds(s) | RetryAfter::Date(s) => Duration::from_secs(u64::from(s)),
            RetryAfter::None => untold,
        };
        self.recorder.pause(base as usize, Instant::now(), pause);
        Answer::too_many(retry_after)
    }
}

/// Answers a request; never fails.
pub(crate) async fn handle(shared: Arc<Shared>, request: Request) -> Response<Body> {
    let uri = request.uri();
    if uri.path().starts_with("/_sim/") {
        return administer(&shared, request.method().as_str(), uri);
    }
    let asked = Asked::parse(uri.path());
    let text = uri.path_and_query().map_or("", |pq| pq.as_str());
    let url = hash_text(text);
    let now = Instant::now();
    let nth = shared.recorder.arrive(url, asked.base as usize, now);
    let under_way = UnderWay(Arc::clone(&shared));
    let turn = Turn {
        asked: &asked,
        route: asked.route(),
        url,
        nth,
    };

    let recorded = shared
        .replayer
        .as_ref()
        .and_then(|replayer| replayer.next(asked.base as usize, asked.page(pairs(uri))));
    if let Some(name) = recorded.and_then(|event| event.outcome.name()) {
        shared.recorder.injected(name);
    }
    let delay = match recorded {
        Some(event) => event.after,
        None => shared
            .traces
            .delay(shared.latency, asked.base as usize, url, nth),
    };
    if !delay.is_zero() {
        sleep(delay).await;
    }
    if let Some((armed, _)) = shared.struck(&turn, &[FaultKind::Stall]) {
        sleep(Duration::from_millis(armed.fault.ms)).await;
    }
    let as_recorded = recorded.and_then(|event| repeat(&shared, &turn, event.outcome));
    let (status, response) = match as_recorded.or_else(|| refuse(&shared, &turn, now)) {
        Some(answer) => (answer.status, answer.into_response()),
        None => {
            let answer = match request.method().as_str() {
                "GET" | "HEAD" => right_answer(&shared, &turn, uri),
                _ => Answer::framework(405, "Request method not supported", &asked.alias),
            };
            spoil(&shared, &turn, answer)
        }
    };
    shared.recorder.answer(turn.route, status);
    drop(under_way);
    response
}

/// What was recorded, where that is not the right answer.
fn repeat(shared: &Shared, turn: &Turn<'_>, outcome: Outcome) -> Option<Answer> {
    let alias = &turn.asked.alias;
    Some(match outcome {
        Outcome::Right => return None,
        Outcome::Status(204) => Answer::no_content(),
        Outcome::Status(429) => shared.too_many(turn.asked.base, RetryAfter::None, Duration::ZERO),
        Outcome::Status(status @ 400..500) => {
            Answer::application(status, "Número da página inválido", alias)
        }
        Outcome::Status(status) => Answer::server_error(Some(status), turn.url, alias),
        Outcome::Timeout => Answer::server_error(Some(504), turn.url, alias),
    })
}

/// Faults that do not look at what was asked.
fn refuse(shared: &Shared, turn: &Turn<'_>, now: Instant) -> Option<Answer> {
    if let Some(limiter) = &shared.limiter
        && !limiter.admits(now)
    {
        shared.recorder.rate_limited();
        let limit = limiter.limit;
        return Some(shared.too_many(turn.asked.base, limit.retry_after, limit.pause_untold));
    }
    let kinds = [
        FaultKind::TooMany,
        FaultKind::ServerError,
        FaultKind::Html200,
    ];
    let (armed, draw) = shared.struck(turn, &kinds)?;
    Some(match armed.fault.kind {
        FaultKind::TooMany => {
            shared.too_many(turn.asked.base, armed.fault.retry_after, Duration::ZERO)
        }
        FaultKind::ServerError => Answer::server_error(armed.fault.status, draw, &turn.asked.alias),
        _ => Answer::html_200(),
    })
}

/// Faults that strike what would have been a good answer.
fn spoil(shared: &Shared, turn: &Turn<'_>, answer: Answer) -> (u16, Response<Body>) {
    use FaultKind::{
        BadRequest, Cut, CutClean, Drip, Empty200, NoContent, NotFound, Unprocessable,
    };
    let kinds = [
        NoContent,
        BadRequest,
        NotFound,
        Unprocessable,
        Empty200,
        Cut,
        CutClean,
        Drip,
    ];
    let struck = if answer.status == 200 {
        shared.struck(turn, &kinds)
    } else {
        None
    };
    let Some((armed, draw)) = struck else {
        return (answer.status, answer.into_response());
    };
    let alias = &turn.asked.alias;
    let spoilt = match armed.fault.kind {
        NoContent => Answer::no_content(),
        BadRequest => Answer::application(400, "Número da página inválido", alias),
        NotFound => Answer::application(404, "Contratação não cadastrada.", alias),
        Unprocessable => {
            let message = "Data Inicial inválida, deve estar no formato yyyyMMdd.";
            Answer::application(422, message, alias)
        }
        Empty200 => Answer::empty(),
        CutClean => {
            let half = answer.body.len() / 2;
            Answer {
                body: answer.body.slice(..half),
                ..answer
            }
        }
        Cut => return (200, cut(&answer, draw)),
        _ => {
            return (
                200,
                drip(&answer, Duration::from_millis(armed.fault.ms), draw),
            );
        }
    };
    (spoilt.status, spoilt.into_response())
}

/// Some of the body, then the connection breaks. Half of them had declared their length.
fn cut(answer: &Answer, draw: u64) -> Response<Body> {
    let length = answer.body.len() as u64;
    let kept = usize::try_from(hash(&[draw, 2]) % length.max(1)).unwrap_or(0);
    let part = answer.body.slice(..kept);
    let broken = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "cut");
    // Time for what was written to leave before the connection is torn down.
    let pieces = stream::iter([Ok(part)]).chain(stream::once(async move {
        sleep(Duration::from_millis(2)).await;
        Err::<Bytes, _>(broken)
    }));
    answer.with_body(Body::from_stream(pieces.boxed()), draw & 1 == 0)
}

fn drip(answer: &Answer, pause: Duration, draw: u64) -> Response<Body> {
    let body = answer.body.clone();
    let drop_bytes = body.len().div_ceil(DROPS).max(1);
    let starts: Vec<usize> = (0..body.len()).step_by(drop_bytes).collect();
    let drops = stream::iter(starts).then(move |start| {
        let piece = body.slice(start..(start + drop_bytes).min(body.len()));
        async move {
            sleep(pause).await;
            Ok::<_, Infallible>(piece)
        }
    });
    answer.with_body(Body::from_stream(drops.boxed()), draw & 1 == 0)
}

pub(crate) fn pairs(uri: &Uri) -> Vec<(String, String)> {
    axum::extract::Query::try_from_uri(uri)
        .map(|q| q.0)
        .unwrap_or_default()
}

/// What a server in good health would say.
fn right_answer(shared: &Shared, turn: &Turn<'_>, uri: &Uri) -> Answer {
    let asked = turn.asked;
    let params = Params {
        pairs: pairs(uri),
        alias: &asked.alias,
    };
    let result = match &asked.target {
        Target::List(_) => list(shared, turn, &params),
        Target::Compra(key) => compra(shared, turn, key),
        Target::Table(name) => table(name, &params),
        Target::Unknown => Err(Answer::framework(404, "No message available", &asked.alias)),
        Target::Itens(key)
        | Target::ItensQuantidade(key)
        | Target::Item(key, _)
        | Target::Resultados(key, ..)
        | Target::Arquivos(key)
        | Target::ArquivosQuantidade(key)
        | Target::Arquivo(key, _) => {
            if shared.world.has_details(key) {
                detail(shared, turn, key, &params)
            } else {
                Err(unknown_purchase(asked))
            }
        }
    };
    result.unwrap_or_else(|error| error)
}

fn unknown_purchase(asked: &Asked) -> Answer {
    Answer::application(404, "Contratação não cadastrada.", &asked.alias)
}

/// The order of the keys is not that of the last time.
fn key_order(turn: &Turn<'_>, n: u64) -> u64 {
    hash(&[turn.url, turn.nth, n])
}

fn list(shared: &Shared, turn: &Turn<'_>, params: &Params<'_>) -> Result<Answer, Answer> {
    let Target::List(kind) = turn.asked.target else {
        return Err(unknown_purchase(turn.asked));
    };
    let mut listing = params.listing(kind, shared.today())?;
    let (page, size) = params.list_page()?;
    let offset = (page - 1).saturating_mul(size);
    for (fault, drift) in [
        (FaultKind::Vanish, Drift::Vanish),
        (FaultKind::Move, Drift::Move),
    ] {
        if offset > 0
            && let Some((_, draw)) = shared.struck(turn, &[fault])
        {
            let shown = offset.min(shared.world.page(&listing, 0, 0).total);
            shared.world.drift(drift, &listing, shown, draw);
        }
    }
    if shared.struck(turn, &[FaultKind::WrongWindow]).is_some() {
        listing.from = listing.from - Days::new(1);
        listing.to = listing.to - Days::new(1);
    }
    let found = shared.world.page(&listing, offset, size);
    if found.ids.is_empty() {
        return Ok(Answer::no_content());
    }
    let pages = found.total.div_ceil(size);
    let mut body = Vec::with_capacity(found.ids.len() * 2_300);
    body.extend_from_slice(b"{\"data\":[");
    for (n, id) in found.ids.iter().enumerate() {
        if n > 0 {
            body.push(b',');
        }
        shared
            .world
            .write_record(*id, key_order(turn, n as u64), &mut body);
    }
    let envelope = format!(
        "],\"totalRegistros\":{},\"totalPaginas\":{pages},\"numeroPagina\":{page},\"paginasRestantes\":{},\"empty\":false}}",
        found.total,
        pages - page,
    );
    body.extend_from_slice(envelope.as_bytes());
    Ok(Answer::json(body))
}

/// The header of one purchase: on the consulta base; the other one redirects to it.
fn compra(shared: &Shared, turn: &Turn<'_>, key: &Key) -> Result<Answer, Answer> {
    if turn.asked.base == Base::Pncp {
        let path = turn.asked.alias.replacen("/pncp-api", "/api/consulta", 1);
        return Ok(Answer::redirect(path));
    }
    let id = shared
        .world
        .find(key)
        .ok_or_else(|| unknown_purchase(turn.asked))?;
    let mut body = Vec::new();
    shared.world.write_record(id, key_order(turn, 0), &mut body);
    crate::json::append_member(&mut body, "orcamentoSigilosoCodigo", "1");
    let text = "\"Compra sem sigilo\"";
    crate::json::append_member(&mut body, "orcamentoSigilosoDescricao", text);
    crate::json::append_member(&mut body, "existeResultado", "false");
    Ok(Answer::json(body))
}

fn table(name: &str, params: &Params<'_>) -> Result<Answer, Answer> {
    let (name, id) = name
        .split_once('/')
        .map_or((name, None), |(name, id)| (name, Some(id)));
    let rows = tables::table(name).unwrap_or_default();
    match id {
        // Every row is active, so statusAtivo=false leaves none.
        None if params.get("statusAtivo") == Some("false") => Ok(Answer::json(b"[]".to_vec())),
        None => Ok(Answer::json(tables::body(rows))),
        Some(id) => {
            let row = rows.iter().find(|(code, _)| code.to_string() == id);
            let row = row.ok_or_else(|| {
                Answer::application(404, "Registro não encontrado.", params.alias)
            })?;
            let body = tables::body(std::slice::from_ref(row));
            Ok(Answer::json(body[1..body.len() - 1].to_vec()))
        }
    }
}

fn detail(
    shared: &Shared,
    turn: &Turn<'_>,
    key: &Key,
    params: &Params<'_>,
) -> Result<Answer, Answer> {
    let world = &shared.world;
    let itens = world.source().itens(key);
    let arquivos = world.source().arquivos(key);
    match &turn.asked.target {
        Target::Itens(_) => array(turn, params, itens, |n, order, out| {
            world.write_item(key, n, order, out);
        }),
        Target::ItensQuantidade(_) => Ok(Answer::json(itens.to_string().into_bytes())),
        Target::Item(_, n) if (1..=itens).contains(n) => {
            let mut body = Vec::new();
            world.write_item(key, n - 1, key_order(turn, 0), &mut body);
            Ok(Answer::json(body))
        }
        Target::Resultados(_, n, which) if (1..=itens).contains(n) => {
            resultados(turn, world.source().resultados(key, *n), *which)
        }
        // Some purchases without a document answer 204, the others [].
        Target::Arquivos(_) if arquivos == 0 && key.hash().is_multiple_of(2) => {
            Ok(Answer::no_content())
        }
        Target::Arquivos(_) => array(turn, params, arquivos, |n, order, out| {
            world.write_arquivo(key, n, order, out);
        }),
        Target::ArquivosQuantidade(_) => Ok(Answer::json(arquivos.to_string().into_bytes())),
        Target::Arquivo(_, number) => document(world, turn, key, *number),
        _ => Err(Answer::application(
            404,
            "Item não cadastrado.",
            &turn.asked.alias,
        )),
    }
}

/// A bare array: ten unless a size is asked, `[]` past the end.
fn array(
    turn: &Turn<'_>,
    params: &Params<'_>,
    count: u32,
    write: impl Fn(u32, u64, &mut Vec<u8>),
) -> Result<Answer, Answer> {
    let (offset, size) = params.array_page()?;
    let start = u32::try_from(offset).unwrap_or(u32::MAX).min(count);
    let end = u32::try_from(offset.saturating_add(size))
        .unwrap_or(u32::MAX)
        .min(count);
    let mut body = Vec::with_capacity((end - start) as usize * 1_400 + 2);
    body.push(b'[');
    for n in start..end {
        if n > start {
            body.push(b',');
        }
        write(n, key_order(turn, u64::from(n)), &mut body);
    }
    body.push(b']');
    Ok(Answer::json(body))
}

fn resultados(turn: &Turn<'_>, all: Vec<Vec<u8>>, which: Option<u32>) -> Result<Answer, Answer> {
    match which {
        None if all.is_empty() => Ok(Answer::no_content()),
        None => {
            let mut body = vec![b'['];
            body.extend(all.join(&b','));
            body.push(b']');
            Ok(Answer::json(body))
        }
        Some(n) => {
            let at = (n as usize).checked_sub(1);
            let one = at.and_then(|at| all.into_iter().nth(at));
            one.map(Answer::json).ok_or_else(|| {
                Answer::application(404, "Resultado não cadastrado.", &turn.asked.alias)
            })
        }
    }
}

/// The document itself: not kept here, so some bytes that name it.
fn document(world: &World, turn: &Turn<'_>, key: &Key, number: u32) -> Result<Answer, Answer> {
    let needle = format!("\"sequencialDocumento\":{number}");
    let exists = (0..world.source().arquivos(key)).any(|n| {
        let mut out = Vec::new();
        world.source().write_arquivo(key, n, 0, &mut out);
        let text = String::from_utf8_lossy(&out);
        text.contains(&format!("{needle},")) || text.contains(&format!("{needle}}}"))
    });
    if !exists {
        return Err(Answer::application(
            404,
            "Documento não cadastrado.",
            &turn.asked.alias,
        ));
    }
    Ok(Answer::octets(
        format!("pncp-sim {} document {number}\n", key.control()).into_bytes(),
    ))
}
