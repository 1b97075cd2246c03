use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields};

use super::node::{MAX_DIGITS, Node, Number};

/// What a column holds, over the records so far. Widening is associative and commutative but for
/// the order of fields, which is that of first appearance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Null,
    Bool,
    /// An integer of so many digits that `i64` holds.
    Int(u8),
    Decimal {
        integer_digits: u8,
        scale: u8,
    },
    Text,
    List(Box<Kind>),
    Object(Vec<(String, Kind)>),
}

impl Kind {
    pub(crate) fn of(node: &Node<'_>) -> Self {
        match node {
            Node::Null => Self::Null,
            Node::Bool(_) => Self::Bool,
            Node::Number(text) => match Number::parse(text) {
                Some(n) if n.integer && i64::try_from(n.unscaled).is_ok() => {
                    Self::Int(n.integer_digits)
                }
                Some(n) => Self::Decimal {
                    integer_digits: n.integer_digits,
                    scale: n.scale,
                },
                // No type holds it exactly; its text does.
                None => Self::Text,
            },
            Node::Text(_) => Self::Text,
            Node::List { items, .. } => {
                let item = items.iter().map(Self::of).fold(Self::Null, Self::widen);
                Self::List(Box::new(item))
            }
            Node::Object { fields, .. } => {
                let fields = fields
                    .iter()
                    .map(|(name, value)| (name.clone().into_owned(), Self::of(value)));
                Self::Object(fields.collect())
            }
        }
    }

    /// Widens this kind by a value, in place.
    pub(crate) fn absorb(&mut self, node: &Node<'_>) {
        match (&mut *self, node) {
            (_, Node::Null) | (Self::Text, _) => {}
            (Self::List(item), Node::List { items, .. }) => {
                items.iter().for_each(|node| item.absorb(node));
            }
            (Self::Object(ours), Node::Object { fields, .. }) => {
                for (n, (name, value)) in fields.iter().enumerate() {
                    // Records resemble each other.
                    let at = match ours.get(n) {
                        Some((other, _)) if other == name => Some(n),
                        _ => ours.iter().position(|(other, _)| other == name),
                    };
                    match at {
                        Some(at) => ours[at].1.absorb(value),
                        None => ours.push((name.clone().into_owned(), Self::of(value))),
                    }
                }
            }
            (kind, node) => *kind = std::mem::take(kind).widen(Self::of(node)),
        }
    }

    /// The least kind that holds both: null → anything, integer → decimal, anything else → text.
    pub(crate) fn widen(self, other: Self) -> Self {
        match (self, other) {
            (Self::Null, kind) | (kind, Self::Null) => kind,
            (Self::Bool, Self::Bool) => Self::Bool,
            (Self::Int(a), Self::Int(b)) => Self::Int(a.max(b)),
            (
                Self::Int(digits),
                Self::Decimal {
                    integer_digits,
                    scale,
                },
            )
            | (
                Self::Decimal {
                    integer_digits,
                    scale,
                },
                Self::Int(digits),
            ) => decimal(integer_digits.max(digits), scale),
            (
                Self::Decimal {
                    integer_digits: a,
                    scale: s,
                },
                Self::Decimal {
                    integer_digits: b,
                    scale: t,
                },
            ) => decimal(a.max(b), s.max(t)),
            (Self::List(a), Self::List(b)) => Self::List(Box::new(a.widen(*b))),
            (Self::Object(mut a), Self::Object(b)) => {
                for (name, kind) in b {
                    match a.iter_mut().find(|(other, _)| *other == name) {
                        Some((_, ours)) => {
                            *ours = std::mem::replace(ours, Self::Null).widen(kind);
                        }
                        None => a.push((name, kind)),
                    }
                }
                Self::Object(a)
            }
            _ => Self::Text,
        }
    }

    /// The columns of a record of this kind.
    pub(crate) fn fields(&self) -> Fields {
        let Self::Object(fields) = self else {
            return Fields::empty();
        };
        fields.iter().map(|(name, kind)| kind.field(name)).collect()
    }

    fn field(&self, name: &str) -> FieldRef {
        Arc::new(Field::new(name, self.data_type(), true))
    }

    fn data_type(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int(_) => DataType::Int64,
            Self::Decimal { scale, .. } => {
                // As wide as it gets, so that files differ in scale at most.
                DataType::Decimal128(38, i8::try_from(*scale).unwrap_or(i8::MAX))
            }
            // A column of nulls, and objects without fields, which no Parquet file holds.
            Self::Null | Self::Text => DataType::Utf8,
            Self::Object(fields) if fields.is_empty() => DataType::Utf8,
            Self::List(item) => DataType::List(item.field("item")),
            Self::Object(_) => DataType::Struct(self.fields()),
        }
    }
}

fn decimal(integer_digits: u8, scale: u8) -> Kind {
    if usize::from(integer_digits) + usize::from(scale) > MAX_DIGITS {
        return Kind::Text;
    }
    Kind::Decimal {
        integer_digits,
        scale,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind(text: &str) -> Kind {
        Kind::of(&Node::parse(text).unwrap())
    }

    #[test]
    fn widening_goes_by_the_table() {
        for (a, b, wide) in [
            ("null", "1", DataType::Int64),
            ("1", "2.50", DataType::Decimal128(38, 2)),
            ("9223372036854775808", "1", DataType::Decimal128(38, 0)),
            ("1", "\"x\"", DataType::Utf8),
            ("true", "1", DataType::Utf8),
            ("{\"a\":1}", "[1]", DataType::Utf8),
            ("1e400", "1", DataType::Utf8),
            ("{}", "null", DataType::Utf8),
        ] {
            assert_eq!(kind(a).widen(kind(b)).data_type(), wide, "{a} {b}");
        }
    }

    fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            any::<i32>().prop_map(|n| n.to_string()),
            (any::<i32>(), 0..10_000u32).prop_map(|(a, b)| format!("{a}.{b:04}")),
            "[a-z]{0,3}".prop_map(|s| format!("{s:?}")),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3)
                    .prop_map(|items| format!("[{}]", items.join(","))),
                prop::collection::btree_map("[ab]", inner, 0..3).prop_map(|fields| {
                    let fields = fields.iter().map(|(k, v)| format!("{k:?}:{v}"));
                    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
                }),
            ]
        })
    }

    /// Fields in the order of their names.
    fn sorted(kind: Kind) -> Kind {
        match kind {
            Kind::Object(mut fields) => {
                fields.sort_by(|a, b| a.0.cmp(&b.0));
                Kind::Object(fields.into_iter().map(|(n, k)| (n, sorted(k))).collect())
            }
            Kind::List(item) => Kind::List(Box::new(sorted(*item))),
            other => other,
        }
    }

    proptest! {
        #[test]
        fn widening_does_not_depend_on_the_order(
            a in any_json(), b in any_json(), c in any_json()
        ) {
            let (a, b, c) = (kind(&a), kind(&b), kind(&c));
            let left = a.clone().widen(b.clone()).widen(c.clone());
            prop_assert_eq!(left.clone(), a.clone().widen(b.clone().widen(c.clone())));
            prop_assert_eq!(sorted(left.clone()), sorted(c.widen(b).widen(a)));
            prop_assert_eq!(left.clone().widen(left.clone()), left);
        }

        #[test]
        fn absorbing_a_value_is_widening_by_its_kind(a in any_json(), b in any_json()) {
            let mut kind = kind(&a);
            let wide = kind.clone().widen(super::Kind::of(&Node::parse(&b).unwrap()));
            kind.absorb(&Node::parse(&b).unwrap());
            prop_assert_eq!(kind, wide);
        }
    }
}
