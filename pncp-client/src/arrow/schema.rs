use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field as ArrowField, Fields, Schema, SchemaRef, TimeUnit};

use crate::shape::{ARQUIVO, CONTRATACAO, Field, ITEM, Type};

/// Digits and places of every decimal column.
pub(super) const PRECISION: u8 = 38;
pub(super) const SCALE: i8 = 4;

/// The schema of contratações in bronze: the API's fields under the API's names, then
/// `_unmapped` (a JSON object of what has no column), `_hash` (see
/// [`canonical_hash`](crate::canonical_hash)) and the lineage `_execution`, `_source`,
/// `_fetched_at`. Every field of the API may be null.
pub fn contratacao_schema() -> SchemaRef {
    CONTRATACAO_SCHEMA.clone()
}

/// The fields of one item inside `itens`; `_unmapped` is the last.
pub fn item_fields() -> Fields {
    ITEM_FIELDS.clone()
}

/// The fields of one document inside `arquivos`; `_unmapped` is the last.
pub fn arquivo_fields() -> Fields {
    ARQUIVO_FIELDS.clone()
}

/// The schema of details: one row per contratação, `itens` and `arquivos` nested (null: never
/// fetched or gone; empty: there are none), and what this row fetched of each.
pub fn details_schema() -> SchemaRef {
    DETAILS_SCHEMA.clone()
}

// Made once: all batches share them, and equal types are then equal at a glance.
static CONTRATACAO_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let mut fields = arrow_fields(CONTRATACAO);
    fields.push(text("_unmapped", true));
    fields.push(text("_hash", false));
    fields.push(text("_execution", false));
    fields.push(text("_source", false));
    fields.push(instant("_fetched_at", false));
    Arc::new(Schema::new(fields))
});

static ITEM_FIELDS: LazyLock<Fields> = LazyLock::new(|| with_unmapped(ITEM));

static ARQUIVO_FIELDS: LazyLock<Fields> = LazyLock::new(|| with_unmapped(ARQUIVO));

static DETAILS_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let int = |name: &str, nullable| ArrowField::new(name, DataType::Int32, nullable);
    let list = |name: &str, fields| {
        let element = ArrowField::new("item", DataType::Struct(fields), true);
        ArrowField::new(name, DataType::List(Arc::new(element)), true)
    };
    let record = |name: &str, fields: Vec<ArrowField>, nullable| {
        ArrowField::new(name, DataType::Struct(fields.into()), nullable)
    };
    let mark = vec![
        text("status", false),
        text("version", true),
        instant("fetched_at", false),
        text("execution", false),
    ];
    let metadata = vec![
        int("total_itens", true),
        int("total_arquivos", true),
        instant("fetch_timestamp", true),
    ];
    Arc::new(Schema::new(vec![
        text("key", false),
        text("cnpj", false),
        int("anoCompra", false),
        int("sequencialCompra", false),
        text("numeroControlePNCP", false),
        list("itens", item_fields()),
        list("arquivos", arquivo_fields()),
        record("metadata", metadata, false),
        record("_itens", mark.clone(), true),
        record("_arquivos", mark, true),
    ]))
});

fn with_unmapped(fields: &'static [Field]) -> Fields {
    let mut fields = arrow_fields(fields);
    fields.push(text("_unmapped", true));
    fields.into()
}

pub(super) fn arrow_fields(fields: &'static [Field]) -> Vec<ArrowField> {
    fields
        .iter()
        .map(|field| ArrowField::new(field.name, data_type(&field.ty), true))
        .collect()
}

fn data_type(ty: &Type) -> DataType {
    match ty {
        Type::Int32 => DataType::Int32,
        Type::Int64 => DataType::Int64,
        Type::Bool => DataType::Boolean,
        Type::Text => DataType::Utf8,
        Type::Decimal => DataType::Decimal128(PRECISION, SCALE),
        Type::DateTime => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::Object(fields) => DataType::Struct(arrow_fields(fields).into()),
        Type::List(fields) => {
            let element = DataType::Struct(arrow_fields(fields).into());
            DataType::List(Arc::new(ArrowField::new("item", element, true)))
        }
    }
}

fn text(name: &str, nullable: bool) -> ArrowField {
    ArrowField::new(name, DataType::Utf8, nullable)
}

fn instant(name: &str, nullable: bool) -> ArrowField {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    ArrowField::new(name, utc, nullable)
}
