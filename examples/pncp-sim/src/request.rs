//! A path and its parameters, checked as the real server checks them.

use chrono::{Days, NaiveDate};

use crate::answer::Answer;
use crate::fault::Route;
use crate::source::Key;
use crate::tables;
use crate::trace::PageOf;
use crate::world::{Filter, Kind, Listing};

/// Base of a request, the index of its pause and of its traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    Consulta = 0,
    Pncp = 1,
}

/// What a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    List(Kind),
    Compra(Key),
    Itens(Key),
    ItensQuantidade(Key),
    Item(Key, u32),
    Resultados(Key, u32, Option<u32>),
    Arquivos(Key),
    ArquivosQuantidade(Key),
    Arquivo(Key, u32),
    Table(String),
    Unknown,
}

/// A path, taken apart. `alias` is how error bodies spell it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) base: Base,
    pub(crate) alias: String,
    pub(crate) target: Target,
}

impl Asked {
    pub(crate) fn parse(path: &str) -> Self {
        let bases = [
            ("/api/consulta", Base::Consulta, "/pncp-consulta"),
            ("/pncp-consulta", Base::Consulta, "/pncp-consulta"),
            ("/api/pncp", Base::Pncp, "/pncp-api"),
            ("/pncp-api", Base::Pncp, "/pncp-api"),
        ];
        for (prefix, base, alias) in bases {
            if let Some(rest) = path.strip_prefix(prefix)
                && rest.starts_with('/')
            {
                let target = target(base, rest);
                return Self {
                    base,
                    alias: format!("{alias}{rest}"),
                    target,
                };
            }
        }
        Self {
            base: Base::Consulta,
            alias: path.to_owned(),
            target: Target::Unknown,
        }
    }

    /// Modality and page, where a list is asked for.
    pub(crate) fn page(&self, pairs: Vec<(String, String)>) -> Option<PageOf> {
        let Target::List(_) = self.target else {
            return None;
        };
        let params = Params {
            pairs,
            alias: &self.alias,
        };
        let number = |name| params.get(name).and_then(|text| text.parse::<u64>().ok());
        let modality = number("codigoModalidadeContratacao").and_then(|code| code.try_into().ok());
        Some((modality, number("pagina")?))
    }

    pub(crate) fn route(&self) -> Route {
        match &self.target {
            Target::List(Kind::Publicacao) => Route::Publicacao,
            Target::List(Kind::Atualizacao) => Route::Atualizacao,
            Target::List(Kind::Proposta) => Route::Proposta,
            Target::Compra(_) => Route::Compra,
            Target::Itens(_) => Route::Itens,
            Target::ItensQuantidade(_) => Route::ItensQuantidade,
            Target::Item(..) => Route::Item,
            Target::Resultados(..) => Route::Resultados,
            Target::Arquivos(_) => Route::Arquivos,
            Target::ArquivosQuantidade(_) => Route::ArquivosQuantidade,
            Target::Arquivo(..) => Route::Arquivo,
            Target::Table(_) => Route::Tabelas,
            Target::Unknown => Route::Other,
        }
    }
}

/// The sequencial goes unpadded: `002101` is unknown.
fn key(cnpj: &str, ano: &str, sequencial: &str) -> Option<Key> {
    if sequencial.starts_with('0') {
        return None;
    }
    Some(Key {
        cnpj: cnpj.to_owned(),
        ano: ano.parse().ok()?,
        sequencial: sequencial.parse().ok()?,
    })
}

fn target(base: Base, path: &str) -> Target {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let found = match (base, parts.as_slice()) {
        (Base::Consulta, ["v1", "contratacoes", kind]) => match *kind {
            "publicacao" => Some(Target::List(Kind::Publicacao)),
            "atualizacao" => Some(Target::List(Kind::Atualizacao)),
            "proposta" => Some(Target::List(Kind::Proposta)),
            _ => None,
        },
        (_, ["v1", "orgaos", cnpj, "compras", ano, sequencial, rest @ ..]) => {
            // A key that cannot be one still names a purchase: one that nobody registered.
            let key = key(cnpj, ano, sequencial).unwrap_or(Key {
                cnpj: String::new(),
                ano: 0,
                sequencial: 0,
            });
            purchase(base, key, rest)
        }
        (Base::Pncp, ["v1", name]) => {
            tables::table(name).map(|_| Target::Table((*name).to_owned()))
        }
        (Base::Pncp, ["v1", name, id]) if tables::table(name).is_some() => {
            Some(Target::Table(format!("{name}/{id}")))
        }
        _ => None,
    };
    found.unwrap_or(Target::Unknown)
}

fn purchase(base: Base, key: Key, rest: &[&str]) -> Option<Target> {
    match (base, rest) {
        (_, []) => Some(Target::Compra(key)),
        (Base::Consulta, _) => None,
        (_, ["itens"]) => Some(Target::Itens(key)),
        (_, ["itens", "quantidade"]) => Some(Target::ItensQuantidade(key)),
        (_, ["itens", n]) => Some(Target::Item(key, n.parse().ok()?)),
        (_, ["itens", n, "resultados"]) => Some(Target::Resultados(key, n.parse().ok()?, None)),
        (_, ["itens", n, "resultados", s]) => Some(Target::Resultados(
            key,
            n.parse().ok()?,
            Some(s.parse().ok()?),
        )),
        (_, ["arquivos"]) => Some(Target::Arquivos(key)),
        (_, ["arquivos", "quantidade"]) => Some(Target::ArquivosQuantidade(key)),
        (_, ["arquivos", n]) => Some(Target::Arquivo(key, n.parse().ok()?)),
        _ => None,
    }
}

/// Query parameters. Unknown ones are ignored, as there.
#[derive(Debug)]
pub(crate) struct Params<'a> {
    pub(crate) pairs: Vec<(String, String)>,
    pub(crate) alias: &'a str,
}

impl Params<'_> {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|v| !v.is_empty())
    }

    fn required(&self, name: &str, kind: &str) -> Result<&str, Answer> {
        self.get(name).ok_or_else(|| {
            let message = format!(
                "Required request parameter '{name}' for method parameter type {kind} is not present"
            );
            Answer::framework(400, &message, self.alias)
        })
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Answer> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| {
            let message = format!(
                "Failed to convert value of type 'java.lang.String' to required type 'java.lang.Integer'; nested exception is java.lang.NumberFormatException: For input string: \"{text}\""
            );
            Answer::framework(400, &message, self.alias)
        })
    }

    fn date(&self, name: &str, label: &str) -> Result<NaiveDate, Answer> {
        let text = self.required(name, "String")?;
        let valid = text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit());
        let parsed = valid
            .then(|| NaiveDate::parse_from_str(text, "%Y%m%d").ok())
            .flatten();
        parsed.ok_or_else(|| {
            let message = format!("{label} inválida, deve estar no formato yyyyMMdd.");
            Answer::application(422, &message, self.alias)
        })
    }

    /// `pagina` (from 1) and `tamanhoPagina` of a list: 10 to 50.
    pub(crate) fn list_page(&self) -> Result<(u64, u64), Answer> {
        self.required("pagina", "Integer")?;
        let page = self.page()?;
        let size = self.number::<i64>("tamanhoPagina")?.unwrap_or(10);
        if !(10..=50).contains(&size) {
            return Err(Answer::application(
                400,
                "Tamanho de página inválido",
                self.alias,
            ));
        }
        Ok((page, u64::try_from(size).unwrap_or(10)))
    }

    fn page(&self) -> Result<u64, Answer> {
        let page = self.number::<i64>("pagina")?.unwrap_or(1);
        match u64::try_from(page) {
            Ok(page) if page > 0 => Ok(page),
            _ => Err(Answer::application(
                400,
                "Número da página inválido",
                self.alias,
            )),
        }
    }

    /// Offset and size of a bare array: ten unless asked otherwise, no maximum.
    pub(crate) fn array_page(&self) -> Result<(u64, u64), Answer> {
        let page = self.page()?;
        let size = self.number::<i64>("tamanhoPagina")?.unwrap_or(10);
        match u64::try_from(size) {
            Ok(size) if size > 0 => Ok((page.saturating_sub(1).saturating_mul(size), size)),
            _ => Err(Answer::application(
                400,
                "Tamanho de página inválido",
                self.alias,
            )),
        }
    }

    /// The list that is asked for.
    pub(crate) fn listing(&self, kind: Kind, today: NaiveDate) -> Result<Listing, Answer> {
        let modalidade = match kind {
            Kind::Proposta => self.number("codigoModalidadeContratacao")?,
            _ => {
                self.required("dataInicial", "String")?;
                self.required("dataFinal", "String")?;
                self.required("codigoModalidadeContratacao", "Long")?;
                self.number("codigoModalidadeContratacao")?
            }
        };
        let (from, to) = match kind {
            Kind::Proposta => (today, self.date("dataFinal", "Data Final")?),
            _ => (
                self.date("dataInicial", "Data Inicial")?,
                self.date("dataFinal", "Data Final")?,
            ),
        };
        self.check_window(kind, from, to)?;
        if modalidade.is_some_and(|code| tables::name(tables::MODALIDADES, code).is_empty()) {
            let message = "Código da modalidade de contratação inválido.";
            return Err(Answer::application(422, message, self.alias));
        }
        let text = |name: &str| self.get(name).map(str::to_owned);
        let filter = Filter {
            uf: text("uf").map(|uf| uf.to_uppercase()),
            ibge: text("codigoMunicipioIbge"),
            cnpj: text("cnpj"),
            unidade: text("codigoUnidadeAdministrativa"),
            modo_disputa: self.number("codigoModoDisputa")?,
        };
        Ok(Listing {
            kind,
            from,
            to,
            modalidade,
            filter,
        })
    }

    fn check_window(&self, kind: Kind, from: NaiveDate, to: NaiveDate) -> Result<(), Answer> {
        let earliest = NaiveDate::from_ymd_opt(2021, 4, 1).unwrap_or_default();
        let message = if kind == Kind::Proposta {
            if to >= from {
                return Ok(());
            }
            "Data Final inválida. Data Final deve ser maior ou igual a data atual"
        } else if to < from {
            "Data Inicial deve ser anterior ou igual à Data Final"
        } else if to > from + Days::new(365) {
            "Período inicial e final maior que 365 dias."
        } else if from < earliest {
            "Data Inicial inválida. Data Inicial deve ser maior ou igual a 01/04/2021"
        } else {
            return Ok(());
        };
        Err(Answer::application(422, message, self.alias))
    }
}
