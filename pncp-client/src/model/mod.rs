//! Typed records for those who do not want Arrow.
//!
//! Every field may be absent. One that is of another type than expected fails nothing but
//! itself: it is then `None`, and its text is in `unmapped`, next to the fields not known here.

mod contratacao;
mod item;
mod resultado;

pub use contratacao::{AmparoLegal, Contratacao, FonteOrcamentaria, OrgaoEntidade, UnidadeOrgao};
pub use item::{Arquivo, Catalogo, CategoriaItem, Item, MargemPreferencia};
pub use resultado::{Dominio, Resultado};

/// Declares a record: `name: type = "key"` for each field, all optional.
macro_rules! record {
    (
        $(#[$meta:meta])*
        $name:ident { $( $(#[$doc:meta])* $field:ident: $type:ty = $key:literal, )* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default)]
        pub struct $name {
            $( $(#[$doc])* #[doc = concat!("`", $key, "`")] pub $field: Option<$type>, )*
            /// Fields unknown or of another type, verbatim.
            pub unmapped: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>>,
        }

        impl<'de> serde::Deserialize<'de> for $name {
            /// From `serde_json` only, which hands over the text of numbers.
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use serde_json::value::RawValue;
                let mut unmapped =
                    std::collections::BTreeMap::<String, Box<RawValue>>::deserialize(deserializer)?;
                Ok(Self {
                    $( $field: $crate::model::take(&mut unmapped, $key), )*
                    unmapped,
                })
            }
        }

        impl serde::Serialize for $name {
            /// Fields that are `None` are left out.
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap as _;
                let mut map = serializer.serialize_map(None)?;
                $( if let Some(value) = &self.$field { map.serialize_entry($key, value)?; } )*
                for (key, value) in &self.unmapped {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    };
}
pub(crate) use record;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// Takes a field out, if it is of this type; a null is taken out as `None`.
fn take<T: DeserializeOwned>(fields: &mut BTreeMap<String, Box<RawValue>>, key: &str) -> Option<T> {
    let raw = fields.get(key)?;
    if let Ok(value) = serde_json::from_str::<Option<T>>(raw.get()) {
        fields.remove(key);
        return value;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_field_fails_only_itself() {
        let item: Item = serde_json::from_str(
            r#"{"numeroItem":"1","valorTotal":1472040000000.0001,"quantidade":null,"novo":{"a":1.50}}"#,
        )
        .unwrap();
        assert_eq!(item.numero_item, None);
        assert_eq!(item.valor_total.unwrap().to_string(), "1472040000000.0001");
        let kept: Vec<_> = item
            .unmapped
            .iter()
            .map(|(k, v)| (k.as_str(), v.get()))
            .collect();
        assert_eq!(kept, [("novo", r#"{"a":1.50}"#), ("numeroItem", "\"1\"")]);
    }

    #[test]
    fn recorded_records_have_nothing_unmapped_and_come_back() {
        fn check<T: DeserializeOwned + serde::Serialize>(
            text: &str,
            unmapped: impl Fn(&T) -> usize,
            shape: Option<crate::Shape>,
        ) {
            let raw: Vec<Box<RawValue>> = serde_json::from_str(text).unwrap();
            assert!(!raw.is_empty());
            for raw in raw {
                let typed: T = serde_json::from_str(raw.get()).unwrap();
                assert_eq!(unmapped(&typed), 0, "{}", raw.get());
                let back = serde_json::to_string(&typed).unwrap();
                if let Some(shape) = shape {
                    assert_eq!(
                        crate::canonical_json(back.as_bytes(), shape).unwrap(),
                        crate::canonical_json(raw.get().as_bytes(), shape).unwrap()
                    );
                }
            }
        }
        check::<Contratacao>(
            include_str!("../../tests/data/contratacoes/belo-horizonte-mod6-2026-06-16.json"),
            |record| record.unmapped.len(),
            Some(crate::Shape::Contratacao),
        );
        check::<Contratacao>(
            include_str!("../../tests/data/contratacoes/proposta-mod6-2025-10-29.json"),
            |record| record.unmapped.len(),
            Some(crate::Shape::Contratacao),
        );
        check::<Item>(
            include_str!("../../tests/data/itens/itens-2026-36-fields.json"),
            |record| record.unmapped.len(),
            Some(crate::Shape::Item),
        );
        check::<Arquivo>(
            include_str!("../../tests/data/arquivos/arquivos-2026-06-17.json"),
            |record| record.unmapped.len(),
            Some(crate::Shape::Arquivo),
        );
        check::<Resultado>(
            include_str!("../../tests/data/resultados/resultados-2026.json"),
            |record| record.unmapped.len(),
            None,
        );
    }
}
