//! What the server may do wrong, and when.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// A way of failing that the real server was seen or reported to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// 429 with the recorded HTML page; see [`Fault::retry_after`].
    TooMany,
    /// 500, 503 or 504 in the recorded shapes, plain text labelled JSON among them.
    ServerError,
    /// The connection closes in the middle of the body.
    Cut,
    /// A complete answer whose JSON stops half way.
    CutClean,
    /// The body arrives in drops, [`Fault::ms`] apart.
    Drip,
    /// Nothing arrives for [`Fault::ms`], then the right answer.
    Stall,
    /// 200 with an HTML page.
    Html200,
    /// 200 without a body.
    Empty200,
    /// 204 where there are records.
    NoContent,
    /// 400 on a valid page.
    BadRequest,
    /// 404 on what exists.
    NotFound,
    /// 422 on valid parameters.
    Unprocessable,
    /// A record shown on an earlier page is deleted; later ones move a place forward.
    Vanish,
    /// A record shown on an earlier page changes: to the end of `/atualizacao`, or out of it.
    Move,
    /// The records of the day before the window asked, with 200.
    WrongWindow,
    /// A share of the records has a field that no specification names. Stable for each record.
    UnknownFields,
    /// A share of the records has a field of another type than documented. Stable for each record.
    IllTyped,
}

/// Every kind with its spelling.
const KINDS: &[(FaultKind, &str)] = &[
    (FaultKind::TooMany, "429"),
    (FaultKind::ServerError, "5xx"),
    (FaultKind::Cut, "cut"),
    (FaultKind::CutClean, "cut-clean"),
    (FaultKind::Drip, "drip"),
    (FaultKind::Stall, "stall"),
    (FaultKind::Html200, "html-200"),
    (FaultKind::Empty200, "empty-200"),
    (FaultKind::NoContent, "204"),
    (FaultKind::BadRequest, "400"),
    (FaultKind::NotFound, "404"),
    (FaultKind::Unprocessable, "422"),
    (FaultKind::Vanish, "vanish"),
    (FaultKind::Move, "move"),
    (FaultKind::WrongWindow, "wrong-window"),
    (FaultKind::UnknownFields, "unknown-fields"),
    (FaultKind::IllTyped, "ill-typed"),
];

impl FaultKind {
    /// Its spelling on the command line and in the statistics.
    pub fn name(self) -> &'static str {
        KINDS
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("", |(_, name)| name)
    }

    /// Decided for each record, not for each request.
    pub(crate) fn is_of_records(self) -> bool {
        matches!(self, Self::UnknownFields | Self::IllTyped)
    }

    fn default_scope(self) -> Scope {
        match self {
            Self::NoContent | Self::BadRequest | Self::Unprocessable => Scope::Lists,
            Self::Vanish | Self::Move | Self::WrongWindow => Scope::Lists,
            Self::NotFound => Scope::Details,
            _ => Scope::All,
        }
    }
}

/// The `Retry-After` header of a 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// As seconds.
    Seconds(u32),
    /// As an HTTP date that many seconds ahead.
    Date(u32),
    /// No header: the caller has to guess (60 s was always enough).
    None,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Route {
    /// `/v1/contratacoes/publicacao`
    Publicacao,
    /// `/v1/contratacoes/atualizacao`
    Atualizacao,
    /// `/v1/contratacoes/proposta`
    Proposta,
    /// `/v1/orgaos/{cnpj}/compras/{ano}/{sequencial}`
    Compra,
    /// `…/itens`
    Itens,
    /// `…/itens/quantidade`
    ItensQuantidade,
    /// `…/itens/{n}`
    Item,
    /// `…/itens/{n}/resultados` and one of them
    Resultados,
    /// `…/arquivos`
    Arquivos,
    /// `…/arquivos/quantidade`
    ArquivosQuantidade,
    /// `…/arquivos/{n}`: the document itself
    Arquivo,
    /// `/v1/modalidades` and the other domain tables
    Tabelas,
    /// Anything else
    Other,
}

const ROUTES: &[(Route, &str)] = &[
    (Route::Publicacao, "publicacao"),
    (Route::Atualizacao, "atualizacao"),
    (Route::Proposta, "proposta"),
    (Route::Compra, "compra"),
    (Route::Itens, "itens"),
    (Route::ItensQuantidade, "itens-quantidade"),
    (Route::Item, "item"),
    (Route::Resultados, "resultados"),
    (Route::Arquivos, "arquivos"),
    (Route::ArquivosQuantidade, "arquivos-quantidade"),
    (Route::Arquivo, "arquivo"),
    (Route::Tabelas, "tabelas"),
    (Route::Other, "other"),
];

impl Route {
    /// Its name in settings and statistics.
    pub fn name(self) -> &'static str {
        ROUTES
            .iter()
            .find(|(route, _)| *route == self)
            .map_or("", |(_, name)| name)
    }
}

/// Which requests a fault may strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All.
    All,
    /// The three lists.
    Lists,
    /// Everything below one purchase.
    Details,
    /// One route.
    Only(Route),
}

impl From<Route> for Scope {
    fn from(route: Route) -> Self {
        Self::Only(route)
    }
}

impl Scope {
    pub(crate) fn covers(self, route: Route) -> bool {
        let list = matches!(
            route,
            Route::Publicacao | Route::Atualizacao | Route::Proposta
        );
        match self {
            Self::All => true,
            Self::Lists => list,
            Self::Details => !list && !matches!(route, Route::Tabelas | Route::Other),
            Self::Only(only) => only == route,
        }
    }
}

/// One kind of fault, with when and where it strikes. Unless set otherwise: always, everywhere the
/// kind makes sense (204, 400 and 422 on lists, 404 on details).
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) scope: Scope,
    pub(crate) rate: f64,
    pub(crate) count: Option<u64>,
    pub(crate) per_url: Option<u32>,
    pub(crate) after: u64,
    pub(crate) burst: u64,
    pub(crate) retry_after: RetryAfter,
    pub(crate) ms: u64,
    pub(crate) status: Option<u16>,
}

impl Fault {
    /// A fault that strikes always.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            scope: kind.default_scope(),
            rate: 1.0,
            count: None,
            per_url: None,
            after: 0,
            burst: 1,
            retry_after: RetryAfter::Seconds(1),
            ms: match kind {
                FaultKind::Stall => 30_000,
                _ => 5,
            },
            status: None,
        }
    }

    /// Share of the requests (or records) that it strikes, 0 to 1.
    #[must_use]
    pub fn rate(mut self, rate: f64) -> Self {
        self.rate = rate;
        self
    }

    /// At most this many times in all.
    #[must_use]
    pub fn count(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// At most this many times for one URL, so that a retry gets through.
    #[must_use]
    pub fn per_url(mut self, times: u32) -> Self {
        self.per_url = Some(times);
        self
    }

    /// Only there.
    #[must_use]
    pub fn route(mut self, scope: impl Into<Scope>) -> Self {
        self.scope = scope.into();
        self
    }

    /// Spares the first `requests` that it could strike.
    #[must_use]
    pub fn after(mut self, requests: u64) -> Self {
        self.after = requests;
        self
    }

    /// A storm: once it strikes, the next `requests` - 1 are struck too.
    #[must_use]
    pub fn burst(mut self, requests: u64) -> Self {
        self.burst = requests.max(1);
        self
    }

    /// What a 429 says about coming back.
    #[must_use]
    pub fn retry_after(mut self, retry_after: RetryAfter) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// The delay of a drip (between drops) or a stall, in milliseconds.
    #[must_use]
    pub fn ms(mut self, ms: u64) -> Self {
        self.ms = ms;
        self
    }

    /// The status of a server error; any of 500, 503, 504 if not set.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }
}

fn invalid(value: &str, reason: impl fmt::Display) -> Error {
    Error::Setting {
        setting: "fault",
        value: value.to_owned(),
        reason: reason.to_string(),
    }
}

impl FromStr for RetryAfter {
    type Err = Error;

    /// `5`, `date:5` or `none`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let seconds = |t: &str| {
            t.parse()
                .map_err(|_| invalid(text, "retry_after is no number"))
        };
        match text.strip_prefix("date:") {
            Some(rest) => Ok(Self::Date(seconds(rest)?)),
            None if text == "none" => Ok(Self::None),
            None => Ok(Self::Seconds(seconds(text)?)),
        }
    }
}

impl FromStr for Scope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "all" => return Ok(Self::All),
            "lists" => return Ok(Self::Lists),
            "details" => return Ok(Self::Details),
            _ => {}
        }
        let route = ROUTES.iter().find(|(_, name)| *name == text);
        route
            .map(|(route, _)| Self::Only(*route))
            .ok_or_else(|| invalid(text, "unknown route"))
    }
}

impl FromStr for Fault {
    type Err = Error;

    /// `kind[:key=value,…]`, for instance `429:rate=0.1,retry_after=date:2,route=lists`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, settings) = text.split_once(':').unwrap_or((text, ""));
        let kind = KINDS.iter().find(|(_, spelling)| *spelling == name);
        let mut fault = Self::new(kind.ok_or_else(|| invalid(text, "unknown kind"))?.0);
        for setting in settings.split(',').filter(|s| !s.is_empty()) {
            let (key, value) = setting
                .split_once('=')
                .ok_or_else(|| invalid(text, "expected key=value"))?;
            let bad = || invalid(text, format!("{key} is no number"));
            match key {
                "rate" => fault.rate = value.parse().map_err(|_| bad())?,
                "count" => fault.count = Some(value.parse().map_err(|_| bad())?),
                "per_url" => fault.per_url = Some(value.parse().map_err(|_| bad())?),
                "after" => fault.after = value.parse().map_err(|_| bad())?,
                "burst" => fault = fault.burst(value.parse().map_err(|_| bad())?),
                "ms" => fault.ms = value.parse().map_err(|_| bad())?,
                "status" => fault.status = Some(value.parse().map_err(|_| bad())?),
                "route" => fault.scope = value.parse()?,
                "retry_after" => fault.retry_after = value.parse()?,
                _ => return Err(invalid(text, format!("unknown key {key}"))),
            }
        }
        fault.validate()?;
        Ok(fault)
    }
}

impl Fault {
    /// Refuses what cannot be meant.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        if !(0.0..=1.0).contains(&self.rate) {
            return Err(invalid(&self.rate.to_string(), "rate lies between 0 and 1"));
        }
        if self.status.is_some_and(|s| !(500..600).contains(&s)) {
            return Err(invalid(self.kind.name(), "status is one of 500 to 599"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_read_back() {
        let fault: Fault = "429:rate=0.25,retry_after=date:7,route=lists,count=3,per_url=1"
            .parse()
            .unwrap();
        let built = Fault::new(FaultKind::TooMany)
            .rate(0.25)
            .retry_after(RetryAfter::Date(7))
            .route(Scope::Lists)
            .count(3)
            .per_url(1);
        assert_eq!(fault, built);
        for (kind, name) in KINDS {
            assert_eq!(name.parse::<Fault>().unwrap().kind, *kind);
            assert_eq!(kind.name(), *name);
        }
        for bad in [
            "",
            "nope",
            "429:rate=2",
            "429:rate",
            "204:route=moon",
            "5xx:status=200",
            "cut:x=1",
        ] {
            assert!(bad.parse::<Fault>().is_err(), "{bad}");
        }
    }
}
