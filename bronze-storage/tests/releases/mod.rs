//! Rows of details as several releases write them, and what their merge must be.
#![allow(dead_code, reason = "each test uses some of it")]
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use bronze_storage::{BronzeStore, Dataset};
use futures::FutureExt;
use serde_json::{Map, Value, json};

/// What a release may lack, by path; a struct is there with any of its fields.
pub const OPTIONAL: [&str; 18] = [
    "numero",
    "orgao.cnpj",
    "orgao.nome",
    "orgao.unidade.codigo",
    "orgao.unidade.uf",
    "itens.n",
    "itens.valor",
    "itens.extra",
    "itens.tags",
    "itens.sub.a",
    "itens.sub.b",
    "arquivos.titulo",
    "arquivos.url",
    "arquivos.partes.k",
    "arquivos.partes.v",
    "metadata.origem",
    "_itens.execution",
    "_arquivos.execution",
];

/// The columns of a release.
#[derive(Debug, Clone)]
pub struct Release {
    pub schema: SchemaRef,
}

fn structure(fields: Vec<Field>) -> DataType {
    DataType::Struct(fields.into())
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

fn everything(valor: DataType) -> Vec<Field> {
    let sub = vec![
        Field::new("a", DataType::Int64, true),
        Field::new("b", DataType::Utf8, false),
    ];
    let item = vec![
        Field::new("n", DataType::Int32, false),
        Field::new("valor", valor, true),
        Field::new("extra", DataType::Utf8, true),
        Field::new("tags", list(DataType::Utf8), true),
        Field::new("sub", structure(sub), true),
    ];
    let part = vec![
        Field::new("k", DataType::Int32, true),
        Field::new("v", DataType::Boolean, true),
    ];
    let arquivo = vec![
        Field::new("titulo", DataType::Utf8, true),
        Field::new("url", DataType::Utf8, false),
        Field::new("partes", list(structure(part)), true),
    ];
    let unidade = vec![
        Field::new("codigo", DataType::Int32, true),
        Field::new("uf", DataType::Utf8, false),
    ];
    let orgao = vec![
        Field::new("cnpj", DataType::Utf8, false),
        Field::new("nome", DataType::Utf8, true),
        Field::new("unidade", structure(unidade), true),
    ];
    let metadata = vec![
        Field::new("total_itens", DataType::Int32, true),
        Field::new("total_arquivos", DataType::Int32, true),
        Field::new("origem", DataType::Utf8, true),
    ];
    let mark = || {
        structure(vec![
            Field::new("version", DataType::Utf8, true),
            Field::new("execution", DataType::Utf8, false),
        ])
    };
    vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("numero", DataType::Utf8, true),
        Field::new("orgao", structure(orgao), true),
        Field::new("itens", list(structure(item)), true),
        Field::new("arquivos", list(structure(arquivo)), true),
        Field::new("metadata", structure(metadata), false),
        Field::new("_itens", mark(), true),
        Field::new("_arquivos", mark(), true),
    ]
}

/// `field` without what is at the paths `gone`; `None` if nothing is left.
fn without(field: &Field, at: &str, gone: &[&str]) -> Option<Field> {
    if gone.contains(&at) {
        return None;
    }
    let fields = |fields: &Fields| {
        let kept = fields.iter().filter_map(|field| {
            let at = format!("{at}.{}", field.name());
            without(field, &at, gone)
        });
        let kept: Vec<Field> = kept.collect();
        (!kept.is_empty()).then(|| structure(kept))
    };
    let kind = match field.data_type() {
        DataType::Struct(children) => fields(children)?,
        DataType::List(item) => match item.data_type() {
            DataType::Struct(children) => list(fields(children)?),
            _ => field.data_type().clone(),
        },
        kind => kind.clone(),
    };
    Some(field.clone().with_data_type(kind))
}

impl Release {
    /// All columns but those at the paths `gone`.
    pub fn without(gone: &[&str]) -> Self {
        Self::of(gone, DataType::Decimal128(10, 2), false)
    }

    /// What `bits` say: presence of what is optional, places of decimals, order of the columns.
    pub fn of_bits(bits: u32) -> Self {
        let unset = |bit: &usize| bits >> bit & 1 == 0;
        let mut gone: Vec<&str> = (0..OPTIONAL.len())
            .filter(unset)
            .map(|bit| OPTIONAL[bit])
            .collect();
        for data in ["itens.", "arquivos."] {
            let all = OPTIONAL.iter().filter(|path| path.starts_with(data));
            if all.clone().all(|path| gone.contains(path)) {
                gone.retain(|path| {
                    Some(path) != all.clone().nth(bits as usize % 3).as_ref().copied()
                });
            }
        }
        let valor = match bits >> 18 & 3 {
            0 => DataType::Decimal128(20, 4),
            _ => DataType::Decimal128(10, 2),
        };
        Self::of(&gone, valor, bits >> 20 & 1 == 1)
    }

    fn of(gone: &[&str], valor: DataType, reversed: bool) -> Self {
        let fields = everything(valor);
        let mut fields: Vec<Field> = fields
            .iter()
            .filter_map(|field| without(field, field.name(), gone))
            .collect();
        if reversed {
            fields.reverse();
        }
        let schema = Arc::new(Schema::new(fields));
        Self { schema }
    }

    /// The row of `key` in entry `number`, with these of the facets.
    pub fn row(&self, number: u32, key: &str, facets: [bool; 2]) -> Map<String, Value> {
        let seed = key.bytes().fold(number + 1, |seed, byte| {
            seed.wrapping_mul(31).wrapping_add(u32::from(byte))
        });
        let mut row = Map::new();
        for (place, field) in self.schema.fields().iter().enumerate() {
            let seed = mixed(seed, place);
            let facet = |name: &str| facets[usize::from(name.ends_with("arquivos"))];
            let value = match field.name().as_str() {
                "key" => key.into(),
                "itens" | "arquivos" if !facet(field.name()) => Value::Null,
                "_itens" | "_arquivos" if !facet(field.name()) => Value::Null,
                "itens" | "arquivos" | "metadata" => {
                    value(&field.as_ref().clone().with_nullable(false), seed)
                }
                "_itens" | "_arquivos" => {
                    let mut mark = value(&field.as_ref().clone().with_nullable(false), seed);
                    mark["version"] = format!("2025-10-22T{number:02}:00:00#x").into();
                    mark
                }
                _ => value(field, seed),
            };
            row.insert(field.name().clone(), value);
        }
        totals(&mut row);
        row
    }

    pub fn batch(&self, rows: &[Map<String, Value>]) -> RecordBatch {
        batch(&self.schema, rows)
    }
}

pub fn batch(schema: &SchemaRef, rows: &[Map<String, Value>]) -> RecordBatch {
    let texts = rows.iter().map(|row| serde_json::to_string(row).unwrap());
    let data = Dataset::from_json_as(texts, schema).unwrap();
    let batches = data.into_batches().now_or_never().unwrap().unwrap();
    concat_batches(schema, &batches).unwrap()
}

fn mixed(seed: u32, place: usize) -> u32 {
    let mixed = seed.wrapping_add(place as u32).wrapping_mul(2_654_435_761);
    mixed ^ (mixed >> 15)
}

/// Some value of a field.
fn value(field: &Field, seed: u32) -> Value {
    if field.is_nullable() && seed.is_multiple_of(5) {
        return Value::Null;
    }
    match field.data_type() {
        DataType::Utf8 => format!("t{}", seed % 1_000).into(),
        DataType::Boolean => (seed % 2 == 1).into(),
        DataType::Decimal128(..) => json!(f64::from(seed % 100_000) / 4.0),
        DataType::Struct(fields) => {
            let fields = fields.iter().enumerate();
            let values = fields
                .map(|(place, field)| (field.name().clone(), value(field, mixed(seed, place + 1))));
            Value::Object(values.collect())
        }
        DataType::List(item) => {
            let each = (0..seed as usize % 4).map(|place| value(item, mixed(seed, place + 7)));
            Value::Array(each.collect())
        }
        _ => (seed % 1_000).into(),
    }
}

/// Sets the totals of a row by its lists.
fn totals(row: &mut Map<String, Value>) {
    for data in ["itens", "arquivos"] {
        let count = row.get(data).and_then(Value::as_array).map(Vec::len);
        if let Some(Value::Object(metadata)) = row.get_mut("metadata") {
            metadata.insert(format!("total_{data}"), count.into());
        }
    }
}

/// Objects without their nulls.
pub fn normal(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(name, value)| (name, normal(value))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(normal).collect()),
        // Decimals come with all their places.
        Value::Number(number) => json!(number.as_f64()),
        value => value,
    }
}

/// What the merge of these entries must be: the common columns of the last, each facet of the last
/// that has it.
pub fn model(entries: &[Vec<Map<String, Value>>]) -> Vec<Value> {
    let mut rows: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for row in entries.iter().flatten() {
        let key = row["key"].as_str().unwrap().to_owned();
        let mut row = row.clone();
        if let Some(before) = rows.remove(&key) {
            for data in ["itens", "arquivos"] {
                let mark = format!("_{data}");
                if row[&mark].is_null() {
                    row.insert(data.to_owned(), before[data].clone());
                    row.insert(mark.clone(), before[&mark].clone());
                }
            }
        }
        totals(&mut row);
        rows.insert(key, row);
    }
    let has_facet =
        |row: &Map<String, Value>| !(row["_itens"].is_null() && row["_arquivos"].is_null());
    let rows = rows.into_values().filter(has_facet);
    rows.map(|row| normal(Value::Object(row))).collect()
}

/// The rows of a Parquet object.
pub async fn rows_of(store: &BronzeStore, key: &str) -> Vec<Value> {
    let text = store
        .read_at(key)
        .await
        .unwrap()
        .into_ndjson()
        .await
        .unwrap();
    let rows = text.lines().map(|line| serde_json::from_str(line).unwrap());
    rows.map(normal).collect()
}
